// Runs a linear layer: a task is a projection's, and the activation of what that has written.
#include "run/linear_rows.h"

#include "base/arithmetic.h"

namespace attend {

void LinearRows::run(std::int64_t task) const {
  projection.run(task);
  if (!activates()) return;
  const SelectedRows& rows = projection.rows;
  const ProjectionBlock block = projection.block(task);
  ActivateArguments arguments;
  arguments.activation = activation;
  arguments.row_stride = projection.output.row_stride;
  arguments.stride = projection.output.stride;
  arguments.multiplier_row_stride = multiplier.row_stride;
  arguments.multiplier_stride = multiplier.stride;
  arguments.columns = smaller(block.next_column, projection.weights.outputs) - block.column;
  std::int64_t b = rows.entry_of(block.row);
  for (std::int64_t row = block.row; row < block.end; row += arguments.rows) {
    while (rows.before[b + 1] <= row) ++b;
    arguments.rows = smaller(rows.before[b + 1], block.end) - row;
    const std::int64_t i = rows.index(b, row);
    arguments.values = projection.output.row(b, 0, i) + block.column * arguments.stride;
    arguments.multiplier = multiplier.data != nullptr ? multiplier.row(b, 0, i) + block.column * arguments.multiplier_stride : nullptr;
    kernels->activate(&arguments);
  }
}

}  // namespace attend
