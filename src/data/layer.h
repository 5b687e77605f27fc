// A layer's weights as they are packed: panels of projections, its norms and frequencies; its sizes, as its config says them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "base/arithmetic.h"
#include "data/low_precision.h"
#include "kernels/kernels.h"

namespace attend {

/// How the columns of a projection fall into panels of whole vectors: as few as gemm_columns allows, whose widths differ by a vector at
/// most. (100 columns are 13 vectors of AVX2, in panels of 2, 3, 2, 3 and 3: a panel of one vector runs at half speed.)
struct PanelColumns {
  std::int64_t lanes, vectors, panels;
  /// The first column of a panel; first(panels) is where the columns end.
  std::int64_t first(std::int64_t panel) const { return quotient(vectors * panel, panels) * lanes; }
};

/// y = W x + b, W (outputs, inputs). Panels [inputs][columns], then the biases, then the scales of int8 weights and the sums of their
/// columns, then padding to 64 bytes; those of int4 are within the panels. Counted in floats, as whatever stands for 32 bits.
struct PackedProjection {
  std::int64_t inputs = 0, outputs = 0;
  std::int64_t column_floats = 0;        // of a column of a panel
  int steps = 0;                         // that a tile takes through a panel
  int group = 0;                         // elements of a column of int4 that share a scale
  const Product* product = nullptr;      // null: float32
  const float* panels = nullptr;         // 64-byte aligned
  const float* biases = nullptr;         // null: none; else rounded up to whole vectors
  const float* scales = nullptr;         // of int8 weights
  const std::int32_t* sums = nullptr;    // of int8 weights
  PanelColumns columns = {};

  /// Its sizes; what a product null stands for is float32. Only int4 has a use for `group`.
  PackedProjection(const Kernels& kernels, const Product* product, std::int64_t inputs, std::int64_t outputs, int group = 0);
  PackedProjection() = default;
  /// Floats that the packed form takes.
  std::int64_t size() const;
  /// A view of what pack has written.
  PackedProjection at(const float* memory, bool bias) const;
  int tile_rows(const Kernels& kernels) const { return product != nullptr ? product->rows : kernels.gemm_rows; }
  /// Floats of a converted row, its header included; 0: rows are read where they are.
  std::int64_t row_floats() const;
};

enum LayerProjection { query_projection, key_projection, value_projection, output_projection, projection_count };

/// Writes the packed form of weight[n * output_stride + k * input_stride], of float32; bias null: zeros.
void pack_projection(const Kernels& kernels, const PackedProjection& packed, const float* weight, std::int64_t output_stride,
                     std::int64_t input_stride, const float* bias, std::int64_t bias_stride, float* memory);

/// The sizes of a layer: those of a valid config, its zeros filled in.
struct LayerSizes {
  std::int64_t heads, kv_heads;
  std::int64_t depth;          // columns of a head
  std::int64_t inputs[projection_count], outputs[projection_count];

  explicit LayerSizes(const MultiHeadAttentionConfig& config);
};

/// What projections are stored as and compute with, of a config that may be a layer's or a linear layer's.
struct ProjectionPrecision {
  WeightType weight_type;
  Arithmetic arithmetic;
  const LowPrecision* low_precision;
  int weight_group;
  Isa isa;
};
template <class Config>
ProjectionPrecision precision_of(const Config& config) {
  return {config.weight_type, config.arithmetic, config.low_precision, config.weight_group, config.isa};
}

/// The product of a valid config; null: float32.
template <class Config>
const Product* product_of(const Kernels& kernels, const Config& config) {
  if (config.weight_type == WeightType::float32 || config.low_precision == nullptr) return nullptr;
  return config.low_precision->find(config.weight_type, config.arithmetic, kernels.isa);
}

/// Elements of a column of int4 that share a scale, in a valid config.
template <class Config>
int weight_group_of(const Config& config) {
  return config.weight_group > 0 ? config.weight_group : 32;
}

inline bool norms_queries(const MultiHeadAttentionConfig& config) { return config.qk_norm && config.norm_queries; }
inline bool norms_keys(const MultiHeadAttentionConfig& config) { return config.qk_norm && config.norm_keys; }

/// Where the parts lie, in floats from the start of the packed weights; each begins a cache line.
struct LayerLayout {
  PackedProjection projections[projection_count];  // sizes alone
  std::int64_t starts[projection_count];
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
