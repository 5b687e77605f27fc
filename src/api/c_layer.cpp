// The layer of the C API: making it, and its call with keys and values.
#include "api/c_layer.h"

#include <new>

#include "api/c_workspace.h"
#include "base/memory.h"
#include "base/status.h"
#include "data/layer.h"

namespace attend {

namespace {

// What attend_mha_make makes, before the packed weights.
struct MadeLayer {
  MultiHeadAttention layer;
  void* heap;  // the block that holds this and the packed weights, if it is ours
};

Status read_config(const attend_mha_config* given, MultiHeadAttentionConfig* config) {
  attend_mha_config whole;
  ATTEND_CHECK(complete("config", "attend_mha_config", given, &whole));
  config->key_size = whole.key_size;
  config->query_size = whole.query_size;
  config->value_size = whole.value_size;
  config->num_hiddens = whole.num_hiddens;
  config->num_heads = whole.num_heads;
  config->dropout = whole.dropout;
  config->bias = whole.bias != 0;
  config->isa = static_cast<Isa>(whole.isa);
  config->num_kv_heads = whole.num_kv_heads;
  config->head_dim = whole.head_dim;
  config->output_size = whole.output_size;
  config->qk_norm = whole.norm_queries != 0 || whole.norm_keys != 0;
  if (whole.norm_epsilon != 0.0f) config->norm_epsilon = whole.norm_epsilon;
  config->norm_queries = whole.norm_queries != 0;
  config->norm_keys = whole.norm_keys != 0;
  config->weight_type = static_cast<WeightType>(whole.weight_type);
  config->arithmetic = static_cast<Arithmetic>(whole.arithmetic);
  config->low_precision = low_precision_of(whole.low_precision);
  config->weight_group = whole.weight_group;
  return read_rotary(whole.rotary, &config->rotary);
}

Status read_weights(const attend_mha_weights* given, StoredMatrix (&stored)[projection_count], MultiHeadAttentionWeights* weights) {
  attend_mha_weights whole;
  ATTEND_CHECK(complete("weights", "attend_mha_weights", given, &whole));
  weights->query = view_of(whole.query);
  weights->key = view_of(whole.key);
  weights->value = view_of(whole.value);
  weights->output = view_of(whole.output);
  weights->query_bias = view_of(whole.query_bias);
  weights->key_bias = view_of(whole.key_bias);
  weights->value_bias = view_of(whole.value_bias);
  weights->output_bias = view_of(whole.output_bias);
  weights->query_norm = view_of(whole.query_norm);
  weights->key_norm = view_of(whole.key_norm);
  ATTEND_CHECK(read_stored("weights.stored_query", whole.stored_query, &stored[0], &weights->stored_query));
  ATTEND_CHECK(read_stored("weights.stored_key", whole.stored_key, &stored[1], &weights->stored_key));
  ATTEND_CHECK(read_stored("weights.stored_value", whole.stored_value, &stored[2], &weights->stored_value));
  return read_stored("weights.stored_output", whole.stored_output, &stored[3], &weights->stored_output);
}

std::size_t bytes_of(std::size_t packed) { return packed == 0 ? 0 : aligned_bytes(sizeof(MadeLayer)) + packed + alignment - 1; }

// Where a layer is made.
struct Place {
  char* start = nullptr;
  void* heap = nullptr;
  std::size_t packed_bytes = 0;

