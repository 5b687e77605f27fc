// The KV cache of the C API: a program that uses none links none of this.
#include <new>

#include "api/c_api.h"
#include "base/memory.h"
#include "data/layer.h"

struct attend_kv_cache {
  attend::KeyValueCache cache;
  void* heap;  // the block that holds this and the rows, if it is ours
};

namespace attend {

namespace {

KeyValueCacheConfig config_of(const attend_kv_cache_config& c) {
  KeyValueCacheConfig config;
  config.batch = c.batch;
  config.num_kv_heads = c.num_kv_heads;
  config.head_dim = c.head_dim;
  config.value_dim = c.value_dim;
  config.capacity = c.capacity;
  config.ring = c.ring != 0;
  config.page_rows = c.page_rows;
  config.page_count = c.page_count;
  if (c.pages != nullptr || c.pages_per_entry != 0) config.pages = IndexView(c.pages, c.batch, c.pages_per_entry);
  return config;
}

IndexView counts_of(const std::int64_t* counts, std::int64_t batch) {
  return counts != nullptr ? IndexView(counts, batch) : IndexView();
}

ConstTensorView queries_of(const attend_cached_attention_call& c, const float* q, const KeyValueCacheConfig& held) {
  return ConstTensorView(q, held.batch, c.num_heads, c.num_queries, held.head_dim);
}

// New rows of a layer, (B, n, width).
ConstTensorView new_rows(const attend_mha_cached_call& c, const float* rows, std::int64_t batch, std::int64_t width) {
  return ConstTensorView(rows, batch, c.num_new, width);
}

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

size_t attend_kv_cache_bytes(const attend_kv_cache_config* config) {
  if (config == nullptr) return 0;
  const std::size_t rows = KeyValueCache::bytes(config_of(*config));
  return rows == 0 ? 0 : aligned_bytes(sizeof(attend_kv_cache)) + rows + alignment - 1;
}

attend_code attend_kv_cache_make(const attend_kv_cache_config* config, void* memory, size_t memory_bytes,
                                 attend_kv_cache** cache, attend_error* error) {
  if (config == nullptr) return report_null("config", error);
  if (cache == nullptr) return report_null("cache", error);
  const KeyValueCacheConfig sizes = config_of(*config);
  const std::size_t bytes = attend_kv_cache_bytes(config);
  if (bytes == 0) return report(KeyValueCache::make(sizes, nullptr), error);  // says why
  char* start = nullptr;
  void* heap = nullptr;
  const Status status = take_memory("kv_cache", bytes, memory, memory_bytes, &start, &heap);
  if (!status.ok()) return report(status, error);
  *cache = new (start) attend_kv_cache();
  (*cache)->heap = heap;
  // No error: the config is valid, and the memory is enough.
  return report(KeyValueCache::make(sizes, &(*cache)->cache, start + aligned_bytes(sizeof(attend_kv_cache)), KeyValueCache::bytes(sizes)),
                error);
}

void attend_kv_cache_destroy(attend_kv_cache* cache) {
  if (cache == nullptr) return;
  void* heap = cache->heap;
  cache->~attend_kv_cache();
  release(heap);
}

attend_code attend_kv_cache_append(attend_kv_cache* cache, int64_t num_new, const float* k, const float* v,
                                   const int64_t* counts, attend_error* error) {
  if (cache == nullptr) return report_null("cache", error);
  const KeyValueCacheConfig held = cache->cache.config();
  return report(cache->cache.append(ConstTensorView(k, held.batch, held.num_kv_heads, num_new, held.head_dim),
                                    ConstTensorView(v, held.batch, held.num_kv_heads, num_new, held.value_dim),
                                    counts_of(counts, held.batch)),
                error);
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

size_t attend_cached_attention_workspace_bytes(const attend_kv_cache* cache, const attend_cached_attention_call* call) {
  if (cache == nullptr || call == nullptr) return 0;
  const attend_cached_attention_call& c = *call;
  const KeyValueCacheConfig held = cache->cache.config();
  static const float somewhere = 0.0f;  // where there are no queries yet: they are not read
  return attention_workspace_bytes(queries_of(c, c.q != nullptr ? c.q : &somewhere, held), cache->cache,
                                   options_of(c, held.batch, c.num_heads, c.isa));
}

attend_code attend_cached_attention(const attend_kv_cache* cache, const attend_cached_attention_call* call, attend_error* error) {
  if (cache == nullptr) return report_null("cache", error);
  if (call == nullptr) return report_null("call", error);
  const attend_cached_attention_call& c = *call;
  if (c.num_heads < 1) {
    return report(Status::error(StatusCode::invalid_argument, "num_heads: %lld, expected 1 or more", static_cast<long long>(c.num_heads)), error);
  }
  const KeyValueCacheConfig held = cache->cache.config();
  Workspace callers(c.workspace, c.workspace_bytes), own;
  return report(attention_cached(queries_of(c, c.q, held), cache->cache, counts_of(c.query_counts, held.batch),
                                 TensorView(c.output, held.batch, c.num_heads, c.num_queries, held.value_dim),
                                 c.workspace != nullptr ? callers : own, options_of(c, held.batch, c.num_heads, c.isa)),
                error);
}

size_t attend_mha_cached_workspace_bytes(const attend_mha* layer, const attend_kv_cache* cache, const attend_mha_cached_call* call) {
  if (layer == nullptr || cache == nullptr || call == nullptr) return 0;
  const std::int64_t batch = cache->cache.config().batch;
  return layer->layer.workspace_bytes({batch, call->num_queries, call->num_new}, cache->cache,
                                      options_of(*call, batch, layer->layer.config().num_heads));
}

attend_code attend_mha_cached_forward(attend_mha* layer, attend_kv_cache* cache, const attend_mha_cached_call* call, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  if (cache == nullptr) return report_null("cache", error);
  if (call == nullptr) return report_null("call", error);
  const attend_mha_cached_call& c = *call;
  const MultiHeadAttentionConfig& config = layer->layer.config();
  const std::int64_t batch = cache->cache.config().batch;
  ConstTensorView keys, values;
  if (c.keys != nullptr || c.values != nullptr || c.num_new != 0) {
    keys = new_rows(c, c.keys, batch, config.key_size);
    values = new_rows(c, c.values, batch, config.value_size);
  }
  Workspace callers(c.workspace, c.workspace_bytes);
  return report(layer->layer.forward_cached(ConstTensorView(c.queries, batch, c.num_queries, config.query_size), keys, values,
                                            counts_of(c.new_counts, batch), &cache->cache,
                                            TensorView(c.output, batch, c.num_queries, LayerSizes(config).outputs[output_projection]),
                                            c.workspace != nullptr ? callers : layer->workspace, options_of(c, batch, config.num_heads)),
                error);
}

attend_code attend_mha_project(attend_mha* layer, attend_kv_cache* cache, const attend_mha_cached_call* call, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  if (cache == nullptr) return report_null("cache", error);
  if (call == nullptr) return report_null("call", error);
  const attend_mha_cached_call& c = *call;
  const MultiHeadAttentionConfig& config = layer->layer.config();
  const std::int64_t batch = cache->cache.config().batch;
  Workspace callers(c.workspace, c.workspace_bytes);
  return report(layer->layer.project(new_rows(c, c.keys, batch, config.key_size), new_rows(c, c.values, batch, config.value_size),
                                     counts_of(c.new_counts, batch), &cache->cache, c.workspace != nullptr ? callers : layer->workspace,
                                     options_of(c, batch, config.num_heads)),
                error);
}

}  // extern "C"
