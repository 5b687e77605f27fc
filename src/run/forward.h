// One forward of a layer: what its tasks share. It stands in the workspace, for no stack is to hold its 2.3 KiB under the kernels.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "data/layer.h"
#include "plan/plan.h"
#include "run/attention.h"
#include "run/head_rows.h"
#include "run/projection.h"

namespace attend {

/// The three projections, what is done to the rows of their heads, the attention, and the projection of what it gives.
struct Forward {
  Projection projections[projection_count];
  std::int64_t input_tasks[3];
  HeadRows query_rows, key_rows;
  AttentionCall call;
  Threads threads;
  Stage stages[max_stages];
  int stage_count = 0;
};

static_assert(sizeof(Forward) <= forward_bytes);

/// Fills in the stages: the projections of the inputs, their heads' rows, the attention, the projection of what it gives; none of
/// the last two where `queries` is false.
void add_forward_stages(Forward& forward, bool queries);

}  // namespace attend
