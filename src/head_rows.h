// What is done to projected queries and keys before the attention: each head's row normed, then rotated.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "attention.h"
#include "projection.h"
#include "visibility.h"

namespace attend {

/// Where rows stand, for their rotation.
struct RowPositions {
  Numbers<std::int64_t> given;   // by row; absent: rows are counted, from the first one of each sequence on
  Numbers<std::int64_t> starts;  // packed sequences: their first rows
  std::int64_t offset = 0;       // the position of a sequence's first row
  Numbers<std::int64_t> offsets; // of each sequence, on top

  std::int64_t of(std::int64_t b, std::int64_t row) const {
    if (!given.absent()) return given.at(b, row);
    return row - (starts.absent() ? 0 : starts.at(b)) + offset + (offsets.absent() ? 0 : offsets.at(b));
  }
};

/// In place, and only the rows that were projected: others are not touched.
struct HeadRows {
  const Kernels* kernels;
  Rows rows;
  Operand<float> operand;           // (B, heads, n, D)
  std::int64_t heads, depth;
  const float* norm;                // (D,), null: none
  float epsilon;
  const RotaryEmbedding* rotary;    // null: none
  RowPositions positions;

  std::int64_t tasks() const;
  void run(std::int64_t task) const;
};

}  // namespace attend
