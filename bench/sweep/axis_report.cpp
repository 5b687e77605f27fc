// The table of an axis, the JSON of all.
#include "sweep/axis_report.h"

#include <cstdio>

#include "io/json.h"

namespace attend::bench {
namespace {

std::string formatted(const char* format, double number) {
  char text[64];
  std::snprintf(text, sizeof text, format, number);
  return text;
}

/// [a, b], each element as text(element) has it.
template <class Elements, class Text>
std::string json_list(const Elements& elements, const char* separator, Text text) {
  std::string list;
  for (const auto& element : elements) list += (list.empty() ? "" : separator) + text(element);
  return "[" + list + "]";
}

}  // namespace

std::string mark_text(const Axis& axis, const std::vector<Isa>& isas, const FoundMark& found) {
  const Mark& mark = found.mark;
  const std::string other = mark.rule == Rule::narrower ? isa_name(isas[mark.fast.isa]) : axis.points[mark.fast.point].name;
  return std::string(isa_name(isas[mark.slow.isa])) + ": " + formatted("%.2f", mark.ratio) + " times as long as " + other +
         (mark.rule == Rule::jump ? ", by work" : "") + (found.reason ? "; known" : "");
}

void print_axis(const AxisResult& result, const std::vector<Isa>& isas) {
  const Axis& axis = *result.axis;
  std::printf("\n%s: %s\n%-16s", axis.name.c_str(), axis.what.c_str(), (std::string("ps a ") + unit_name(axis.unit)).c_str());
  for (Isa isa : isas) std::printf(" %9s", isa_name(isa));
  std::printf("\n");
  for (std::size_t point = 0; point < axis.points.size(); ++point) {
    std::printf("%-16s", axis.points[point].name.c_str());
    for (const std::vector<double>& seconds : result.times.seconds) std::printf(" %9.1f", seconds[point] / axis.points[point].work * 1e12);
    const char* separator = "   ";
    for (const FoundMark& found : result.marks) {
      if (found.mark.slow.point != point) continue;
      std::printf("%s%s", separator, mark_text(axis, isas, found).c_str());
      separator = "; ";
    }
    std::printf("\n");
  }
  std::fflush(stdout);
}

std::string json_report(const std::string& machine, const std::vector<AxisResult>& results, const std::vector<Isa>& isas) {
  const auto number = [](double value) { return formatted("%.6g", value); };
  const auto axis_text = [&](const AxisResult& result) {
    const Axis& axis = *result.axis;
    std::string times;
    for (std::size_t isa = 0; isa < isas.size(); ++isa) {
      times += std::string(isa == 0 ? "" : ", ") + "\"" + isa_name(isas[isa]) + "\": " +
               json_list(result.times.seconds[isa], ", ", [&](double seconds) { return number(seconds * 1e6); });
    }
    return "{\"axis\": " + io::json_string(axis.name) + ", \"what\": " + io::json_string(axis.what) + ", \"unit\": \"" + unit_name(axis.unit) +
           "\",\n \"points\": " + json_list(axis.points, ", ", [](const Point& point) { return io::json_string(point.name); }) +
           ",\n \"work\": " + json_list(result.times.work, ", ", number) + ",\n \"us\": {" + times + "},\n \"marks\": " +
           json_list(result.marks, ",\n  ", [&](const FoundMark& found) {
             const Mark& mark = found.mark;
             return "{\"point\": " + io::json_string(axis.points[mark.slow.point].name) + ", \"isa\": \"" + isa_name(isas[mark.slow.isa]) +
                    "\", \"mark\": \"" + rule_name(mark.rule) + "\", \"ratio\": " + number(mark.ratio) +
                    ", \"beside_point\": " + io::json_string(axis.points[mark.fast.point].name) + ", \"beside_isa\": \"" +
                    isa_name(isas[mark.fast.isa]) + "\", \"reason\": " + (found.reason ? io::json_string(*found.reason) : "null") + "}";
           }) + "}";
  };
  return "{\"machine\": " + io::json_string(machine) + ", \"axes\": " + json_list(results, ",\n", axis_text) + "}\n";
}

}  // namespace attend::bench
