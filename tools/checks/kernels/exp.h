// The check of exp2_array.
#pragma once

#include "check.h"

namespace attend::checks {

struct Exp2Shape {
  std::int64_t count = 1;
};

Exp2Shape draw_exp2_array(const Kernels& kernels, Random& random);
Result check_exp2_array(const Kernels& kernels, const Exp2Shape& shape, Seed seed, ArgumentMemory& memory);

/// The worst relative error of exp2 for arguments in [-126, 127].
double exp2_error(Isa isa);

}  // namespace attend::checks
