// The C API: attend.h in terms of attend.hpp.
#include "attend/attend.h"

#include <cstdio>
#include <new>

#include "attend/attend.hpp"  // defines the same version macros: a difference does not compile
#include "memory.h"

struct attend_mha {
  attend::MultiHeadAttention layer;
  attend::Workspace workspace;
  void* heap;  // the block that holds this and the packed weights, if it is ours
};

namespace attend {

namespace {

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

MultiHeadAttentionConfig config_of(const attend_mha_config& c) {
  static_assert(static_cast<int>(Isa::neon) == ATTEND_ISA_NEON, "the ISAs are the same");
  MultiHeadAttentionConfig config;
  config.key_size = c.key_size;
  config.query_size = c.query_size;
  config.value_size = c.value_size;
  config.num_hiddens = c.num_hiddens;
  config.num_heads = c.num_heads;
  config.isa = static_cast<Isa>(c.isa);
  return config;
}

MultiHeadAttentionWeights weights_of(const attend_mha_config& c, const attend_mha_weights& w) {
  const std::int64_t width = c.num_hiddens;
  const auto bias = [width](const float* data) {
    return data != nullptr ? ConstTensorView(data, width) : ConstTensorView();
  };
  MultiHeadAttentionWeights weights;
  weights.query = ConstTensorView(w.query, width, c.query_size);
  weights.key = ConstTensorView(w.key, width, c.key_size);
  weights.value = ConstTensorView(w.value, width, c.value_size);
  weights.output = ConstTensorView(w.output, width, width);
  weights.query_bias = bias(w.query_bias);
  weights.key_bias = bias(w.key_bias);
  weights.value_bias = bias(w.value_bias);
  weights.output_bias = bias(w.output_bias);
  return weights;
}

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
  void* heap = nullptr;
  if (bytes != 0 && memory == nullptr) {  // 0 is an invalid config: the layer's make says why
    memory = heap = allocate(memory_bytes = bytes);
    if (memory == nullptr) return report(Status::error(StatusCode::out_of_memory, "layer: no memory for %zu bytes", bytes), error);
  }
  if (memory_bytes < bytes) {
    return report(Status::error(StatusCode::out_of_memory, "memory_bytes: %zu, expected at least attend_mha_bytes(config) = %zu", memory_bytes, bytes), error);
  }
  char* aligned = static_cast<char*>(align_up(memory));
  const std::size_t packed = MultiHeadAttention::packed_bytes(sizes);
  MultiHeadAttention made;
  const Status status = MultiHeadAttention::make(sizes, weights_of(*config, *weights), &made, aligned + aligned_bytes(sizeof(attend_mha)), packed);
  if (!status.ok()) {
    release(heap);
    return report(status, error);
  }
  *layer = new (aligned) attend_mha();
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

attend_code attend_mha_forward(attend_mha* layer, const attend_mha_call* call, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  if (call == nullptr) return report_null("call", error);
  const attend_mha_call& c = *call;
  const MultiHeadAttentionConfig& config = layer->layer.config();
  LengthsView lengths;
  if (c.valid_lens != nullptr) {
    lengths = c.lens_per_query ? LengthsView(c.valid_lens, c.batch, c.num_queries) : LengthsView(c.valid_lens, c.batch);
  }
  AttentionOptions options;
  options.empty_rows = static_cast<EmptyRows>(c.empty_rows);
  if (c.attention_weights != nullptr) {
    options.attention_weights = TensorView(c.attention_weights, c.batch, config.num_heads, c.num_queries, c.num_keys);
  }
  Workspace callers(c.workspace, c.workspace_bytes);
  return report(layer->layer.forward(ConstTensorView(c.queries, c.batch, c.num_queries, config.query_size),
                                     ConstTensorView(c.keys, c.batch, c.num_keys, config.key_size),
                                     ConstTensorView(c.values, c.batch, c.num_keys, config.value_size), lengths,
                                     TensorView(c.output, c.batch, c.num_queries, config.num_hiddens),
                                     c.workspace != nullptr ? callers : layer->workspace, options),
                error);
}

}  // extern "C"
