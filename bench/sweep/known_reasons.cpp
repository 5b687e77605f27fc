// The table of known reasons, read.
#include "sweep/known_reasons.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "options.h"

namespace attend::bench {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, separator);) parts.push_back(trimmed(word));
  return parts;
}

/// The index of a name; throws Failure if it is none.
std::size_t index_of(const char* what, const std::string& word, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), word);
  if (found == names.end()) throw Failure("known reasons: " + unknown(what, word, names));
  return static_cast<std::size_t>(found - names.begin());
}

std::vector<bool> points_of(const std::string& list, const Axis& axis) {
  std::vector<bool> points(axis.points.size(), list == "all");
  if (list == "all") return points;
  std::vector<std::string> names;
  for (const Point& point : axis.points) names.push_back(point.name);
  for (const std::string& range : split(list, ',')) {
    const std::size_t to = range.find(" to ");
    const std::size_t first = index_of("point", range.substr(0, to), names);
    const std::size_t last = to == std::string::npos ? first : index_of("point", range.substr(to + 4), names);
    for (std::size_t point = std::min(first, last); point <= std::max(first, last); ++point) points[point] = true;
  }
  return points;
}

KnownReason parse_row(const std::string& row, const std::vector<Axis>& axes) {
  const std::vector<std::string> cells = split(row, '|');  // the first one stands before the row's first |
  if (cells.size() != 7 || cells[6].empty()) throw Failure("known reasons: not | axis | points | ISA | mark | up to | reason |: " + row);
  std::vector<std::string> names;
  for (const Axis& axis : axes) names.push_back(axis.name);
  const Axis& axis = axes[index_of("axis", cells[1], names)];
  std::optional<Isa> isa;
  if (cells[3] != "all") {
    Isa named;
    if (!isa_from_name(cells[3].c_str(), &named)) throw Failure("known reasons: no such ISA: " + cells[3]);
    isa = named;
  }
  const std::vector<Rule> rules = {Rule::more_work, Rule::jump, Rule::narrower};
  names.clear();
  for (Rule rule : rules) names.push_back(rule_name(rule));
  const Rule rule = rules[index_of("mark", cells[4], names)];
  char* end;
  const double up_to = std::strtod(cells[5].c_str(), &end);
  if (*end != '\0' || !(up_to > rule_limit(rule))) throw Failure("known reasons: no ratio above the rule's limit: " + row);
  return {&axis, points_of(cells[2], axis), isa, rule, up_to, cells[6]};
}

}  // namespace

std::vector<KnownReason> parse_known_reasons(const std::string& markdown, const std::vector<Axis>& axes) {
  std::istringstream lines(markdown);
  std::string line;
  while (line != "### Known reasons") {
    if (!std::getline(lines, line)) throw Failure("known reasons: no heading '### Known reasons'");
  }
  int rows = 0;
  std::vector<KnownReason> reasons;
  while (std::getline(lines, line) && line.compare(0, 1, "#") != 0) {
    if (line.compare(0, 1, "|") == 0 && ++rows > 2) reasons.push_back(parse_row(line, axes));  // below the table's head and its line
  }
  if (rows < 2) throw Failure("known reasons: no table below the heading");
  return reasons;
}

std::optional<std::size_t> find_reason(const std::vector<KnownReason>& reasons, const Axis& axis, Isa isa, const Mark& mark) {
  for (std::size_t index = 0; index < reasons.size(); ++index) {
    const KnownReason& reason = reasons[index];
    const bool about_it = reason.axis == &axis && reason.points[mark.slow.point] && reason.isa.value_or(isa) == isa && reason.rule == mark.rule;
    if (about_it && mark.ratio <= reason.up_to) return index;
  }
  return std::nullopt;
}

}  // namespace attend::bench
