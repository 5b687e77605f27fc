// Computes how long the entries of a cache are, and will be.
#include "data/cache_state.h"

#include "base/arithmetic.h"

namespace attend {

std::int64_t CacheState::longest(const IndexView& counts, std::int64_t n) const {
  std::int64_t longest = 0;
  for (std::int64_t b = 0; b < config.batch; ++b) {
    const std::int64_t length = lengths[b] + (n == 0 || counts.absent() ? n : counts.data[b * counts.strides[0]]);
    longest = larger(longest, length);
  }
  return longest;
}

void CacheState::plan_append(const IndexView& counts, std::int64_t n) {
  const Numbers<std::int64_t> given = numbers_of(counts);
  for (std::int64_t b = 0; b < config.batch; ++b) {
    const std::int64_t length = lengths[b] + (given.absent() ? n : given.at(b));
    next_lengths[b] = length;
    next_firsts[b] = larger(length - config.capacity, firsts[b]);
  }
}

void CacheState::commit_append() {
  for (std::int64_t b = 0; b < config.batch; ++b) {
    lengths[b] = next_lengths[b];
    firsts[b] = next_firsts[b];
  }
}

std::int64_t stray_page(const CacheState& state, std::int64_t b, const KeyRange& tokens) {
  const KeyValueCacheConfig& config = state.config;
  if (config.page_rows == 0 || tokens.empty()) return -1;
  const IndexView& pages = config.pages;
  for (std::int64_t p = tokens.begin / config.page_rows; p <= (tokens.end - 1) / config.page_rows; ++p) {
    const std::int64_t page = pages.data[b * pages.strides[0] + p * pages.strides[1]];
    if (page < 0 || page >= config.page_count) return p;
  }
  return -1;
}

}  // namespace attend
