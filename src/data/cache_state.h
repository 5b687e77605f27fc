// The KV cache: where its rows are, and how many tokens each entry has.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/rows.h"
#include "data/visibility.h"

namespace attend {

/// It stands at the start of the cache's memory; counts and rows follow.
struct CacheState {
  KeyValueCacheConfig config;  // value_dim and capacity filled in
  std::int64_t* lengths;       // [batch], as the three that follow: tokens that were given
  std::int64_t* firsts;        // the first token that is kept
  std::int64_t* next_lengths;  // what a call that writes will make of these
  std::int64_t* next_firsts;
  PagedRows<float> keys, values;
  ConstTensorView memory;      // all of this, as one row of floats

  /// The longest entry's length, after `counts` (absent: n) more tokens.
  std::int64_t longest(const IndexView& counts = {}, std::int64_t n = 0) const;
  /// Sets next_lengths and next_firsts to those after `counts` (absent: n) more tokens.
  void plan_append(const IndexView& counts, std::int64_t n);
  /// Makes them the state: the rows have been written.
  void commit_append();
};

/// Entry b's first page number among those of tokens [begin, end) that lies outside of the pool: the index p
/// of pages[b, p], or -1.
std::int64_t stray_page(const CacheState& state, std::int64_t b, const KeyRange& tokens);

}  // namespace attend
