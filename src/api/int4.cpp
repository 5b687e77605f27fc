// What links the kernels of weights of int4.
#include "attend/attend.hpp"
#include "base/dispatch.h"
#include "data/low_precision.h"

namespace attend {

const LowPrecision* low_precision_int4() noexcept {
  static constexpr LowPrecision linked = {find_int4_product, pack_int4, nullptr, nullptr};
  return &linked;
}

const char* int4_instructions(Arithmetic arithmetic, Isa isa) noexcept {
  const Kernels* const kernels = find_kernels(isa);
  const Product* const product = kernels == nullptr ? nullptr : find_int4_product(WeightType::int4, arithmetic, kernels->isa);
  return product == nullptr ? nullptr : product->instructions;
}

}  // namespace attend
