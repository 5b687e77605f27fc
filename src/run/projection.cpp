// Runs projections: a task is a panel of weights times a chunk of rows.
#include "run/projection.h"

#include "base/arithmetic.h"

namespace attend {

constexpr std::int64_t floats_of_l2 = 1 << 18;  // 1 MiB

std::int64_t SelectedRows::entry_of(std::int64_t row) const {
  std::int64_t b = 0, above = batch;
  while (above - b > 1) {
    const std::int64_t middle = b + (above - b) / 2;
    (before[middle] <= row ? b : above) = middle;
  }
  return b;
}

std::int64_t Projection::tasks() const {
  return pairs_panels() ? steps_to(weights.columns.panels, 2) : steps_to(rows.total(), rows_per_task) * weights.columns.panels;
}

void Projection::run(std::int64_t task) const {
  const ProjectionBlock block = this->block(task);
  if (!pairs_panels()) return run_panels(block, 0);
  const std::int64_t middle = weights.columns.first(block.panel + 1);
  const std::int64_t widest = weights.product != nullptr ? weights.product->columns : kernels->gemm_columns;
  if (block.next_column - block.column == 2 * widest) return run_panels(block, weights.column_floats * widest);
  run_panels({block.panel, block.row, block.end, block.column, middle}, 0);  // one, or two of which one is narrower
  if (middle < block.next_column) run_panels({block.panel + 1, block.row, block.end, middle, block.next_column}, 0);
}

void Projection::run_panels(const ProjectionBlock& block, std::int64_t next_panel) const {
  const PanelColumns& columns = weights.columns;
  const std::int64_t panel = block.panel, column = block.column, next_column = block.next_column, end = block.end;
  std::int64_t row = block.row;

  void (*const gemm)(const GemmArguments*) = weights.product != nullptr ? weights.product->gemm : kernels->gemm;
  const int tile_rows = weights.tile_rows(*kernels);
  const bool from_l3 = weights.column_floats * weights.outputs > floats_of_l2;
  constexpr int most = 24;  // rows a call, for their pointers live on the stack: 384 bytes
  const float* inputs[most];
  float* outputs[most];
  GemmArguments arguments;
  arguments.rows = inputs;
  arguments.outputs = outputs;
  arguments.k_stride = input.stride;
  arguments.depth = weights.steps;
  arguments.panel = weights.panels + weights.column_floats * column;
  arguments.width = next_column - column;
  arguments.columns = smaller(arguments.width, weights.outputs - column);
  arguments.next_panel = next_panel;
  arguments.bias = weights.biases ? weights.biases + column : nullptr;
  if (weights.product != nullptr) {
    arguments.scales = weights.scales + column;
    arguments.sums = weights.sums + column;
    arguments.group = weights.group;
  }
  arguments.first_column = column;
  arguments.head_size = head_size;
  arguments.head_stride = output.head_stride;
  arguments.element_stride = output.stride;
  // While rows pass through this panel, kernels fetch the next one; at the last, nothing.
  arguments.ahead = weights.panels + weights.column_floats * next_column;
  arguments.ahead_end = weights.panels + weights.column_floats * (panel + 1 < columns.panels ? columns.first(panel + 2) : next_column);

  std::int64_t b = rows.entry_of(row);
  while (row < end) {
    int count = 0;
    while (count < most && row < end) {
      while (rows.before[b + 1] <= row) ++b;
      // Rows of one entry that go to one page lie a step apart.
      const std::int64_t i = rows.index(b, row), to = i + (output_rows != nullptr ? output_rows[b] : 0);
      std::int64_t run = smaller(smaller(rows.before[b + 1], end) - row, most - count);
      run = output.end_of_run(to, to + run) - to;
      row += run;
      const float* const from = input.row(b, 0, i);
      float* const into = output.row(b, 0, to);
      for (std::int64_t n = 0; n < run; ++n, ++count) {
        inputs[count] = from + n * input.row_stride;
        outputs[count] = into + n * output.row_stride;
      }
    }
    // The last row once more, to the same result: 3 rows take 10 % longer than 4, and on AVX-512 7 longer than 8, for they pass through a
    // panel thrice. Through one that comes from L3 5 rows take a sixth longer than 8 (Xeon); from L2 they take 22 % less (Zen 4).
    // Products have no tiles of 2.
    while (count % 4 == 3 || (from_l3 && count > tile_rows / 2 && count < tile_rows) || (weights.product != nullptr && !weights.product->takes(count))) {
      inputs[count] = inputs[count - 1];
      outputs[count] = outputs[count - 1];
      ++count;
    }
    // One row reads weights faster than fetches can run ahead of it: from memory, 96 to 99 % of the read bandwidth, with them 89.
    if (count == 1) arguments.ahead = arguments.ahead_end;
    arguments.row_count = count;
    gemm(&arguments);
    arguments.ahead += (count + tile_rows - 1) / tile_rows * fetched_by_tile(weights.steps);
  }
}

}  // namespace attend
