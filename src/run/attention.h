// The attention of one call: stages of tasks.
#pragma once

#include "base/parallel.h"
#include "data/attention.h"
#include "plan/plan.h"

namespace attend {

/// An attention with its plan and its memory: plan.bytes(threads) bytes, 64-byte aligned.
struct AttentionCall {
  Attention attention;
  AttentionPlan plan;
  char* memory;
};

/// Puts the stages of a call, at most three, into `stages` and returns their number: tiles and chunks of keys; where sequences decode,
/// merging their chunks; their attention weights, if the call asks for them.
int add_attention_stages(const AttentionCall& call, Stage* stages);

/// Writes rows of padding, from sequences.query_count(b) on: outputs of 0, and the LSE of a row that sees no key.
void write_padding(const Attention& attention);

}  // namespace attend
