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

namespace attend {

namespace {

// Rows of `width` floats: their strides, and all that they take. Each head begins on a cache line, and so does each row where that takes
// at most an eighth more: rows across cache lines take decoding up to 1.4 times as long (255 rather than 256 wide, AVX-512).
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

std::size_t size_of(const KeyValueCacheConfig& config, std::size_t* counts, std::size_t* keys, std::size_t* values) {
  *counts = aligned_bytes(sizeof(CacheState));
  *keys = *counts + aligned_bytes(static_cast<std::size_t>(config.batch) * 4 * sizeof(std::int64_t));
  *values = *keys + float_bytes(RowLayout(config, config.head_dim).count);
  return *values + float_bytes(RowLayout(config, config.value_dim).count);
}

// Appends rows head by head.
struct Append {
  const Kernels* kernels;
  const CacheState* state;
  ConstTensorView k, v;
};

void copy_rows(const Append& append, const ConstTensorView& from, const PagedRows<float>& to, std::int64_t b, std::int64_t g) {
  const CacheState& state = *append.state;
  const std::int64_t before = state.lengths[b], end = state.next_lengths[b];
  CopyArguments arguments;
  arguments.source_row_stride = from.strides[2];
  arguments.source_stride = from.strides[3];
  arguments.destination_row_stride = to.row_stride;
  arguments.destination_stride = 1;
  arguments.columns = from.sizes[3];
  // A ring keeps the last rows that it has room for.
  for (std::int64_t j = before < state.next_firsts[b] ? state.next_firsts[b] : before; j < end; j += arguments.rows) {
    arguments.source = from.data + b * from.strides[0] + g * from.strides[1] + (j - before) * from.strides[2];
    arguments.destination = to.row(b, g, j);
    arguments.rows = to.end_of_run(j, end) - j;
    append.kernels->copy(&arguments);
  }
}

void run_append(const void* context, std::int64_t task, int) {
  const Append& append = *static_cast<const Append*>(context);
  const std::int64_t heads = append.state->config.num_kv_heads;
  copy_rows(append, append.k, append.state->keys, task / heads, task % heads);
  copy_rows(append, append.v, append.state->values, task / heads, task % heads);
}

const float* row_of(const CacheState* state, bool of_keys, std::int64_t b, std::int64_t head, std::int64_t token) {
  if (state == nullptr || b < 0 || b >= state->config.batch || head < 0 || head >= state->config.num_kv_heads ||
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
  std::size_t counts, keys, values;
  return size_of(filled_in(config), &counts, &keys, &values) + alignment - 1;
}

Status KeyValueCache::make(const KeyValueCacheConfig& config, KeyValueCache* cache, void* memory,
                           std::size_t memory_bytes) noexcept {
  ATTEND_CHECK(validate_cache_config(config));
  if (cache == nullptr) return Status::error(StatusCode::invalid_argument, "cache: null");
  const KeyValueCacheConfig filled = filled_in(config);
  std::size_t counts, keys, values;
  const std::size_t bytes = size_of(filled, &counts, &keys, &values);
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
  state->lengths = reinterpret_cast<std::int64_t*>(start + counts);
  state->firsts = state->lengths + filled.batch;
  state->next_lengths = state->firsts + filled.batch;
  state->next_firsts = state->next_lengths + filled.batch;
  state->keys = RowLayout(filled, filled.head_dim).at(filled, reinterpret_cast<float*>(start + keys));
  state->values = RowLayout(filled, filled.value_dim).at(filled, reinterpret_cast<float*>(start + values));
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
  const Append append = {kernels, state_, k, v};
  const Stage stage = {state_->config.batch * state_->config.num_kv_heads, run_append, &append};
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
