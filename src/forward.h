// One forward of a layer: what its tasks share. It stands in the workspace, for no stack is to hold its 2.3 KiB under the kernels.
#pragma once

#include <cstdint>

#include "attention.h"
#include "head_rows.h"
#include "layer_weights.h"
#include "parallel.h"
#include "projection.h"

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

}  // namespace attend
