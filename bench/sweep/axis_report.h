// How an axis is reported: as a table, as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attend/attend.hpp"
#include "sweep/axes.h"
#include "sweep/marks.h"

namespace attend::bench {

struct FoundMark {
  Mark mark;
  std::optional<std::string> reason;  // absent: none is known
};

struct AxisResult {
  const Axis* axis;
  AxisTimes times;
  std::vector<FoundMark> marks;
};

/// "avx512: 1.62 times as long as 8, by work; known".
std::string mark_text(const Axis& axis, const std::vector<Isa>& isas, const FoundMark& found);

void print_axis(const AxisResult& result, const std::vector<Isa>& isas);

std::string json_report(const std::string& machine, const std::vector<AxisResult>& results, const std::vector<Isa>& isas);

}  // namespace attend::bench
