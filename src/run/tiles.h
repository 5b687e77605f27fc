// Tiles: queries that share one key sequence, run over its key blocks.
#pragma once

#include <cstdint>

#include "data/attention.h"
#include "plan/plan.h"

namespace attend {

/// Runs a tile, or where tiles share copies all of a sequence and key head. scratch: plan.thread_bytes bytes, this task's alone.
void run_tiles(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head, std::int64_t tile, void* scratch);

}  // namespace attend
