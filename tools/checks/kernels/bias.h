// The checks of fill_bias and decode_bias.
#pragma once

#include "visible.h"

namespace attend::checks {

struct DecodeBiasShape {
  std::int64_t keys = 1;
  bool masked = false, additive = false, relative = false;
  std::int64_t mask_stride = 1, additive_stride = 1;
};

BiasShape draw_fill_bias(const Kernels& kernels, Random& random);
DecodeBiasShape draw_decode_bias(const Kernels& kernels, Random& random);
Result check_fill_bias(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory);
Result check_decode_bias(const Kernels& kernels, const DecodeBiasShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
