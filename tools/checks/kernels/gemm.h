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
};

GemmShape draw_gemm(const Kernels& kernels, Random& random);
Result check_gemm(const Kernels& kernels, const GemmShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
