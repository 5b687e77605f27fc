// A layer: its sizes, as its config says them, and its weights as they are packed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "data/weights.h"

namespace attend {

enum LayerProjection { query_projection, key_projection, value_projection, output_projection, projection_count };

/// The sizes of a valid config, its zeros filled in.
struct LayerSizes {
  std::int64_t heads, kv_heads;
  std::int64_t depth;          // columns of a head
  std::int64_t inputs[projection_count], outputs[projection_count];

  explicit LayerSizes(const MultiHeadAttentionConfig& config);
};

/// Whether a rotary embedding is given.
inline bool rotates(const RotaryEmbedding& rotary) {
  return !rotary.inverse_frequencies.absent() || !rotary.cosines.absent() || !rotary.sines.absent();
}

/// Which rows of a head the config norms.
inline bool norms_queries(const MultiHeadAttentionConfig& config) { return config.qk_norm && config.norm_queries; }
inline bool norms_keys(const MultiHeadAttentionConfig& config) { return config.qk_norm && config.norm_keys; }

/// Where the parts lie, in floats from the start of the packed weights; each begins a cache line.
struct LayerLayout {
  std::int64_t projections[projection_count];
  std::int64_t query_norm, key_norm;  // (D,) each, where there is one
  std::int64_t frequencies;
  std::int64_t size;

  LayerLayout(const Kernels& kernels, const MultiHeadAttentionConfig& config);
  std::size_t bytes() const { return static_cast<std::size_t>(size) * sizeof(float); }
};

/// Writes them all; an absent bias is zeros, an absent norm ones.
void pack_layer(const Kernels& kernels, const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights,
                float* memory);

}  // namespace attend
