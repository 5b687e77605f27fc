// Low precision as layers and caches see it: the product that projections take, how their weights are packed, the kernels of a cache.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/products.h"

namespace attend {

struct PackedProjection;

/// Found through a config alone, so that a program links it only where it asks for it.
struct LowPrecision {
  /// The product of weights and arithmetic on an ISA that this CPU has; null if there is none.
  const Product* (*find)(WeightType weights, Arithmetic arithmetic, Isa isa);
  /// Writes the packed form of a matrix, of floats, or (not null) stored in the product's type; an absent bias is zeros.
  void (*pack)(const PackedProjection& packed, const ConstTensorView& matrix, const StoredMatrix* stored, const ConstTensorView& bias,
               float* memory);
  /// The kernels of attention in bfloat16 on such an ISA; null if there are none. Of int4 the function is null.
  const CoreKernels* (*find_core)(Isa isa);
  /// The kernels of a cache's type on an ISA that this CPU has; null if there are none. Of int4 the function is null.
  const CacheKernels* (*find_cache)(CacheType type, Isa isa);
  /// Whether it has weights of int4, and nothing else.
  bool int4() const { return find_cache == nullptr; }
};

/// As usable_product and find_product, of the products of some lists, the last of which is empty.
const Product* usable_of(const Products* const* lists, Isa isa, int index);
const Product* find_of(const Products* const* lists, WeightType weights, Arithmetic arithmetic, Isa isa);

/// The products of an ISA that this CPU has, best first: several may be of the same weights and arithmetic. Null from their number on.
const Product* usable_product(Isa isa, int index);
/// The first of them of such weights and arithmetic.
const Product* find_product(WeightType weights, Arithmetic arithmetic, Isa isa);
const CoreKernels* find_core(Isa isa);
const CacheKernels* find_cache_kernels(CacheType type, Isa isa);
void pack_low_precision(const PackedProjection& packed, const ConstTensorView& matrix, const StoredMatrix* stored, const ConstTensorView& bias,
                        float* memory);

/// The same of int4.
const Product* usable_int4_product(Isa isa, int index);
const Product* find_int4_product(WeightType weights, Arithmetic arithmetic, Isa isa);
void pack_int4(const PackedProjection& packed, const ConstTensorView& matrix, const StoredMatrix* stored, const ConstTensorView& bias,
               float* memory);

}  // namespace attend
