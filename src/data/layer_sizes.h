// The sizes of a layer, as its config says them.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

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

}  // namespace attend
