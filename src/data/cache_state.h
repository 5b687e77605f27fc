// The KV cache: where its rows are, and how many tokens each entry has.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/low_precision.h"
#include "data/rows.h"
#include "data/visibility.h"

namespace attend {

/// Stands at the start of the cache's memory; counts and rows follow it.
struct CacheState {
  KeyValueCacheConfig config;  // value_dim and capacity filled in
  std::int64_t* lengths;       // [batch]: tokens that were given
  std::int64_t* firsts;        // [batch]: the first token that is kept
  std::int64_t* next_lengths;  // [batch], as next_firsts: what a call that writes will make of the two
  std::int64_t* next_firsts;
  PagedRows<float> keys, values;                // of the cache's type, in strides of 32 bits
  PagedRows<float> key_scales, value_scales;    // of int8: rows of one float, in pages as the others; else null
  ConstTensorView memory;      // all of this, as one row of floats

  /// The longest entry's length, after `counts` (absent: n) more tokens.
  std::int64_t longest(const IndexView& counts = {}, std::int64_t n = 0) const;
  /// Sets next_lengths and next_firsts to what holds after `counts` (absent: n) more tokens.
  void plan_append(const IndexView& counts, std::int64_t n);
  /// Makes next_lengths and next_firsts the state, once the rows have been written.
  void commit_append();
};

/// The kernels of a valid config's type on an ISA; null: float32, or this CPU has none.
inline const CacheKernels* cache_kernels_of(const KeyValueCacheConfig& config, Isa isa) {
  return config.type == CacheType::float32 ? nullptr : config.low_precision->find_cache(config.type, isa);
}

/// The first p for which pages[b, p], of tokens [begin, end), lies outside of the pool; -1: none.
std::int64_t stray_page(const CacheState& state, std::int64_t b, const KeyRange& tokens);

}  // namespace attend
