// What a call means: from operands and options to an attention, its shape and its plan.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/attention.h"
#include "plan/plan.h"

namespace attend {

struct CacheState;

/// The entries of a batch, or the sequences that the options say are packed.
Sequences sequences_of(const AttentionOptions& options, std::int64_t batch, std::int64_t queries, std::int64_t keys);

/// What the options of a call say of it, but for its operands and the table of a relative bias.
void apply_options(const AttentionOptions& options, const LengthsView& valid_lens, Attention* attention);

/// What operands (B, H, n, D) and options say of a call, but for what is written and the table of a relative bias.
Attention describe(const Kernels& kernels, const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                   const LengthsView& valid_lens, const AttentionOptions& options);
/// The same with the keys and values of a cache.
Attention describe(const Kernels& kernels, const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                   const AttentionOptions& options);

/// options.attention_weights as rows: (B, H, L, S), or (B, L, S) of averaged ones.
Rows<float> weights_output(const AttentionOptions& options);

AttentionShape shape_of(const Attention& attention);

/// `threads` may be fewer than the options ask for; cache: null, or where shape.keys more rows go, for that
/// many tokens at most. False where the sizes overflow.
bool plan_forward(const Kernels& kernels, const MultiHeadAttentionConfig& config, const ForwardShape& shape,
                  const AttentionOptions& options, int threads, ForwardPlan* plan, const KeyValueCacheConfig* cache = nullptr);

}  // namespace attend
