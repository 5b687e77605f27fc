// The check of rms_norm.
#pragma once

#include "check.h"

namespace attend::checks {

struct RmsNormShape {
  std::int64_t columns = 1;
  std::int64_t source_stride = 1, weight_stride = 1, destination_stride = 1;
  bool weighted = true, in_place = false;
};

RmsNormShape draw_rms_norm(const Kernels& kernels, Random& random);
Result check_rms_norm(const Kernels& kernels, const RmsNormShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
