// The KV cache: where its rows are, and how many tokens each entry has.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
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
  PagedRows<float> keys, values;
  ConstTensorView memory;      // all of this, as one row of floats

  /// The longest entry's length, after `counts` (absent: n) more tokens.
  std::int64_t longest(const IndexView& counts = {}, std::int64_t n = 0) const;
  /// Sets next_lengths and next_firsts to what holds after `counts` (absent: n) more tokens.
  void plan_append(const IndexView& counts, std::int64_t n);
  /// Makes next_lengths and next_firsts the state, once the rows have been written.
  void commit_append();
};

/// The first p for which pages[b, p], of tokens [begin, end), lies outside of the pool; -1: none.
std::int64_t stray_page(const CacheState& state, std::int64_t b, const KeyRange& tokens);

}  // namespace attend
