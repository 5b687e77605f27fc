// A layer's weights as they are packed: panels of projections, its norms and frequencies; its sizes, as its config says them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "base/arithmetic.h"
#include "kernels/kernels.h"

namespace attend {

/// How the columns of a projection fall into panels of whole vectors: as few as gemm_columns allows, whose widths differ by a vector at
/// most. (100 columns are 13 vectors of AVX2, in panels of 2, 3, 2, 3 and 3: a panel of one vector runs at half speed.)
struct PanelColumns {
  std::int64_t lanes, vectors, panels;
  /// The first column of a panel; first(panels) is where the columns end.
  std::int64_t first(std::int64_t panel) const { return quotient(vectors * panel, panels) * lanes; }
};

/// y = W x + b, W (outputs, inputs). Panels [inputs][columns], then the biases, then padding to 64 bytes.
struct PackedProjection {
  std::int64_t inputs = 0, outputs = 0;
  const float* panels = nullptr;  // 64-byte aligned
  const float* biases = nullptr;  // null: none; else rounded up to whole vectors
  PanelColumns columns = {};

  /// Floats that the packed form takes.
  static std::int64_t size(const Kernels& kernels, std::int64_t inputs, std::int64_t outputs);
  /// A view of what pack has written.
  static PackedProjection at(const Kernels& kernels, const float* memory, std::int64_t inputs,
                             std::int64_t outputs, bool bias);
};

/// Writes the packed form of weight[n * output_stride + k * input_stride]; bias null: zeros.
void pack_projection(const Kernels& kernels, const float* weight, std::int64_t output_stride,
                     std::int64_t input_stride, const float* bias, std::int64_t bias_stride,
                     std::int64_t inputs, std::int64_t outputs, float* memory);

enum LayerProjection { query_projection, key_projection, value_projection, output_projection, projection_count };

/// The sizes of a layer: those of a valid config, its zeros filled in.
struct LayerSizes {
  std::int64_t heads, kv_heads;
  std::int64_t depth;          // columns of a head
  std::int64_t inputs[projection_count], outputs[projection_count];

  explicit LayerSizes(const MultiHeadAttentionConfig& config);
};

inline bool rotates(const RotaryEmbedding& rotary) {
  return !rotary.inverse_frequencies.absent() || !rotary.cosines.absent() || !rotary.sines.absent();
}

inline bool norms_queries(const MultiHeadAttentionConfig& config) { return config.qk_norm && config.norm_queries; }
inline bool norms_keys(const MultiHeadAttentionConfig& config) { return config.qk_norm && config.norm_keys; }

/// Where the parts lie, in floats from the start of the packed weights; each begins a cache line.
struct LayerLayout {
  std::int64_t projections[projection_count];
  std::int64_t query_norm, key_norm;  // (D,) each, where the config norms that side
  std::int64_t frequencies;
  std::int64_t size;

  LayerLayout(const Kernels& kernels, const MultiHeadAttentionConfig& config);
  std::size_t bytes() const { return static_cast<std::size_t>(size) * sizeof(float); }
};

/// Writes all weights of a layer; an absent bias is zeros, an absent norm ones.
void pack_layer(const Kernels& kernels, const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights,
                float* memory);

}  // namespace attend
