// Tasks that append: copied as they are, or row by row in the cache's type.
#include "run/append.h"

#include "base/arithmetic.h"

namespace attend {

static_assert(largest_stored == largest_head);

namespace {

void append_rows(const Append& append, const Rows<const float>& from, std::int64_t columns, const PagedRows<float>& to,
                 const PagedRows<float>& scales, std::int64_t b, std::int64_t g) {
  const std::int64_t before = append.cache->lengths[b], end = append.cache->next_lengths[b];
  CopyArguments copy;
  copy.source_row_stride = from.row_stride;
  copy.source_stride = from.stride;
  copy.destination_row_stride = to.row_stride;
  copy.destination_stride = 1;
  copy.columns = columns;
  // A ring keeps the last rows that it has room for.
  for (std::int64_t j = larger(before, append.cache->next_firsts[b]); j < end; j += copy.rows) {
    copy.source = from.row(b, g, j - before);
    copy.destination = to.row(b, g, j);
    if (append.stored != nullptr) {
      const StoreRowArguments store = {copy.source, from.stride, columns, copy.destination, scales.data != nullptr ? scales.row(b, g, j) : nullptr};
      append.stored->store_row(&store);
      copy.rows = 1;
      continue;
    }
    copy.rows = to.end_of_run(j, end) - j;
    append.kernels->copy(&copy);
  }
}

}  // namespace

void Append::run(std::int64_t task) const {
  const KeyValueCacheConfig& config = cache->config;
  const std::int64_t b = task / config.num_kv_heads, g = task % config.num_kv_heads;
  append_rows(*this, keys, config.head_dim, cache->keys, cache->key_scales, b, g);
  append_rows(*this, values, config.value_dim, cache->values, cache->value_scales, b, g);
}

}  // namespace attend
