// A layer's weights as they are packed: four projections, the norms of its heads, its rotary frequencies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "data/layer_sizes.h"
#include "data/weights.h"

namespace attend {

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
