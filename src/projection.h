// A projection in tasks: rows of a batch through packed weights, each head written where it is wanted.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "attention.h"
#include "weights.h"

namespace attend {

/// The rows that take part, entry after entry: before[b + 1] - before[b] rows of entry b, from row first[b]
/// on, so that hidden rows cost nothing and short entries share tiles.
struct Rows {
  std::int64_t batch;
  const std::int64_t* before;  // [batch + 1], before[0] = 0
  const std::int64_t* first;   // null: all from row 0 on
  std::int64_t total() const { return before[batch]; }
};

struct Projection {
  const Kernels* kernels;
  PackedProjection weights;
  Rows rows;
  Operand<const float> input;  // head_stride is not used
  Operand<float> output;       // (B, H, n, head_size)
  std::int64_t head_size;      // columns that stay together
  std::int64_t rows_per_task;

  std::int64_t tasks() const;
  void run(std::int64_t task) const;
};

}  // namespace attend
