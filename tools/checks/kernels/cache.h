// The checks of a cache's kernels: rows that are stored and widened, and decoding over them.
#pragma once

#include "check.h"
#include "kernels/cache_kernels.h"

namespace attend::checks {

struct StoreRowShape {
  std::int64_t columns = 1, stride = 1;
  bool special = false;  // whether one element is not finite
};

struct WidenRowsShape {
  std::int64_t rows = 1, first = 0, columns = 1, gap = 0;
  bool scaled = false;  // of int8
};

StoreRowShape draw_store_row(const Kernels& kernels, const CacheKernels& cache, Random& random);
WidenRowsShape draw_widen_rows(const Kernels& kernels, const CacheKernels& cache, Random& random);
Result check_store_row(const Kernels& kernels, const CacheKernels& cache, const StoreRowShape& shape, Seed seed, ArgumentMemory& memory);
Result check_widen_rows(const Kernels& kernels, const CacheKernels& cache, const WidenRowsShape& shape, Seed seed, ArgumentMemory& memory);

/// Checks all kernels of a cache's type at a few random shapes; those of decoding give the bits of float32's on the widened elements.
Result check_cache(const Kernels& kernels, const CacheKernels& cache, Random& random, ArgumentMemory& memory);

}  // namespace attend::checks
