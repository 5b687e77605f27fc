// Checks caches: their room, their pages, and what a ring still holds.
#include "check/calls.h"

#include <cstdio>

#include "base/dispatch.h"
#include "check/parts.h"
#include "data/cache_state.h"
#include "data/visibility.h"

namespace attend {

namespace {

Status check_pages(const CacheState& state, std::int64_t b, const KeyRange& tokens) {
  const std::int64_t p = stray_page(state, b, tokens);
  if (p < 0) return Status();
  const IndexView& pages = state.config.pages;
  return Status::error(invalid, "pages: [%lld, %lld] is %lld, expected 0 to %lld", Number{b}, Number{p},
                       Number{pages.data[b * pages.strides[0] + p * pages.strides[1]]}, Number{state.config.page_count - 1});
}

}  // namespace

Status check_counts(const char* name, const IndexView& counts, std::int64_t batch, std::int64_t rows) {
  if (counts.absent()) return Status();
  ATTEND_CHECK(check_view(name, counts, batch));
  char range[32];
  std::snprintf(range, sizeof range, "0 to %lld", Number{rows});
  return check_numbers(name, counts, 0, rows, range);
}

Status check_apart_from_cache(const char* name, const ConstTensorView& view, const CacheState& state) {
  return check_apart({memory_of(name, view)}, {memory_of("the cache", state.memory)});
}

static const char* const cache_types[] = {"float32", "bfloat16", "float16", "int8"};

Status check_cache_kernels(const CacheState& state, Isa isa) {
  const CacheType type = state.config.type;
  const Kernels* const kernels = find_kernels(isa);
  if (type == CacheType::float32 || kernels == nullptr || cache_kernels_of(state.config, kernels->isa) != nullptr) return Status();
  return Status::error(StatusCode::unsupported, "cache: this CPU or this build has no kernels for a cache of %s on %s", cache_types[static_cast<int>(type)],
                       isa_name(kernels->isa));
}

Status validate_cache_config(const KeyValueCacheConfig& config) noexcept {
  const std::int64_t most = std::int64_t{1} << 24;
  ATTEND_CHECK(check_size("batch", config.batch, 1, most));
  ATTEND_CHECK(check_size("num_kv_heads", config.num_kv_heads, 1, most));
  ATTEND_CHECK(check_size("head_dim", config.head_dim, 1, largest_head));
  ATTEND_CHECK(check_size("value_dim", config.value_dim, 0, largest_head));
  const bool paged = config.page_rows != 0;
  if (config.ring && paged) return Status::error(invalid, "ring: cannot go with page_rows");
  ATTEND_CHECK(check_size("capacity", config.capacity, paged ? 0 : 1, largest_offset));
  double rows = static_cast<double>(config.capacity) * static_cast<double>(config.batch);
  if (paged) {
    ATTEND_CHECK(check_size("page_rows", config.page_rows, 1, most));
    ATTEND_CHECK(check_size("page_count", config.page_count, 1, largest_offset));
    ATTEND_CHECK(check_view("pages", config.pages, config.batch, -1));
    const std::int64_t columns = config.pages.sizes[1];
    const double held = static_cast<double>(columns) * static_cast<double>(config.page_rows);
    if (columns == 0 || held < static_cast<double>(config.capacity) || held > static_cast<double>(largest_offset)) {
      return Status::error(invalid, "pages: shape %s, %lld tokens to a page, expected room for capacity = %lld, at least 1 and at most 2^40",
                           shape_text(config.pages).text, Number{config.page_rows}, Number{config.capacity});
    }
    rows = static_cast<double>(config.page_count) * static_cast<double>(config.page_rows);
  } else if (config.page_count != 0 || !config.pages.absent()) {
    return Status::error(invalid, "%s: given, but page_rows is 0", config.page_count != 0 ? "page_count" : "pages");
  }
  const unsigned type = static_cast<unsigned>(config.type);
  if (type >= sizeof cache_types / sizeof *cache_types) return Status::error(invalid, "type: %d is none that there is", static_cast<int>(config.type));
  if (type != 0 && (config.low_precision == nullptr || config.low_precision->int4())) {
    return Status::error(invalid, "low_precision: %s, but type is %s, expected low_precision(), which links its kernels",
                         config.low_precision == nullptr ? "null" : "low_precision_int4()", cache_types[type]);
  }
  const double widest = 64.0 + static_cast<double>(config.head_dim + largest_head);
  if (rows * static_cast<double>(config.num_kv_heads) * widest <= 0x1p58) return Status();
  return Status::error(invalid, "%s: %lld is too large", paged ? "page_count" : "capacity",
                       Number{paged ? config.page_count : config.capacity});
}

Status validate_room(const CacheState& state, const IndexView& counts, std::int64_t rows) noexcept {
  const KeyValueCacheConfig& config = state.config;
  for (std::int64_t b = 0; b < config.batch; ++b) {
    const std::int64_t count = counts.absent() ? rows : counts.data[b * counts.strides[0]], length = state.lengths[b];
    if (count > (config.ring ? largest_offset : config.capacity) - length) {
      return Status::error(StatusCode::out_of_memory, "cache: entry %lld holds %lld of %lld tokens, no room for %lld more", Number{b},
                           Number{length}, Number{config.ring ? largest_offset : config.capacity}, Number{count});
    }
    ATTEND_CHECK(check_pages(state, b, {length, length + count}));
  }
  return Status();
}

Status validate_append(const CacheState& state, const ConstTensorView& k, const ConstTensorView& v, const IndexView& counts,
                       const OperationOptions& options) noexcept {
  const KeyValueCacheConfig& config = state.config;
  ATTEND_CHECK(check_view("k", k, config.batch, config.num_kv_heads, -1, config.head_dim));
  const std::int64_t rows = k.sizes[2];
  ATTEND_CHECK(check_view("v", v, config.batch, config.num_kv_heads, rows, config.value_dim));
  ATTEND_CHECK(check_counts("counts", counts, config.batch, rows));
  ATTEND_CHECK(check_apart_from_cache("k", k, state));
  ATTEND_CHECK(check_apart_from_cache("v", v, state));
  ATTEND_CHECK(validate_room(state, counts, rows));
  ATTEND_CHECK(check_cache_kernels(state, options.isa));
  return check_threads(options.threads);
}

Status validate_truncate(const CacheState& state, std::int64_t b, std::int64_t length) noexcept {
  ATTEND_CHECK(check_size("b", b, 0, state.config.batch - 1));
  if (length == 0) return Status();
  if (length >= state.firsts[b] && length <= state.lengths[b]) return Status();
  return Status::error(invalid, "length: %lld, expected 0 or %lld to %lld, what entry %lld holds", Number{length}, Number{state.firsts[b]},
                       Number{state.lengths[b]}, Number{b});
}

Status validate_reach(const CacheState& state, const Visibility& visibility) noexcept {
  const KeyValueCacheConfig& config = state.config;
  Visibility all = visibility;
  all.first_kept = nullptr;
  for (std::int64_t b = 0; b < config.batch; ++b) {
    ATTEND_CHECK(check_pages(state, b, visibility.of_sequence(b)));
    const std::int64_t first = visibility.first_of(b), end = visibility.sequences.key_count(b);
    const std::int64_t queries = visibility.sequences.query_count(b);
    if (first == 0 || (queries == 1 && visibility.window_left < 0)) continue;
    for (std::int64_t i = 0; i < queries; ++i) {
      const KeyRange range = all.of(b, i);
      if (range.empty() || range.begin >= first) continue;
      return Status::error(invalid,
                           "cache: query %lld of entry %lld sees tokens from %lld on, a ring of capacity %lld holds %lld to %lld; it takes %lld",
                           Number{i}, Number{b}, Number{range.begin}, Number{config.capacity}, Number{first}, Number{end - 1},
                           Number{end - range.begin});
    }
  }
  return Status();
}

}  // namespace attend
