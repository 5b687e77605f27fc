// The weights of one projection, packed as the kernel table asks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/kernels.h"

namespace attend {

/// y = W x + b, W (outputs, inputs). Panels [inputs][gemm_columns], the last one as narrow as its
/// columns allow, then the biases, then padding to 64 bytes.
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
};

/// Writes the packed form of weight[n * output_stride + k * input_stride]; bias null: zeros.
void pack_projection(const Kernels& kernels, const float* weight, std::int64_t output_stride,
                     std::int64_t input_stride, const float* bias, std::int64_t bias_stride,
                     std::int64_t inputs, std::int64_t outputs, float* memory);

}  // namespace attend
