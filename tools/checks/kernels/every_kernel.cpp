// From the lists of kernels, products and a cache's kernels to their checks: a kernel without a check does not compile.
#include "every_kernel.h"

#include "base/dispatch.h"
#include "data/low_precision.h"

namespace attend::checks {

namespace {

constexpr int shapes_a_kernel = 10;

/// Runs a check, unless one has failed already.
template <class Shape>
void check_some(Check<Shape> check, Shape (*draw)(const Kernels&, Random&), const Kernels& kernels, Random& random,
                ArgumentMemory& memory, Result& result) {
  for (int n = 0; n < shapes_a_kernel && result.ok; ++n) {
    const Shape shape = draw(kernels, random);
    result = check(kernels, shape, static_cast<Seed>(random.between(0, 999999)), memory);
  }
}

}  // namespace

Result check_random_shapes(const Kernels& kernels, Seed seed, ArgumentMemory& memory) {
  Random random(seed);
  Result result;
#define ATTEND_CHECK_KERNEL(returned, kernel, parameters) check_some(check_##kernel, draw_##kernel, kernels, random, memory, result);
  ATTEND_KERNELS(ATTEND_CHECK_KERNEL)
  check_some(check_normalize, draw_normalize, kernels, random, memory, result);
  check_some(check_activate, draw_activate, kernels, random, memory, result);
  for (int i = 0; const Product* product = usable_product(kernels.isa, i); ++i) {
    if (result.ok) result = check_product(kernels, *product, random, memory);
  }
  for (int i = 0; const Product* product = usable_int4_product(kernels.isa, i); ++i) {
    if (result.ok) result = check_product(kernels, *product, random, memory);
  }
  for (const CacheType type : {CacheType::bfloat16, CacheType::float16, CacheType::int8}) {
    const CacheKernels* const cache = find_cache_kernels(type, kernels.isa);
    if (cache != nullptr && result.ok) result = check_cache(kernels, *cache, random, memory);
  }
  return result;
}

Result check_kernels(Isa isa, std::uint64_t seed) {
  const Kernels* kernels = find_kernels(isa);
  if (kernels == nullptr) {
    Result result;
    result.ok = false;
    std::snprintf(result.message, sizeof(result.message), "%s: not usable here", isa_name(isa));
    return result;
  }
  const std::size_t misalignments[] = {0, 1, 3};
  HeapMemory memory(misalignments[seed % 3]);
  return check_random_shapes(*kernels, seed, memory);
}

}  // namespace attend::checks
