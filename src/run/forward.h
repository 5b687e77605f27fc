// What the tasks of a layer's forward share. It stands in the workspace: no stack is to hold its 3.3 KiB under the kernels.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "plan/forward_plan.h"
#include "run/append.h"
#include "run/attention.h"
#include "run/converted_rows.h"
#include "run/head_rows.h"
#include "run/projection.h"

namespace attend {

/// The three projections, with rows converted where a product of low precision asks for it, the norms and rotations of their rows, the attention, and the projection of its output.
struct Forward {
  Projection projections[projection_count];
  ConvertedRows converted[projection_count];  // a projection's inputs; null product: read as they are, or converted for one before
  std::int64_t input_tasks[3];
  HeadRows query_rows, key_rows;
  const struct CacheState* appended;   // a cache that is not float32, to which projected keys and values are appended; else null
  AttentionCall call;
  Threads threads;
  Stage stages[max_stages];
  int stage_count = 0;
};

static_assert(sizeof(Forward) <= forward_bytes);

/// Fills in the stages: projections of the inputs, norms and rotations, appending; where `queries` is true, attention and the last
/// projection too.
void add_forward_stages(Forward& forward, bool queries);

}  // namespace attend
