// attend-bench-sweep: times calls along the axes, marks what takes longer than it should, and wants a known reason for each mark.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/isas.h"
#include "machine.h"
#include "options.h"
#include "report.h"
#include "sweep/axes.h"
#include "sweep/axis_report.h"
#include "sweep/axis_timing.h"
#include "sweep/known_reasons.h"
#include "timing.h"

namespace attend::bench {
namespace {

void print_help() {
  std::puts("attend-bench-sweep: looks for sizes that take longer than others say they should\n\n"
            "usage: attend-bench-sweep README.md REPORT.json [AXIS...]\n\n"
            "README.md has the table of known reasons; the report of the axes, default: all, is written to REPORT.json.\n"
            "A point is marked that takes over 1.05 times as long as one with more work on its axis, over 1.4 times as long as\n"
            "the one before, scaled by work, or over 1.03 times as long as with a narrower ISA, and does so three times more.\n"
            "Exit code: 0, 1 where marks have no known reason, 2 for bad usage or output.\n\naxes:");
  for (const Axis& axis : all_axes()) std::printf("  %-18s %s\n", axis.name.c_str(), axis.what.c_str());
}

std::string read_file(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || !text) throw Failure(std::string("cannot read ") + path);
  return text.str();
}

/// Those that this machine can run, from the widest; the scalar kernels, which nobody chooses, only where there are no others.
std::vector<Isa> usable_isas() {
  std::vector<Isa> usable;
  for (const IsaEntry& entry : isas) {
    if (isa_usable(entry.isa) && (entry.isa != Isa::scalar || usable.empty())) usable.push_back(entry.isa);
  }
  return usable;
}

std::vector<const Axis*> chosen_axes(int count, char** names) {
  std::vector<const Axis*> chosen;
  std::vector<std::string> known;
  for (const Axis& axis : all_axes()) {
    if (count == 0) chosen.push_back(&axis);
    known.push_back(axis.name);
  }
  for (int i = 0; i < count; ++i) {
    const auto found = std::find(known.begin(), known.end(), names[i]);
    if (found == known.end()) throw Failure(unknown("axis", names[i], known));
    chosen.push_back(&all_axes()[static_cast<std::size_t>(found - known.begin())]);
  }
  return chosen;
}

/// How far a mark is beyond its rule's limit.
double severity(const Mark& mark) { return mark.ratio / rule_limit(mark.rule); }

/// Prints the marks without a reason, the worst first, and the reasons that no mark had; the number of these marks.
std::size_t print_summary(const std::vector<AxisResult>& results, const std::vector<Isa>& isas) {
  std::vector<std::pair<const Axis*, const FoundMark*>> open;
  std::size_t known = 0;
  for (const AxisResult& result : results) {
    for (const FoundMark& found : result.marks) {
      if (found.reason) ++known;
      else open.push_back({result.axis, &found});
    }
  }
  std::sort(open.begin(), open.end(), [](const auto& a, const auto& b) { return severity(a.second->mark) > severity(b.second->mark); });
  std::printf("\n%zu marks have a known reason, %zu have none%s\n", known, open.size(), open.empty() ? "" : ", the worst first:");
  for (const auto& [axis, found] : open) {
    std::printf("  %-18s %-16s %s\n", axis->name.c_str(), axis->points[found->mark.slow.point].name.c_str(), mark_text(*axis, isas, *found).c_str());
  }
  return open.size();
}

int sweep(const char* readme, const char* json, const std::vector<const Axis*>& axes) {
  const std::vector<KnownReason> reasons = parse_known_reasons(read_file(readme), all_axes());
  const std::vector<Isa> isas = usable_isas();
  const double begin = seconds_now();
  std::printf("%s; one thread\n", machine_name().c_str());
  std::vector<AxisResult> results;
  std::vector<bool> needed(reasons.size(), false);
  for (const Axis* axis : axes) {
    AxisResult result = {axis, time_axis(*axis, isas), {}};
    for (Mark& mark : find_marks(result.times)) {
      if (!holds(*axis, isas, &mark)) continue;
      FoundMark found = {mark, std::nullopt};
      if (const auto index = find_reason(reasons, *axis, isas[mark.slow.isa], mark)) {
        found.reason = reasons[*index].text;
        needed[*index] = true;
      }
      result.marks.push_back(found);
    }
    print_axis(result, isas);
    results.push_back(result);
  }
  write_report(json, json_report(machine_name(), results, isas));
  const std::size_t open = print_summary(results, isas);
  for (std::size_t index = 0; index < reasons.size(); ++index) {
    const bool swept = std::find(axes.begin(), axes.end(), reasons[index].axis) != axes.end();
    if (swept && !needed[index]) std::printf("no mark had this reason: %s: %s\n", reasons[index].axis->name.c_str(), reasons[index].text.c_str());
  }
  std::printf("%.0f s\n", seconds_now() - begin);
  return open == 0 ? 0 : 1;
}

int run(int count, char** words) {
  if (count == 2 && std::string(words[1]) == "--help") {
    print_help();
    return 0;
  }
  if (count < 3) throw Failure("usage: attend-bench-sweep README.md REPORT.json [AXIS...]; --help says more");
  return sweep(words[1], words[2], chosen_axes(count - 3, words + 3));
}

}  // namespace
}  // namespace attend::bench

int main(int count, char** words) {
  try {
    const int code = attend::bench::run(count, words);
    if (std::fflush(stdout) == 0) return code;
    std::fputs("attend-bench-sweep: cannot write standard output\n", stderr);
  } catch (const std::exception& exception) {
    std::fflush(stdout);
    std::fprintf(stderr, "attend-bench-sweep: %s\n", exception.what());
  }
  return 2;
}
