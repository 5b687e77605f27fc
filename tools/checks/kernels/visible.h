// The check of fill_visible.
#pragma once

#include "lane_rules.h"

namespace attend::checks {

BiasShape draw_fill_visible(const Kernels& kernels, Random& random);
Result check_fill_visible(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
