// What one query sees beside its range, and what is added to its scores, as the kernels take it.
#pragma once

#include <cstdint>

#include "data/attention.h"

namespace attend {

/// Fills in all but the range and the frame of a lane.
void rules_of_lane(const Attention& attention, std::int64_t b, std::int64_t head, std::int64_t query, LaneRules* lane);
RuleStrides rule_strides(const Attention& attention);

}  // namespace attend
