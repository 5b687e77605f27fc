// Appends rows of keys and values to a cache, in its type.
#pragma once

#include <cstdint>

#include "data/cache_state.h"
#include "data/rows.h"
#include "kernels/kernels.h"

namespace attend {

/// Rows (B, G, n, D) and (B, G, n, Dv) that go behind those of each entry, as cache.plan_append has planned it. A task is a head.
struct Append {
  const Kernels* kernels;
  const CacheKernels* stored;  // null: float32
  const CacheState* cache;
  Rows<const float> keys, values;

  std::int64_t tasks() const { return cache->config.batch * cache->config.num_kv_heads; }
  void run(std::int64_t task) const;
};

}  // namespace attend
