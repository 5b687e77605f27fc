// Norms and rotates the rows of heads, once queries and keys are projected.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/rows.h"
#include "data/visibility.h"
#include "run/projection.h"

namespace attend {

/// Works in place, on the rows that were projected alone.
struct HeadRows {
  const Kernels* kernels;
  SelectedRows rows;
  PagedRows<float> operand;         // (B, heads, n, D)
  const std::int64_t* operand_rows; // as Projection::output_rows
  std::int64_t heads, depth;
  const float* norm;                // (D,); null: rows are not normed
  float epsilon;
  const RotaryEmbedding* rotary;    // null: rows are not rotated
  RowPositions positions;

  std::int64_t tasks() const;  // 0 where rows are neither normed nor rotated
  void run(std::int64_t task) const;
};

}  // namespace attend
