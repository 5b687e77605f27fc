// What is done to projected queries and keys before the attention: each head's row normed, then rotated.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/rows.h"
#include "data/visibility.h"
#include "run/projection.h"

namespace attend {

/// In place, and only the rows that were projected: others are not touched.
struct HeadRows {
  const Kernels* kernels;
  SelectedRows rows;
  PagedRows<float> operand;         // (B, heads, n, D)
  const std::int64_t* operand_rows; // as Projection::output_rows
  std::int64_t heads, depth;
  const float* norm;                // (D,), null: none
  float epsilon;
  const RotaryEmbedding* rotary;    // null: none
  RowPositions positions;

  std::int64_t tasks() const;  // none where nothing is done
  void run(std::int64_t task) const;
};

}  // namespace attend
