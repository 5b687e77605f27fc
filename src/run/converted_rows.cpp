// Tasks that convert rows: a few rows each.
#include "run/converted_rows.h"

#include "base/arithmetic.h"

namespace attend {

namespace {

constexpr std::int64_t converted_rows_per_task = 16;

}  // namespace

std::int64_t ConvertedRows::tasks() const { return product == nullptr ? 0 : steps_to(rows.total(), converted_rows_per_task); }

void ConvertedRows::run(std::int64_t task) const {
  const std::int64_t first = task * converted_rows_per_task, end = smaller(first + converted_rows_per_task, rows.total());
  std::int64_t b = rows.entry_of(first);
  for (std::int64_t row = first; row < end; ++row) {
    while (rows.before[b + 1] <= row) ++b;
    const std::int64_t i = rows.index(b, row);
    const ConvertRowArguments arguments = {input.row(b, 0, i), input.stride, depth, output.row(b, 0, i), group};
    product->convert_row(&arguments);
  }
}

}  // namespace attend
