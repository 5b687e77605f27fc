// The check of rotate.
#pragma once

#include "check.h"

namespace attend::checks {

struct RotateShape {
  std::int64_t pairs = 1, columns = 2;
  std::int64_t source_stride = 1, destination_stride = 1;
  bool interleaved = false, in_place = false;
};

RotateShape draw_rotate(const Kernels& kernels, Random& random);
Result check_rotate(const Kernels& kernels, const RotateShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
