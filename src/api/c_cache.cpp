// The KV cache of the C API, and calls over it: a program that uses none links none of this.
#include <new>

#include "api/c_layer.h"
#include "api/c_workspace.h"
#include "base/memory.h"
#include "base/status.h"
#include "data/cache_state.h"

struct attend_kv_cache {
  attend::KeyValueCache cache;
  void* heap;  // the block that holds this and the rows, if it is ours
};

namespace attend {

namespace {

static_assert(static_cast<int>(CacheType::int8) == ATTEND_CACHE_INT8, "the types are the same");

Status read_config(const attend_kv_cache_config* given, KeyValueCacheConfig* config) {
  attend_kv_cache_config whole;
  ATTEND_CHECK(complete("config", "attend_kv_cache_config", given, &whole));
  if (whole.batch != 0) config->batch = whole.batch;
  config->num_kv_heads = whole.num_kv_heads;
  config->head_dim = whole.head_dim;
  config->value_dim = whole.value_dim;
  config->capacity = whole.capacity;
  config->ring = whole.ring != 0;
  config->page_rows = whole.page_rows;
  config->page_count = whole.page_count;
  config->pages = view_of(whole.pages);
  config->type = static_cast<CacheType>(whole.type);
  config->low_precision = reinterpret_cast<const LowPrecision*>(whole.low_precision);
  return Status();
}

std::size_t bytes_of(const KeyValueCacheConfig& config) {
  const std::size_t rows = KeyValueCache::bytes(config);
  return rows == 0 ? 0 : aligned_bytes(sizeof(attend_kv_cache)) + rows + alignment - 1;
}

__attribute__((noinline)) attend_code read_call(const attend_attention_cached_call* given, CallArguments* call, const attend_kv_cache** cache,
                                                attend_error* error) {
  attend_attention_cached_call whole;
  const Status status = complete("call", "attend_attention_cached_call", given, &whole);
  if (!status.ok()) return report(status, error);
  if (whole.cache == nullptr) return report_null("cache", error);
  *cache = whole.cache;
  call->queries = view_of(whole.q);
  call->counts = view_of(whole.query_counts);
  call->output = view_of(whole.output);
  call->workspace = whole.workspace;
  return report(read_options(whole.options, &call->options), error);
}

__attribute__((noinline)) attend_code read_call(const attend_mha_cached_call* given, CallArguments* call, attend_kv_cache** cache,
                                                attend_error* error) {
  attend_mha_cached_call whole;
  const Status status = complete("call", "attend_mha_cached_call", given, &whole);
  if (!status.ok()) return report(status, error);
  if (whole.cache == nullptr) return report_null("cache", error);
  *cache = whole.cache;
  call->queries = view_of(whole.queries);
  call->keys = view_of(whole.keys);
  call->values = view_of(whole.values);
  call->counts = view_of(whole.new_counts);
  call->output = view_of(whole.output);
  call->workspace = whole.workspace;
  return report(read_options(whole.options, &call->options), error);
}

__attribute__((noinline)) attend_code read_call(const attend_mha_project_call* given, CallArguments* call, attend_kv_cache** cache,
                                                attend_error* error) {
  attend_mha_project_call whole;
  const Status status = complete("call", "attend_mha_project_call", given, &whole);
  if (!status.ok()) return report(status, error);
  if (whole.cache == nullptr) return report_null("cache", error);
  *cache = whole.cache;
  call->keys = view_of(whole.keys);
  call->values = view_of(whole.values);
  call->counts = view_of(whole.counts);
  call->workspace = whole.workspace;
  return report(read_options(whole.options, &call->options), error);
}

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

size_t attend_kv_cache_bytes(const attend_kv_cache_config* config) {
  KeyValueCacheConfig sizes;
  return read_config(config, &sizes).ok() ? bytes_of(sizes) : 0;
}

attend_code attend_kv_cache_make(const attend_kv_cache_config* config, void* memory, size_t memory_bytes, attend_kv_cache** cache,
                                 attend_error* error) {
  KeyValueCacheConfig sizes;
  const attend_code code = report(read_config(config, &sizes), error);
  if (code != ATTEND_OK) return code;
  if (cache == nullptr) return report_null("cache", error);
  const std::size_t bytes = bytes_of(sizes);
  if (bytes == 0) return report(KeyValueCache::make(sizes, nullptr), error);  // says why
  char* start = nullptr;
  void* heap = nullptr;
  const Status status = take_memory("attend_kv_cache_bytes", bytes, memory, memory_bytes, &start, &heap);
  if (!status.ok()) return report(status, error);
  *cache = new (start) attend_kv_cache();
  (*cache)->heap = heap;
  // No error: the config is valid, and the memory is enough.
  return report(KeyValueCache::make(sizes, &(*cache)->cache, start + aligned_bytes(sizeof(attend_kv_cache)), KeyValueCache::bytes(sizes)),
                error);
}

void attend_kv_cache_destroy(attend_kv_cache* cache) {
  if (cache == nullptr) return;
  void* const heap = cache->heap;
  cache->~attend_kv_cache();
  release(heap);
}

attend_code attend_kv_cache_append(attend_kv_cache* cache, const attend_const_tensor* k, const attend_const_tensor* v,
                                   const attend_indices* counts, const attend_operation_options* options, attend_error* error) {
  if (cache == nullptr) return report_null("cache", error);
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  return report(cache->cache.append(view_of(k), view_of(v), view_of(counts), given), error);
}

attend_code attend_kv_cache_truncate(attend_kv_cache* cache, int64_t b, int64_t length, attend_error* error) {
  if (cache == nullptr) return report_null("cache", error);
  return report(cache->cache.truncate(b, length), error);
}

void attend_kv_cache_clear(attend_kv_cache* cache) {
  if (cache != nullptr) cache->cache.clear();
}

int64_t attend_kv_cache_length(const attend_kv_cache* cache, int64_t b) { return cache == nullptr ? 0 : cache->cache.length(b); }

int64_t attend_kv_cache_first(const attend_kv_cache* cache, int64_t b) { return cache == nullptr ? 0 : cache->cache.first(b); }

const float* attend_kv_cache_key(const attend_kv_cache* cache, int64_t b, int64_t head, int64_t token) {
  return cache == nullptr ? nullptr : cache->cache.key(b, head, token);
}

const float* attend_kv_cache_value(const attend_kv_cache* cache, int64_t b, int64_t head, int64_t token) {
  return cache == nullptr ? nullptr : cache->cache.value(b, head, token);
}

attend_code attend_kv_cache_get_config(const attend_kv_cache* cache, attend_kv_cache_config* config, attend_error* error) {
  if (cache == nullptr) return report_null("cache", error);
  const KeyValueCacheConfig& made = cache->cache.state()->config;
  attend_kv_cache_config whole = {};
  whole.batch = made.batch;
  whole.num_kv_heads = made.num_kv_heads;
  whole.head_dim = made.head_dim;
  whole.value_dim = made.value_dim;
  whole.capacity = made.capacity;
  whole.ring = made.ring;
  whole.page_rows = made.page_rows;
  whole.page_count = made.page_count;
  whole.pages = c_view_of<attend_indices>(made.pages);
  whole.type = static_cast<int>(made.type);
  whole.low_precision = reinterpret_cast<const attend_low_precision*>(made.low_precision);
  return report(give_back("config", "attend_kv_cache_config", &whole, sizeof whole, config), error);
}

attend_code attend_attention_cached(const attend_attention_cached_call* call, attend_error* error) {
  CallArguments c;
  const attend_kv_cache* cache = nullptr;
  const attend_code code = read_call(call, &c, &cache, error);
  if (code != ATTEND_OK) return code;
  CallWorkspace workspace(c.workspace);
  return report(attention_cached(c.queries, cache->cache, c.counts, c.output, workspace, c.options), error);
}

size_t attend_attention_cached_workspace_bytes(const attend_attention_cached_call* call) {
  CallArguments c;
  const attend_kv_cache* cache = nullptr;
  if (read_call(call, &c, &cache, nullptr) != ATTEND_OK) return 0;
  stand_in(&c.queries);
  return attention_workspace_bytes(c.queries, cache->cache, c.options);
}

attend_code attend_mha_forward_cached(const attend_mha* layer, const attend_mha_cached_call* call, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  CallArguments c;
  attend_kv_cache* cache = nullptr;
  const attend_code code = read_call(call, &c, &cache, error);
  if (code != ATTEND_OK) return code;
  CallWorkspace workspace(c.workspace);
  return report(layer_of(layer).forward_cached(c.queries, c.keys, c.values, c.counts, &cache->cache, c.output, workspace, c.options), error);
}

size_t attend_mha_cached_workspace_bytes(const attend_mha* layer, const attend_mha_cached_call* call) {
  CallArguments c;
  attend_kv_cache* cache = nullptr;
  if (layer == nullptr || read_call(call, &c, &cache, nullptr) != ATTEND_OK) return 0;
  if (c.queries.rank != 3 || (c.keys.rank != 3 && !c.keys.absent())) return 0;
  return layer_of(layer).workspace_bytes({c.queries.sizes[0], c.queries.sizes[1], c.keys.sizes[1]}, cache->cache, c.options);
}

attend_code attend_mha_project(const attend_mha* layer, const attend_mha_project_call* call, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  CallArguments c;
  attend_kv_cache* cache = nullptr;
  const attend_code code = read_call(call, &c, &cache, error);
  if (code != ATTEND_OK) return code;
  CallWorkspace workspace(c.workspace);
  return report(layer_of(layer).project(c.keys, c.values, c.counts, &cache->cache, workspace, c.options), error);
}

size_t attend_mha_project_workspace_bytes(const attend_mha* layer, const attend_mha_project_call* call) {
  CallArguments c;
  attend_kv_cache* cache = nullptr;
  if (layer == nullptr || read_call(call, &c, &cache, nullptr) != ATTEND_OK || c.keys.rank != 3) return 0;
  return layer_of(layer).workspace_bytes({c.keys.sizes[0], 0, c.keys.sizes[1]}, cache->cache, c.options);
}

}  // extern "C"
