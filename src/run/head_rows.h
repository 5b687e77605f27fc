// What is done to projected queries and keys before the attention: each head's row normed, then rotated.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/rows.h"
#include "data/visibility.h"
#include "run/projection.h"

namespace attend {

/// Where rows stand, for their rotation.
struct RowPositions {
  Numbers<std::int64_t> given;   // by row; absent: rows are counted, from the first one of each sequence on
  Numbers<std::int64_t> starts;  // packed sequences: their first rows
  const Visibility* queries;     // queries stand where it says; null: keys do,
  const std::int64_t* before;    // after so many of each entry; null: none

  std::int64_t of(std::int64_t b, std::int64_t row) const {
    if (!given.absent()) return given.at(b, row);
    const std::int64_t i = row - (starts.absent() ? 0 : starts.at(b));
    return queries != nullptr ? queries->position(b, i) : i + (before != nullptr ? before[b] : 0);
  }
};

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
