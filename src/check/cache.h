// The checks of a KV cache: its config, and what is appended to it, taken back and read.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

struct CacheState;
struct Visibility;

Status validate_cache_config(const KeyValueCacheConfig& config) noexcept;
/// Whether so many more tokens fit, and the page table has pages for them.
Status validate_room(const CacheState& state, const IndexView& counts, std::int64_t rows) noexcept;
Status validate_append(const CacheState& state, const ConstTensorView& k, const ConstTensorView& v, const IndexView& counts,
                       const OperationOptions& options) noexcept;
Status validate_truncate(const CacheState& state, std::int64_t b, std::int64_t length) noexcept;
/// Whether all keys that the queries see are there: none is gone from a ring, none in a page outside.
Status validate_reach(const CacheState& state, const Visibility& visibility) noexcept;

// How many rows of each entry are there: 0 to `rows`.
Status check_counts(const char* name, const IndexView& counts, std::int64_t batch, std::int64_t rows);
// Whether rows that go into a cache come from elsewhere.
Status check_apart_from_cache(const char* name, const ConstTensorView& view, const CacheState& state);

}  // namespace attend
