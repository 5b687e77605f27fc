// The checks of row kernels: normalisation, activations.
#pragma once

#include "check.h"
#include "kernels/row_kernels.h"

namespace attend::checks {

struct NormalizeShape {
  std::int64_t columns = 1;
  std::int64_t source_stride = 1, weight_stride = 1, destination_stride = 1;
  bool centred = true, weighted = true, biased = true, added = true, kept = true;
  bool in_place = false;  // the destination is the residual where there is one, else the source
};
NormalizeShape draw_normalize(const Kernels& kernels, Random& random);
Result check_normalize(const Kernels& kernels, const NormalizeShape& shape, Seed seed, ArgumentMemory& memory);

struct ActivateShape {
  int activation = 0;
  std::int64_t rows = 1, columns = 1;
  std::int64_t stride = 1, gap = 0, multiplier_stride = 1;
  bool multiplied = false;
};
ActivateShape draw_activate(const Kernels& kernels, Random& random);
Result check_activate(const Kernels& kernels, const ActivateShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
