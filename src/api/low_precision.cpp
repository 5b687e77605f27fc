// What links the kernels of low precision.
#include "attend/attend.hpp"
#include "base/dispatch.h"
#include "data/low_precision.h"

namespace attend {

const LowPrecision* low_precision() noexcept {
  static constexpr LowPrecision linked = {find_product, pack_low_precision, find_core, find_cache_kernels};
  return &linked;
}

const char* product_instructions(WeightType weights, Arithmetic arithmetic, Isa isa) noexcept {
  const Kernels* const kernels = find_kernels(isa);
  const Product* const product = kernels == nullptr ? nullptr : find_product(weights, arithmetic, kernels->isa);
  return product == nullptr ? nullptr : product->instructions;
}

const char* core_instructions(Arithmetic arithmetic, Isa isa) noexcept {
  const Kernels* const kernels = find_kernels(isa);
  const CoreKernels* const core = kernels == nullptr || arithmetic != Arithmetic::bfloat16 ? nullptr : find_core(kernels->isa);
  return core == nullptr ? nullptr : core->instructions;
}

}  // namespace attend
