// The weights of one projection, packed as the kernel table asks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/kernels.h"

namespace attend {

/// y = W x + b, W (outputs, inputs). Panels [inputs][columns] of whole vectors, as few as gemm_columns allows and as
/// wide as each other but for one vector, then the biases, then padding to 64 bytes. (100 columns are 13 vectors of
/// AVX2, in panels of 2, 3, 2, 3 and 3: one vector alone runs at half speed.)
struct PackedProjection {
  std::int64_t inputs = 0, outputs = 0;
  const float* panels = nullptr;  // 64-byte aligned
  const float* biases = nullptr;  // null: none; else rounded up to whole vectors

  /// Floats that the packed form takes.
  static std::int64_t size(const Kernels& kernels, std::int64_t inputs, std::int64_t outputs);
  /// Views what pack has written.
  static PackedProjection at(const Kernels& kernels, const float* memory, std::int64_t inputs,
                             std::int64_t outputs, bool bias);
  std::int64_t panel_count(const Kernels& kernels) const;
  /// The first column of a panel; of panel_count(): where they end.
  std::int64_t column(const Kernels& kernels, std::int64_t panel) const;
};

/// Writes the packed form of weight[n * output_stride + k * input_stride]; bias null: zeros.
void pack_projection(const Kernels& kernels, const float* weight, std::int64_t output_stride,
                     std::int64_t input_stride, const float* bias, std::int64_t bias_stride,
                     std::int64_t inputs, std::int64_t outputs, float* memory);

}  // namespace attend
