// The checks of a layer: its config, its weights, and its calls.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

struct CacheState;

Status validate_config(const MultiHeadAttentionConfig& config) noexcept;
Status validate_weights(const MultiHeadAttentionConfig& config,
                        const MultiHeadAttentionWeights& weights) noexcept;
Status validate_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries,
                        const ConstTensorView& keys, const ConstTensorView& values,
                        const LengthsView& valid_lens, const TensorView& output,
                        const AttentionOptions& options) noexcept;
/// Whether the cache is of the layer's heads and such a batch.
Status validate_layer_cache(const MultiHeadAttentionConfig& config, const CacheState& state, std::int64_t batch) noexcept;
Status validate_cached_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries, const ConstTensorView& keys,
                               const ConstTensorView& values, const IndexView& new_counts, const CacheState& state,
                               const TensorView& output, const AttentionOptions& options) noexcept;
Status validate_project(const MultiHeadAttentionConfig& config, const ConstTensorView& keys, const ConstTensorView& values,
                        const IndexView& counts, const CacheState& state, const AttentionOptions& options) noexcept;

}  // namespace attend
