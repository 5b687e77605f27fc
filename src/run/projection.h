// A projection in tasks: rows of a batch through packed weights, each head written where it is wanted.
#pragma once

#include <cstdint>

#include "data/rows.h"
#include "data/layer.h"
#include "kernels/kernels.h"

namespace attend {

/// The rows that take part, entry after entry: before[b + 1] - before[b] rows of entry b, from row first[b] on, so that hidden rows
/// cost nothing and short entries share tiles. Packed sequences are entries of the same memory, batch strides 0.
struct SelectedRows {
  std::int64_t batch;
  const std::int64_t* before;  // [batch + 1], before[0] = 0
  const std::int64_t* first;   // null: all from row 0 on
  std::int64_t total() const { return before[batch]; }
  /// The entry that holds the `row`-th row that takes part, and the row's index there.
  std::int64_t entry_of(std::int64_t row) const;
  std::int64_t index(std::int64_t b, std::int64_t row) const { return row - before[b] + (first != nullptr ? first[b] : 0); }
};

/// What a task computes: rows [row, end) of those that take part, columns [column, next_column), which are padded, from `panel` on.
struct ProjectionBlock {
  std::int64_t panel, row, end, column, next_column;
};

struct Projection {
  const Kernels* kernels;
  PackedProjection weights;
  SelectedRows rows;
  Rows<const float> input;  // nothing reads head_stride
  PagedRows<float> output;     // (B, H, n, head_size)
  const std::int64_t* output_rows = nullptr;  // row i of entry b goes to row output_rows[b] + i; null: to row i
  std::int64_t head_size;      // columns that stay together
  std::int64_t rows_per_task;

  /// Whether a task passes its row through two panels, not one.
  bool pairs_panels() const { return rows.total() == 1 && (weights.product != nullptr ? weights.product->row_panels : kernels->row_panels) == 2; }
  std::int64_t tasks() const;
  ProjectionBlock block(std::int64_t task) const;
  void run(std::int64_t task) const;

 private:
  void run_panels(const ProjectionBlock& block, std::int64_t next_panel) const;  // GemmArguments::next_panel
};

// Panels within a chunk of rows: the chunk stays in L2, the panels stream through it.
inline ProjectionBlock Projection::block(std::int64_t task) const {
  const PanelColumns& columns = weights.columns;
  if (pairs_panels()) return {2 * task, 0, 1, columns.first(2 * task), columns.first(smaller(2 * task + 2, columns.panels))};
  const std::int64_t chunk = quotient(task, columns.panels), panel = task - chunk * columns.panels, row = chunk * rows_per_task;
  return {panel, row, smaller(row + rows_per_task, rows.total()), columns.first(panel), columns.first(panel + 1)};
}

}  // namespace attend
