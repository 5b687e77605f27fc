// The kernels of what a block has beside attention: rows normalised, rows through an activation. A table for each ISA.
//
// They are apart from kernels.h, so that a program links them only where it calls for them.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

/// One row. x = source + residual goes to `sum`, too; destination[c] = (x[c] - mean) / sqrt(variance + epsilon) * weight[c] + bias[c], or
/// where it is not centred, x[c] / sqrt(mean of squares + epsilon) * weight[c] + bias[c].
struct NormalizeArguments {
  const float* source;
  const float* residual;  // null: 0
  const float* weight;    // null: 1
  const float* bias;      // null: 0
  float* sum;             // null: nowhere
  float* destination;     // may be the source or the residual, as `sum` may, with its stride
  std::int64_t source_stride, residual_stride, weight_stride, bias_stride, sum_stride, destination_stride;
  std::int64_t columns;   // at least 1
  float epsilon;
  bool centred;
};

/// values[r][c] = activation(values[r][c]) * multiplier[r][c].
struct ActivateArguments {
  Activation activation;
  float* values;
  std::int64_t row_stride, stride;
  const float* multiplier;  // null: 1
  std::int64_t multiplier_row_stride, multiplier_stride;
  std::int64_t rows, columns;
};

struct RowKernels {
  Isa isa;
  void (*normalize)(const NormalizeArguments*);
  void (*activate)(const ActivateArguments*);
};

}  // namespace attend
