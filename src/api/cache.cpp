// The KV cache: its memory, appending to it, taking back.

#include <new>

#include "attend/attend.hpp"
#include "base/arithmetic.h"
#include "base/dispatch.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "check/calls.h"
#include "data/cache_state.h"
#include "run/append.h"

namespace attend {

namespace {

// Rows of `width` floats, or of what takes as many bits: their strides, and all that they take. Each head begins on a cache line, and so
// does each row where that takes at most an eighth more: rows across cache lines take decoding up to 1.4 times as long (255 rather than 256 wide, AVX-512).
struct RowLayout {
  std::int64_t row_stride, head_stride, batch_stride, page_stride, count;

  RowLayout(const KeyValueCacheConfig& config, std::int64_t width) {
    const bool paged = config.page_rows > 0;
    const std::int64_t line = alignment / sizeof(float), lines = round_up(width, line);
    row_stride = lines - width <= width / 8 ? lines : width;
    head_stride = round_up((paged ? config.page_rows : config.capacity) * row_stride, line);
    const std::int64_t block = config.num_kv_heads * head_stride;  // a page, or an entry
    batch_stride = paged ? 0 : block;
    page_stride = paged ? block : 0;
    count = block * (paged ? config.page_count : config.batch);
  }

  PagedRows<float> at(const KeyValueCacheConfig& config, float* data) const {
    PagedRows<float> rows;
    rows.data = data;
    rows.batch_stride = batch_stride;
    rows.head_stride = head_stride;
    rows.row_stride = row_stride;
    if (config.ring) rows.page_rows = config.capacity;
    if (config.page_rows == 0) return rows;
    rows.page_rows = config.page_rows;
    rows.page_stride = page_stride;
    rows.pages = config.pages.data;
    rows.pages_batch_stride = config.pages.strides[0];
    rows.pages_stride = config.pages.strides[1];
    return rows;
  }
};

KeyValueCacheConfig filled_in(const KeyValueCacheConfig& given) {
  KeyValueCacheConfig config = given;
  if (config.value_dim == 0) config.value_dim = config.head_dim;
  if (config.page_rows > 0 && config.capacity == 0) config.capacity = config.pages.sizes[1] * config.page_rows;
  return config;
}

std::size_t float_bytes(std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(float); }

// 32 bits that a row of `width` elements takes.
std::int64_t row_words(const KeyValueCacheConfig& config, std::int64_t width) {
  if (config.type == CacheType::float32) return width;
  return round_up(width, stored_step) * (config.type == CacheType::int8 ? 1 : 2) / 4;
}

// Where the parts of a cache lie, in bytes from its start.
struct CacheLayout {
  RowLayout keys, values, scales;
  std::size_t counts_at, keys_at, values_at, key_scales_at, value_scales_at, bytes;

