// The C API: attend.h in terms of attend.hpp.
#include "api/c_api.h"

#include <cstdio>
#include <new>

#include "base/isas.h"
#include "base/memory.h"
#include "data/layer.h"

namespace attend {

attend_code report(const Status& status, attend_error* error) {
  static_assert(static_cast<int>(StatusCode::out_of_memory) == ATTEND_OUT_OF_MEMORY, "the codes are the same");
  if (!status.ok() && error != nullptr) {
    std::snprintf(error->message, sizeof error->message, "%s", status.message());
  }
  return static_cast<attend_code>(status.code());
}

attend_code report_null(const char* name, attend_error* error) {
  return report(Status::error(StatusCode::invalid_argument, "%s: null", name), error);
}

Status take_memory(const char* name, std::size_t bytes, void* memory, std::size_t memory_bytes, char** start, void** heap) {
  *heap = nullptr;
  if (memory == nullptr) {
    memory = *heap = allocate(bytes);
    if (memory == nullptr) {
      return Status::error(StatusCode::out_of_memory, "memory: null, and the heap has no attend_%s_bytes(config) = %zu", name, bytes);
    }
  } else if (memory_bytes < bytes) {
    return Status::error(StatusCode::out_of_memory, "memory_bytes: %zu, expected at least attend_%s_bytes(config) = %zu", memory_bytes,
                         name, bytes);
  }
  *start = static_cast<char*>(align_up(memory));
  return Status();
}

namespace {

template <class Element>
View<Element> mask_of(Element* data, bool by_entry, bool by_head, const CallSizes& shape) {
  if (data == nullptr) return {};
  return View<Element>(data, by_entry ? shape.batch : 1, by_head ? shape.heads : 1, shape.queries, shape.keys);
}

}  // namespace

AttentionOptions options_of(const attend_options& o, const CallSizes& shape, int empty_rows, float* attention_weights, int isa) {
  AttentionOptions options;
  options.isa = static_cast<Isa>(isa);
  options.causal = o.causal != 0;
  options.offset = o.offset;
  if (o.windowed != 0) {
    options.window_left = o.window_left;
    options.window_right = o.window_right;
  }
  options.mask = mask_of(o.mask, o.mask_by_entry != 0, o.mask_by_head != 0, shape);
  options.additive_mask = mask_of(o.additive_mask, o.additive_mask_by_entry != 0, o.additive_mask_by_head != 0, shape);
  options.scale = o.scale;
  options.softcap = o.softcap;
  options.empty_rows = static_cast<EmptyRows>(empty_rows);
  if (o.lse != nullptr) options.lse = TensorView(o.lse, shape.batch, shape.heads, shape.queries);
  if (attention_weights != nullptr) {
    options.attention_weights = TensorView(attention_weights, shape.batch, shape.heads, shape.queries, shape.keys);
  }
  if (packed(o)) {
    const std::int64_t starts = static_cast<std::int64_t>(static_cast<std::uint64_t>(o.num_sequences) + 1);  // absurd ones are refused
    options.query_starts = IndexView(o.query_starts, starts);
    options.key_starts = IndexView(o.key_starts, starts);
  }
  return options;
}

namespace {

MultiHeadAttentionConfig config_of(const attend_mha_config& c) {
  static_assert(static_cast<int>(Isa::neon) == ATTEND_ISA_NEON && sizeof isas / sizeof isas[0] == ATTEND_ISA_NEON, "the last ISA, and as many");
  MultiHeadAttentionConfig config;
  config.key_size = c.key_size;
  config.query_size = c.query_size;
  config.value_size = c.value_size;
  config.num_hiddens = c.num_hiddens;
  config.num_heads = c.num_heads;
  config.isa = static_cast<Isa>(c.isa);
  config.num_kv_heads = c.num_kv_heads;
  config.head_dim = c.head_dim;
  config.output_size = c.output_size;
  if (c.rotary_frequencies != nullptr || c.num_rotary_frequencies != 0) {
    config.rotary.inverse_frequencies = ConstTensorView(c.rotary_frequencies, c.num_rotary_frequencies);
  }
  if (c.rotary_attention_factor != 0.0f) config.rotary.attention_factor = c.rotary_attention_factor;
  config.rotary.interleaved = c.rotary_interleaved != 0;
  config.qk_norm = c.qk_norm != 0;
  if (c.norm_epsilon != 0.0f) config.norm_epsilon = c.norm_epsilon;
  return config;
}

// Of a valid config.
MultiHeadAttentionWeights weights_of(const MultiHeadAttentionConfig& config, const attend_mha_weights& w) {
  const LayerSizes sizes(config);
  const auto matrix = [&sizes](const float* data, int which) { return ConstTensorView(data, sizes.outputs[which], sizes.inputs[which]); };
  const auto vector = [](const float* data, std::int64_t size) {
    return data != nullptr ? ConstTensorView(data, size) : ConstTensorView();
  };
  MultiHeadAttentionWeights weights;
  weights.query = matrix(w.query, query_projection);
  weights.key = matrix(w.key, key_projection);
  weights.value = matrix(w.value, value_projection);
  weights.output = matrix(w.output, output_projection);
  weights.query_bias = vector(w.query_bias, sizes.outputs[query_projection]);
  weights.key_bias = vector(w.key_bias, sizes.outputs[key_projection]);
  weights.value_bias = vector(w.value_bias, sizes.outputs[value_projection]);
  weights.output_bias = vector(w.output_bias, sizes.outputs[output_projection]);
  weights.query_norm = vector(w.query_norm, sizes.depth);
  weights.key_norm = vector(w.key_norm, sizes.depth);
  return weights;
}

template <class Call>
LengthsView lengths_of(const Call& c) {
  if (c.valid_lens == nullptr) return {};
  if (c.lens_per_query) return LengthsView(c.valid_lens, c.batch, c.num_queries);
  return LengthsView(c.valid_lens, packed(c.options) ? c.options.num_sequences : c.batch);
}

// The operands of a call of the core.
struct CoreOperands {
  ConstTensorView q, k, v;
  TensorView output;
  explicit CoreOperands(const attend_attention_call& c) {
    const std::int64_t kv_heads = c.num_kv_heads != 0 ? c.num_kv_heads : c.num_heads, width = c.value_dim != 0 ? c.value_dim : c.head_dim;
    q = ConstTensorView(c.q, c.batch, c.num_heads, c.num_queries, c.head_dim);
    k = ConstTensorView(c.k, c.batch, kv_heads, c.num_keys, c.head_dim);
    v = ConstTensorView(c.v, c.batch, kv_heads, c.num_keys, width);
    output = TensorView(c.output, c.batch, c.num_heads, c.num_queries, width);
  }
};

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

const char* attend_version(void) { return version(); }

const char* attend_isa_name(attend_isa isa) { return isa_name(static_cast<Isa>(isa)); }

size_t attend_mha_bytes(const attend_mha_config* config) {
  if (config == nullptr) return 0;
  const std::size_t packed = MultiHeadAttention::packed_bytes(config_of(*config));
  return packed == 0 ? 0 : aligned_bytes(sizeof(attend_mha)) + packed + alignment - 1;
}

attend_code attend_mha_make(const attend_mha_config* config, const attend_mha_weights* weights,
                            void* memory, size_t memory_bytes, attend_mha** layer,
                            attend_error* error) {
  if (config == nullptr) return report_null("config", error);
  if (weights == nullptr) return report_null("weights", error);
  if (layer == nullptr) return report_null("layer", error);
  MultiHeadAttentionConfig sizes = config_of(*config);
  sizes.bias = weights->query_bias || weights->key_bias || weights->value_bias || weights->output_bias;

  const std::size_t bytes = attend_mha_bytes(config);
  if (bytes == 0) return report(MultiHeadAttention::make(sizes, {}, nullptr), error);  // says why
  char* start = nullptr;
  void* heap = nullptr;
  Status status = take_memory("mha", bytes, memory, memory_bytes, &start, &heap);
  if (!status.ok()) return report(status, error);
  if (heap != nullptr) prefer_huge_pages(heap, bytes);
  MultiHeadAttention made;
  status = MultiHeadAttention::make(sizes, weights_of(sizes, *weights), &made, start + aligned_bytes(sizeof(attend_mha)),
                                    MultiHeadAttention::packed_bytes(sizes));
  if (!status.ok()) {
    release(heap);
    return report(status, error);
  }
  *layer = new (start) attend_mha();
  (*layer)->layer = static_cast<MultiHeadAttention&&>(made);
  (*layer)->heap = heap;
  return ATTEND_OK;
}

void attend_mha_destroy(attend_mha* layer) {
  if (layer == nullptr) return;
  void* heap = layer->heap;
  layer->~attend_mha();
  release(heap);
}

attend_isa attend_mha_isa(const attend_mha* layer) {
  return layer == nullptr ? ATTEND_ISA_BEST : static_cast<attend_isa>(layer->layer.isa());
}

size_t attend_mha_workspace_bytes(const attend_mha* layer, int64_t batch, int64_t num_queries, int64_t num_keys) {
  return layer == nullptr ? 0 : layer->layer.workspace_bytes({batch, num_queries, num_keys});
}

size_t attend_mha_call_workspace_bytes(const attend_mha* layer, const attend_mha_call* call) {
  if (layer == nullptr || call == nullptr) return 0;
  return layer->layer.workspace_bytes({call->batch, call->num_queries, call->num_keys},
                                      options_of(*call, call->batch, layer->layer.config().num_heads));
}

attend_code attend_mha_forward(attend_mha* layer, const attend_mha_call* call, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  if (call == nullptr) return report_null("call", error);
  const attend_mha_call& c = *call;
  const MultiHeadAttentionConfig& config = layer->layer.config();
  Workspace callers(c.workspace, c.workspace_bytes);
  return report(layer->layer.forward(ConstTensorView(c.queries, c.batch, c.num_queries, config.query_size),
                                     ConstTensorView(c.keys, c.batch, c.num_keys, config.key_size),
                                     ConstTensorView(c.values, c.batch, c.num_keys, config.value_size), lengths_of(c),
                                     TensorView(c.output, c.batch, c.num_queries, LayerSizes(config).outputs[output_projection]),
                                     c.workspace != nullptr ? callers : layer->workspace, options_of(c, c.batch, config.num_heads)),
                error);
}

size_t attend_attention_workspace_bytes(const attend_attention_call* call) {
  if (call == nullptr) return 0;
  // A pointer for each array, where there is none yet: none is read.
  attend_attention_call c = *call;
  static const float somewhere = 0.0f;
  if (c.q == nullptr) c.q = &somewhere;
  if (c.k == nullptr) c.k = &somewhere;
  if (c.v == nullptr) c.v = &somewhere;
  const CoreOperands operands(c);
  return attention_workspace_bytes(operands.q, operands.k, operands.v, options_of(c, c.batch, c.num_heads, c.isa));
}

attend_code attend_attention(const attend_attention_call* call, attend_error* error) {
  if (call == nullptr) return report_null("call", error);
  const CoreOperands operands(*call);
  Workspace callers(call->workspace, call->workspace_bytes), own;
  return report(attention(operands.q, operands.k, operands.v, lengths_of(*call), operands.output,
                          call->workspace != nullptr ? callers : own, options_of(*call, call->batch, call->num_heads, call->isa)),
                error);
}

}  // extern "C"