  void* packed() const { return start == nullptr ? nullptr : start + aligned_bytes(sizeof(MadeLayer)); }
};

// Takes memory for a layer; none for a config that is not valid: making it says why.
Status take_place(const MultiHeadAttentionConfig& config, void* memory, std::size_t memory_bytes, Place* place) {
  place->packed_bytes = MultiHeadAttention::packed_bytes(config);
  const std::size_t bytes = bytes_of(place->packed_bytes);
  if (bytes == 0) return Status();
  ATTEND_CHECK(take_memory("attend_mha_bytes", bytes, memory, memory_bytes, &place->start, &place->heap));
  if (place->heap != nullptr) prefer_huge_pages(place->heap, bytes);
  return Status();
}

// Gives the caller what was made; else frees the memory for it.
attend_code give_layer(const Status& status, MultiHeadAttention&& made, const Place& place, attend_mha** layer, attend_error* error) {
  if (status.ok()) {
    *layer = reinterpret_cast<attend_mha*>(new (place.start) MadeLayer{static_cast<MultiHeadAttention&&>(made), place.heap});
  } else {
    release(place.heap);
  }
  return report(status, error);
}

attend_rotary_embedding c_rotary_of(const RotaryEmbedding& rotary) {
  return {sizeof(attend_rotary_embedding), c_view_of<attend_const_tensor>(rotary.inverse_frequencies),
          c_view_of<attend_const_tensor>(rotary.cosines), c_view_of<attend_const_tensor>(rotary.sines),
          rotary.attention_factor, rotary.interleaved};
}

attend_mha_config c_config_of(const MultiHeadAttentionConfig& config) {
  attend_mha_config given = {};
  given.key_size = config.key_size;
  given.query_size = config.query_size;
  given.value_size = config.value_size;
  given.num_hiddens = config.num_hiddens;
  given.num_heads = config.num_heads;
  given.dropout = config.dropout;
  given.bias = config.bias;
  given.isa = static_cast<int>(config.isa);
  given.norm_epsilon = config.norm_epsilon;
  given.norm_queries = norms_queries(config);
  given.norm_keys = norms_keys(config);
  given.num_kv_heads = config.num_kv_heads;
  given.head_dim = config.head_dim;
  given.output_size = config.output_size;
  given.weight_type = static_cast<int>(config.weight_type);
  given.arithmetic = static_cast<int>(config.arithmetic);
  given.low_precision = c_low_precision_of(config.low_precision);
  given.weight_group = config.weight_group;
  return given;
}

__attribute__((noinline)) attend_code read_call(const attend_mha_call* given, CallArguments* call, attend_error* error) {
  attend_mha_call whole;
  const Status status = complete("call", "attend_mha_call", given, &whole);
  if (!status.ok()) return report(status, error);
  call->queries = view_of(whole.queries);
  call->keys = view_of(whole.keys);
  call->values = view_of(whole.values);
  call->counts = view_of(whole.valid_lens);
  call->output = view_of(whole.output);
  call->workspace = whole.workspace;
  return report(read_options(whole.options, &call->options), error);
}

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

size_t attend_mha_bytes(const attend_mha_config* config) {
  MultiHeadAttentionConfig sizes;
  return read_config(config, &sizes).ok() ? bytes_of(MultiHeadAttention::packed_bytes(sizes)) : 0;
}

attend_code attend_mha_make(const attend_mha_config* config, const attend_mha_weights* weights, void* memory, size_t memory_bytes,
                            attend_mha** layer, attend_error* error) {
  MultiHeadAttentionConfig sizes;
  StoredMatrix stored[projection_count];
  MultiHeadAttentionWeights matrices;
  attend_code code = report(read_config(config, &sizes), error);
  if (code == ATTEND_OK) code = report(read_weights(weights, stored, &matrices), error);
  if (code != ATTEND_OK) return code;
  if (layer == nullptr) return report_null("layer", error);
  Place place;
  code = report(take_place(sizes, memory, memory_bytes, &place), error);
  if (code != ATTEND_OK) return code;
  MultiHeadAttention made;
  const Status status = MultiHeadAttention::make(sizes, matrices, &made, place.packed(), place.packed_bytes);
  return give_layer(status, static_cast<MultiHeadAttention&&>(made), place, layer, error);
}

attend_code attend_mha_make_random(const attend_mha_config* config, uint64_t seed, void* memory, size_t memory_bytes, attend_mha** layer,
                                   attend_error* error) {
  MultiHeadAttentionConfig sizes;
  attend_code code = report(read_config(config, &sizes), error);
  if (code != ATTEND_OK) return code;
  if (layer == nullptr) return report_null("layer", error);
  Place place;
  code = report(take_place(sizes, memory, memory_bytes, &place), error);
  if (code != ATTEND_OK) return code;
  MultiHeadAttention made;
  const Status status = MultiHeadAttention::make_random(sizes, seed, &made, place.packed(), place.packed_bytes);
  return give_layer(status, static_cast<MultiHeadAttention&&>(made), place, layer, error);
}

void attend_mha_destroy(attend_mha* layer) {
  if (layer == nullptr) return;
  MadeLayer* const made = reinterpret_cast<MadeLayer*>(layer);
  void* const heap = made->heap;
  made->~MadeLayer();
  release(heap);
}

attend_isa attend_mha_isa(const attend_mha* layer) {
  return layer == nullptr ? ATTEND_ISA_BEST : static_cast<attend_isa>(layer_of(layer).isa());
}

attend_code attend_mha_get_config(const attend_mha* layer, attend_mha_config* config, attend_rotary_embedding* rotary, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  const MultiHeadAttentionConfig& made = layer_of(layer).config();
  attend_mha_config whole = c_config_of(made);
  if (rotary != nullptr) {
    const attend_rotary_embedding turns = c_rotary_of(made.rotary);
    const attend_code code = report(give_back("rotary", "attend_rotary_embedding", &turns, sizeof turns, rotary), error);
    if (code != ATTEND_OK) return code;
    if (!made.rotary.absent()) whole.rotary = rotary;
  }
  return report(give_back("config", "attend_mha_config", &whole, sizeof whole, config), error);
}

attend_code attend_mha_forward(const attend_mha* layer, const attend_mha_call* call, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  CallArguments c;
  const attend_code code = read_call(call, &c, error);
  if (code != ATTEND_OK) return code;
  CallWorkspace workspace(c.workspace);
  return report(layer_of(layer).forward(c.queries, c.keys, c.values, c.counts, c.output, workspace, c.options), error);
}

size_t attend_mha_workspace_bytes(const attend_mha* layer, const attend_mha_call* call) {
  CallArguments c;
  if (layer == nullptr || read_call(call, &c, nullptr) != ATTEND_OK || c.queries.rank != 3 || c.keys.rank != 3) return 0;
  return layer_of(layer).workspace_bytes({c.queries.sizes[0], c.queries.sizes[1], c.keys.sizes[1]}, c.options);
}

}  // extern "C"
