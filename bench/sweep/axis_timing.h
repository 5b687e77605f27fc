// The points of an axis timed on several ISAs, and marks timed again.
#pragma once

#include <vector>

#include "attend/attend.hpp"
#include "sweep/axes.h"
#include "sweep/marks.h"

namespace attend::bench {

/// Times each point with all ISAs, given from the widest, whose calls take turns.
AxisTimes time_axis(const Axis& axis, const std::vector<Isa>& isas);

/// Times a mark's two calls three times more, each time with their data put into memory anew. Whether all three are marked as well;
/// then the mark gets the median of their ratios.
bool holds(const Axis& axis, const std::vector<Isa>& isas, Mark* mark);

}  // namespace attend::bench
