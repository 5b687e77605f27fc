// What a config leaves at 0; packing projections, panel by panel, and all of a layer.
#include "data/layer.h"

namespace attend {

std::int64_t PackedProjection::size(const Kernels& kernels, std::int64_t inputs, std::int64_t outputs) {
  return round_up((inputs + 1) * round_up(outputs, kernels.lanes), 16);
}

PackedProjection PackedProjection::at(const Kernels& kernels, const float* memory, std::int64_t inputs,
                                      std::int64_t outputs, bool bias) {
  PackedProjection projection;
  projection.inputs = inputs;
  projection.outputs = outputs;
  projection.panels = memory;
  projection.biases = bias ? memory + inputs * round_up(outputs, kernels.lanes) : nullptr;
  projection.columns = {kernels.lanes, steps_to(outputs, kernels.lanes), steps_to(outputs, kernels.gemm_columns)};
  return projection;
}

void pack_projection(const Kernels& kernels, const float* weight, std::int64_t output_stride,
                     std::int64_t input_stride, const float* bias, std::int64_t bias_stride,
                     std::int64_t inputs, std::int64_t outputs, float* memory) {
  const std::int64_t padded = round_up(outputs, kernels.lanes);
  const PanelColumns columns = PackedProjection::at(kernels, memory, inputs, outputs, true).columns;
  for (std::int64_t panel = 0; panel < columns.panels; ++panel) {
    const std::int64_t column = columns.first(panel);
    PackArguments arguments;
    arguments.source = weight + column * output_stride;
    arguments.k_stride = input_stride;
    arguments.n_stride = output_stride;
    arguments.depth = inputs;
    arguments.width = columns.first(panel + 1) - column;
    arguments.columns = outputs - column < arguments.width ? outputs - column : arguments.width;
    arguments.panel = memory + inputs * column;
    kernels.pack(&arguments);
  }
  float* biases = memory + inputs * padded;
  for (std::int64_t n = 0; n < padded; ++n) {
    biases[n] = bias != nullptr && n < outputs ? bias[n * bias_stride] : 0.0f;
  }
  const std::int64_t end = PackedProjection::size(kernels, inputs, outputs);
  for (std::int64_t i = (inputs + 1) * padded; i < end; ++i) memory[i] = 0.0f;
}

namespace {

std::int64_t whole_lines(std::int64_t floats) { return round_up(floats, 16); }

// Copies a norm's weights, then zeros; an absent norm is ones.
void pack_vector(const ConstTensorView& vector, std::int64_t size, float* memory) {
  for (std::int64_t i = 0; i < whole_lines(size); ++i) {
    memory[i] = i >= size ? 0.0f : vector.absent() ? 1.0f : vector.data[i * vector.strides[0]];
  }
}

}  // namespace

static std::int64_t or_else(std::int64_t given, std::int64_t otherwise) { return given > 0 ? given : otherwise; }

LayerSizes::LayerSizes(const MultiHeadAttentionConfig& config)
    : heads(config.num_heads),
      kv_heads(or_else(config.num_kv_heads, config.num_heads)),
      depth(or_else(config.head_dim, config.num_hiddens / config.num_heads)),
      inputs{or_else(config.query_size, config.num_hiddens), or_else(config.key_size, inputs[query_projection]),
             or_else(config.value_size, inputs[query_projection]), heads * depth},
      outputs{heads * depth, kv_heads * depth, kv_heads * depth, or_else(config.output_size, config.num_hiddens)} {}

LayerLayout::LayerLayout(const Kernels& kernels, const MultiHeadAttentionConfig& config) : size(0) {
  const LayerSizes sizes(config);
  const auto take = [this](std::int64_t floats) {
    const std::int64_t start = size;
    size += floats;
    return start;
  };
  for (int which = 0; which < projection_count; ++which) {
    projections[which] = take(PackedProjection::size(kernels, sizes.inputs[which], sizes.outputs[which]));
  }
  query_norm = take(norms_queries(config) ? whole_lines(sizes.depth) : 0);
  key_norm = take(norms_keys(config) ? whole_lines(sizes.depth) : 0);
  frequencies = take(whole_lines(config.rotary.inverse_frequencies.sizes[0]));
}

void pack_layer(const Kernels& kernels, const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights,
                float* memory) {
  const LayerSizes sizes(config);
  const LayerLayout layout(kernels, config);
  const ConstTensorView* matrices[] = {&weights.query, &weights.key, &weights.value, &weights.output};
  const ConstTensorView* biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
  for (int which = 0; which < projection_count; ++which) {
    pack_projection(kernels, matrices[which]->data, matrices[which]->strides[0], matrices[which]->strides[1],
                    biases[which]->data, biases[which]->strides[0], sizes.inputs[which], sizes.outputs[which],
                    memory + layout.projections[which]);
  }
  if (norms_queries(config)) pack_vector(weights.query_norm, sizes.depth, memory + layout.query_norm);
  if (norms_keys(config)) pack_vector(weights.key_norm, sizes.depth, memory + layout.key_norm);
  pack_vector(config.rotary.inverse_frequencies, config.rotary.inverse_frequencies.sizes[0], memory + layout.frequencies);
}

}  // namespace attend
