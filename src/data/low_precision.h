// Low precision as a layer sees it: the product that its projections take, and how their weights are packed.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/products.h"

namespace attend {

struct PackedProjection;

/// Found through a config alone, so that a program links it only where it asks for it.
struct LowPrecision {
  /// The product of weights and arithmetic on an ISA that this CPU has; null if there is none.
  const Product* (*find)(WeightType weights, Arithmetic arithmetic, Isa isa);
  /// The kernels of attention in bfloat16 on such an ISA; null if there are none.
  const CoreKernels* (*find_core)(Isa isa);
  /// Writes the packed form of weight[n * output_stride + k * input_stride]; bias null: zeros.
  void (*pack)(const Product& product, const PackedProjection& packed, const float* weight, std::int64_t output_stride,
               std::int64_t input_stride, const float* bias, std::int64_t bias_stride, float* memory);
};

const Product* find_product(WeightType weights, Arithmetic arithmetic, Isa isa);
const CoreKernels* find_core(Isa isa);
void pack_low_precision(const Product& product, const PackedProjection& packed, const float* weight, std::int64_t output_stride,
                        std::int64_t input_stride, const float* bias, std::int64_t bias_stride, float* memory);

}  // namespace attend
