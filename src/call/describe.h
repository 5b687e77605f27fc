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

/// What operands (B, H, n, D) and options say of a call, but for what is written and the table of a relative bias.
Attention describe(const Kernels& kernels, const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                   const LengthsView& valid_lens, const AttentionOptions& options);
/// The same with the keys and values of a cache.
Attention describe(const Kernels& kernels, const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                   const AttentionOptions& options);

/// A layer's call, but for its operands: the rows of each, and over a cache, how many of each entry are new (absent: all) and whether
/// their keys are appended. A cache that is appended to knows already what it will hold.
struct LayerCall {
  ForwardShape shape;
  const AttentionOptions& options;
  LengthsView valid_lens = {};
  CacheState* cache = nullptr;
  IndexView counts = {};
  bool appends = false;
};
/// The same of a layer, whose queries, keys and values are yet to be projected.
Attention describe(const Kernels& kernels, const LayerSizes& sizes, const LayerCall& call);

/// Where the rows of such a call stand.
RowPositions query_positions(const LayerCall& call, const Visibility& visibility);
RowPositions key_positions(const LayerCall& call, const Visibility& visibility);

/// options.attention_weights as rows: (B, H, L, S), or (B, L, S) of averaged ones.
Rows<float> weights_output(const AttentionOptions& options);

AttentionShape shape_of(const Attention& attention);
/// The same with room for whatever counts of queries a call over a cache may give.
AttentionShape largest_shape_of(const Attention& attention);

}  // namespace attend
