// The three rules.
#include "sweep/marks.h"

#include <algorithm>

namespace attend::bench {

const char* rule_name(Rule rule) {
  switch (rule) {
    case Rule::more_work: return "more work";
    case Rule::jump: return "jump";
    default: return "narrower ISA";
  }
}

double rule_limit(Rule rule) {
  switch (rule) {
    case Rule::more_work: return 1.05;
    case Rule::jump: return 1.4;
    default: return 1.03;
  }
}

std::vector<Mark> find_marks(const AxisTimes& times) {
  std::vector<Mark> marks;
  const auto seconds = [&](Sample sample) { return times.seconds[sample.isa][sample.point]; };
  const auto compare = [&](Rule rule, Sample slow, Sample fast, double scale) {
    const double ratio = seconds(slow) / (seconds(fast) * scale);
    if (ratio > rule_limit(rule)) marks.push_back({rule, slow, fast, scale, ratio});
  };
  const std::size_t isas = times.seconds.size(), points = times.work.size();
  for (std::size_t isa = 0; isa < isas; ++isa) {
    for (std::size_t point = 0; point < points; ++point) {
      const Sample slow = {isa, point};
      Sample fast = slow;
      for (std::size_t later = 0; later < points; ++later) {
        if (times.work[later] > times.work[point] && seconds({isa, later}) < seconds(fast)) fast.point = later;
      }
      if (fast.point != point) compare(Rule::more_work, slow, fast, 1.0);
      if (point > 0) {
        const auto growth = [&](const std::vector<double>& work) { return work[point] / work[point - 1]; };
        compare(Rule::jump, slow, {isa, point - 1}, std::max({1.0, growth(times.work), growth(times.whole_work[isa])}));
      }
      fast = slow;
      for (std::size_t narrower = isa + 1; narrower < isas; ++narrower) {
        if (seconds({narrower, point}) < seconds(fast)) fast.isa = narrower;
      }
      if (fast.isa != isa) compare(Rule::narrower, slow, fast, 1.0);
    }
  }
  return marks;
}

}  // namespace attend::bench
