// The check of gemm.
#pragma once

#include "check.h"

namespace attend::checks {

struct GemmShape {
  std::int64_t rows = 1, depth = 1, columns = 1, width = 1;
  std::int64_t k_stride = 1, gap = 0;  // a's
  std::int64_t first_column = 0, head_size = 1, element_stride = 1, output_gap = 0;
  bool head_major = false;             // output (head, row, column) rather than (row, head, column)
  bool bias = false;
  std::int64_t panels = 1;             // that share the width, one behind the other
};

std::vector<Report::Size> sizes_of(const GemmShape& shape);

/// Where a gemm stores: all columns of all heads have their place, also those before and after the panel's.
struct GemmOutputs {
  std::int64_t first_column, head_size, head_stride, element_stride;
  float** rows;

  GemmOutputs(const GemmShape& shape, Seed seed, ArgumentMemory& memory);
  float* at(std::int64_t r, std::int64_t n) const {
    const std::int64_t c = first_column + n;
    return rows[r] + c / head_size * head_stride + c % head_size * element_stride;
  }
  void put_into(GemmArguments& arguments) const;
};

/// Rows of `depth` elements times panels of `least_width` to `most_width` columns; tiles have `tile_rows` rows.
GemmShape draw_gemm(Random& random, std::int64_t lanes, std::int64_t tile_rows, std::int64_t least_width, std::int64_t most_width);
GemmShape draw_gemm(const Kernels& kernels, Random& random);
/// Where one row takes two panels at once, now and then makes the shape such a row's.
void draw_panels(Random& random, int row_panels, std::int64_t most_width, GemmShape* shape);
Result check_gemm(const Kernels& kernels, const GemmShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
