// The checks of copy and fill.
#pragma once

#include "check.h"

namespace attend::checks {

struct CopyShape {
  std::int64_t rows = 1, columns = 1;
  std::int64_t source_stride = 1, source_gap = 0, destination_stride = 1, destination_gap = 0;
};

struct FillShape {
  std::int64_t count = 1, stride = 1;
};

CopyShape draw_copy(const Kernels& kernels, Random& random);
FillShape draw_fill(const Kernels& kernels, Random& random);
Result check_copy(const Kernels& kernels, const CopyShape& shape, Seed seed, ArgumentMemory& memory);
Result check_fill(const Kernels& kernels, const FillShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
