// What a call means: from operands and options to an attention, its shape and its plan.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/attention.h"
#include "data/layer.h"
#include "plan/plan.h"

namespace attend {

struct CacheState;

/// The entries of a batch, or the sequences that the options say are packed.
Sequences sequences_of(const AttentionOptions& options, std::int64_t batch, std::int64_t queries, std::int64_t keys);

/// The attention of operands (B, H, n, D) and options, but for its outputs and the table of a relative bias.
Attention describe(const Kernels& kernels, const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                   const LengthsView& valid_lens, const AttentionOptions& options);
/// The attention over the keys and values of a cache.
Attention describe(const Kernels& kernels, const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                   const AttentionOptions& options);

/// A layer's call, but for its operands: the rows of each; over a cache, how many of each entry are new (absent: all), and whether their
/// keys are appended. `next_lengths` of a cache that is appended to are set already.
struct LayerCall {
  ForwardShape shape;
  const AttentionOptions& options;
  LengthsView valid_lens = {};
  CacheState* cache = nullptr;
  IndexView counts = {};
  bool appends = false;
};
/// The attention of a layer, whose queries, keys and values are yet to be projected.
Attention describe(const Kernels& kernels, const LayerSizes& sizes, const LayerCall& call);

/// Where the rows of a layer's call stand.
RowPositions query_positions(const LayerCall& call, const Visibility& visibility);
RowPositions key_positions(const LayerCall& call, const Visibility& visibility);

/// options.attention_weights as rows: (B, H, L, S), or averages (B, L, S).
Rows<float> weights_output(const AttentionOptions& options);

AttentionShape shape_of(const Attention& attention);
/// The shape of a call over a cache, with room for any counts of queries.
AttentionShape largest_shape_of(const Attention& attention);

}  // namespace attend
