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

/// Puts the stages of a call, at most three, into `stages` and returns their number: tiles, and chunks of the keys
/// of sequences that decode; where there are such, those merged, and their weights if they are asked for.
int add_attention_stages(const AttentionCall& call, Stage* stages);

/// Writes the rows of padding, those from sequences.query_count(b) on: 0, and the LSE of a row that sees no key.
void write_padding(const Attention& attention);

}  // namespace attend
