// Tiles: queries that share one key sequence, run over its key blocks.
#pragma once

#include <cstdint>

#include "data/attention.h"
#include "plan/plan.h"

namespace attend {

/// A tile, or all of a sequence and key head where they share copies of its keys. scratch: plan.thread_bytes bytes, this task's alone.
void run_tiles(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head, std::int64_t tile, void* scratch);

}  // namespace attend
