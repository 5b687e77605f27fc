// Tasks that norm and rotate rows: a few rows of all heads.
#include "run/head_rows.h"

#include "base/arithmetic.h"
#include "run/rotary_rows.h"

namespace attend {

namespace {

constexpr std::int64_t head_rows_per_task = 16;

}  // namespace

std::int64_t HeadRows::tasks() const {
  return norm == nullptr && rotary == nullptr ? 0 : steps_to(rows.total(), head_rows_per_task);
}

void HeadRows::run(std::int64_t task) const {
  // The cosines and sines of a row serve all heads: 2.25 KiB of stack.
  float turns[largest_head];
  RotaryRows rotation = {};
  if (rotary != nullptr) rotation = RotaryRows::at(turns, *rotary, {}, 1, 1);
  ConstTensorView weight;
  if (norm != nullptr) weight = ConstTensorView(norm, depth);

  const std::int64_t first = task * head_rows_per_task, left = rows.total() - first;
  std::int64_t b = rows.entry_of(first);
  for (std::int64_t row = first; row < first + (left < head_rows_per_task ? left : head_rows_per_task); ++row) {
    while (rows.before[b + 1] <= row) ++b;
    const std::int64_t i = rows.index(b, row);
    if (rotary != nullptr) rotation.fill(*rotary, 0, 0, positions.of(b, i));
    for (std::int64_t h = 0; h < heads; ++h) {
      float* x = operand.row(b, h, i + (operand_rows != nullptr ? operand_rows[b] : 0));
      if (norm != nullptr) normalize_row(*kernels, weight, epsilon, x, operand.stride, x, operand.stride, depth);
      if (rotary != nullptr) rotation.rotate(*kernels, 0, 0, x, operand.stride, x, operand.stride, depth);
    }
  }
}

}  // namespace attend
