// The rotation of a head's row, and the RMS norm before it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/kernels.h"

namespace attend {

/// The cosines and sines of a call's rows, [entries][rows][2][pairs]: all heads share them.
struct RotaryRows {
  float* values;
  std::int64_t entries;  // the batch, or 1 where all entries have the same positions
  std::int64_t rows, pairs;
  bool interleaved;

  /// For (batch, heads, rows, D) operands; memory: `bytes()` bytes, null to ask for them.
  static RotaryRows at(void* memory, const RotaryEmbedding& rotary, const IndexView& positions, std::int64_t batch,
                       std::int64_t rows);
  std::size_t bytes() const {
    return static_cast<std::size_t>(entries * rows * 2 * pairs) * sizeof(float);
  }
  float* cosines(std::int64_t b, std::int64_t i) const {
    return values + ((entries == 1 ? 0 : b) * rows + i) * 2 * pairs;
  }

  /// Computes row i of entry b, which stands at `position`.
  void fill(const RotaryEmbedding& rotary, std::int64_t b, std::int64_t i, std::int64_t position) const;
  /// Rotates a head's row of `columns` elements, once its cosines and sines are there; destination may be source, with the same stride.
  void rotate(const Kernels& kernels, std::int64_t b, std::int64_t i, const float* source,
              std::int64_t source_stride, float* destination, std::int64_t destination_stride,
              std::int64_t columns) const;
};

/// One row of rms_norm; destination may be source, with the same stride.
void normalize_row(const Kernels& kernels, const ConstTensorView& weight, float epsilon, const float* source,
                   std::int64_t source_stride, float* destination, std::int64_t destination_stride,
                   std::int64_t columns);

}  // namespace attend