  explicit CacheLayout(const KeyValueCacheConfig& config)
      : keys(config, row_words(config, config.head_dim)), values(config, row_words(config, config.value_dim)), scales(config, 1) {
    const std::size_t scale_bytes = config.type == CacheType::int8 ? float_bytes(scales.count) : 0;
    counts_at = aligned_bytes(sizeof(CacheState));
    keys_at = counts_at + aligned_bytes(static_cast<std::size_t>(config.batch) * 4 * sizeof(std::int64_t));
    values_at = keys_at + float_bytes(keys.count);
    key_scales_at = values_at + float_bytes(values.count);
    value_scales_at = key_scales_at + scale_bytes;
    bytes = value_scales_at + scale_bytes;
  }
};

void run_append(const void* context, std::int64_t task, int) { static_cast<const Append*>(context)->run(task); }

const float* row_of(const CacheState* state, bool of_keys, std::int64_t b, std::int64_t head, std::int64_t token) {
  if (state == nullptr || state->config.type != CacheType::float32 || b < 0 || b >= state->config.batch || head < 0 || head >= state->config.num_kv_heads ||
      token < state->firsts[b] || token >= state->lengths[b] || stray_page(*state, b, {token, token + 1}) >= 0) {
    return nullptr;
  }
  return (of_keys ? state->keys : state->values).row(b, head, token);
}

// From huge pages, decoding 32768 keys takes 12.3 ms, not 16.7 (Zen 4), or 22.0, not 23.9 (a busy Xeon). Each head is two areas to the
// system, which has 65,530 for a process: a cache of more heads than `most` keeps small pages.
void prefer_huge_rows(const KeyValueCacheConfig& config, const PagedRows<float>& rows) {
  constexpr std::int64_t most = 1024;
  if (config.page_rows > 0 || config.batch * config.num_kv_heads > most) return;
  for (std::int64_t b = 0; b < config.batch; ++b) {
    for (std::int64_t g = 0; g < config.num_kv_heads; ++g) prefer_huge_pages_later(rows.row(b, g, 0), float_bytes(rows.head_stride));
  }
}

Status cache_not_made() { return Status::error(StatusCode::invalid_argument, "this KeyValueCache has not been made"); }

}  // namespace

KeyValueCache::~KeyValueCache() { release(owned_); }

KeyValueCache::KeyValueCache(KeyValueCache&& other) noexcept { *this = static_cast<KeyValueCache&&>(other); }

KeyValueCache& KeyValueCache::operator=(KeyValueCache&& other) noexcept {
  if (this == &other) return *this;
  release(owned_);
  state_ = other.state_;
  owned_ = other.owned_;
  other.state_ = nullptr;
  other.owned_ = nullptr;
  return *this;
}

std::size_t KeyValueCache::bytes(const KeyValueCacheConfig& config) noexcept {
  if (!validate_cache_config(config).ok()) return 0;
  return CacheLayout(filled_in(config)).bytes + alignment - 1;
}

Status KeyValueCache::make(const KeyValueCacheConfig& config, KeyValueCache* cache, void* memory,
                           std::size_t memory_bytes) noexcept {
  ATTEND_CHECK(validate_cache_config(config));
  if (cache == nullptr) return Status::error(StatusCode::invalid_argument, "cache: null");
  const KeyValueCacheConfig filled = filled_in(config);
  const CacheLayout layout(filled);
  const std::size_t bytes = layout.bytes;
  KeyValueCache made;
  if (memory == nullptr) {
    made.owned_ = memory = allocate(bytes);
    if (memory == nullptr) return Status::error(StatusCode::out_of_memory, "cache: no memory for %zu bytes", bytes);
  } else if (memory_bytes < bytes + alignment - 1) {
    return Status::error(StatusCode::out_of_memory, "memory_bytes: %zu, expected at least bytes(config) = %zu", memory_bytes,
                         bytes + alignment - 1);
  }
  char* const start = static_cast<char*>(align_up(memory));
  CacheState* state = made.state_ = new (start) CacheState;
  state->config = filled;
  state->lengths = reinterpret_cast<std::int64_t*>(start + layout.counts_at);
  state->firsts = state->lengths + filled.batch;
  state->next_lengths = state->firsts + filled.batch;
  state->next_firsts = state->next_lengths + filled.batch;
  const auto floats = [start](std::size_t at) { return reinterpret_cast<float*>(start + at); };
  state->keys = layout.keys.at(filled, floats(layout.keys_at));
  state->values = layout.values.at(filled, floats(layout.values_at));
  if (filled.type == CacheType::int8) {
    state->key_scales = layout.scales.at(filled, floats(layout.key_scales_at));
    state->value_scales = layout.scales.at(filled, floats(layout.value_scales_at));
  }
  state->memory = ConstTensorView(reinterpret_cast<const float*>(start), static_cast<std::int64_t>(bytes / sizeof(float)));
  if (made.owned_ != nullptr) {
    prefer_huge_rows(filled, state->keys);
    prefer_huge_rows(filled, state->values);
  }
  made.clear();
  *cache = static_cast<KeyValueCache&&>(made);
  return Status();
}

Status KeyValueCache::append(const ConstTensorView& k, const ConstTensorView& v, const IndexView& counts,
                             const OperationOptions& options) noexcept {
  if (state_ == nullptr) return cache_not_made();
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_append(*state_, k, v, counts, options));
  state_->plan_append(counts, k.sizes[2]);
  const Append append = {kernels, cache_kernels_of(state_->config, kernels->isa), state_, by_heads(k), by_heads(v)};
  const Stage stage = {append.tasks(), run_append, &append};
  run_stages(options.threads, &stage, 1);
  state_->commit_append();
  return Status();
}

Status KeyValueCache::truncate(std::int64_t b, std::int64_t length) noexcept {
  if (state_ == nullptr) return cache_not_made();
  ATTEND_CHECK(validate_truncate(*state_, b, length));
  state_->lengths[b] = length;
  if (length == 0) state_->firsts[b] = 0;
  return Status();
}

void KeyValueCache::clear() noexcept {
  for (std::int64_t b = 0; state_ != nullptr && b < state_->config.batch; ++b) state_->lengths[b] = state_->firsts[b] = 0;
}

std::int64_t KeyValueCache::length(std::int64_t b) const noexcept {
  return state_ == nullptr || b < 0 || b >= state_->config.batch ? 0 : state_->lengths[b];
}

std::int64_t KeyValueCache::first(std::int64_t b) const noexcept {
  return state_ == nullptr || b < 0 || b >= state_->config.batch ? 0 : state_->firsts[b];
}

const float* KeyValueCache::key(std::int64_t b, std::int64_t head, std::int64_t token) const noexcept {
  return row_of(state_, true, b, head, token);
}

const float* KeyValueCache::value(std::int64_t b, std::int64_t head, std::int64_t token) const noexcept {
  return row_of(state_, false, b, head, token);
}

KeyValueCacheConfig KeyValueCache::config() const noexcept { return state_ == nullptr ? KeyValueCacheConfig() : state_->config; }

}  // namespace attend
