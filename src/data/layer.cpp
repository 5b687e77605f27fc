// What a config leaves at 0; packing projections, panel by panel, and all of a layer.
#include "data/layer.h"

namespace attend {

PackedProjection::PackedProjection(const Kernels& kernels, const Product* product, std::int64_t inputs, std::int64_t outputs,
                                   int group)
    : inputs(inputs), outputs(outputs), group(group), product(product) {
  const std::int64_t padded = product == nullptr ? inputs : product->padded(inputs);
  column_floats = product == nullptr ? inputs : padded * product->weight_bytes / 4;
  if (product != nullptr && product->weight_bytes == 0) {
    const std::int64_t groups = steps_to(inputs, group);
    column_floats = padded / 8 + groups + (groups + 1) / 2;
  }
  steps = static_cast<int>(product == nullptr || product->row_bytes == 0 ? inputs : padded / product->group);
  columns = {kernels.lanes, steps_to(outputs, kernels.lanes), steps_to(outputs, kernels.gemm_columns)};
  if (product == nullptr) return;
  const std::int64_t widest = product->columns / kernels.lanes;
  columns.vectors = widest > product_least_vectors ? larger(columns.vectors, product_least_vectors) : round_up(columns.vectors, product_least_vectors);
  columns.panels = steps_to(columns.vectors, widest);
}

std::int64_t PackedProjection::size() const {
  const std::int64_t vectors = product != nullptr && product->weight_bytes == 1 ? 3 : 1;  // biases; scales, sums
  return round_up((column_floats + vectors) * columns.vectors * columns.lanes, 16);
}

PackedProjection PackedProjection::at(const float* memory, bool bias) const {
  PackedProjection projection = *this;
  const std::int64_t padded = columns.vectors * columns.lanes;
  const float* const biases_at = memory + column_floats * padded;
  projection.panels = memory;
  projection.biases = bias ? biases_at : nullptr;
  projection.scales = biases_at + padded;
  projection.sums = reinterpret_cast<const std::int32_t*>(biases_at + 2 * padded);
  return projection;
}

std::int64_t PackedProjection::row_floats() const {
  if (product == nullptr || product->row_bytes == 0) return 0;
  const std::int64_t pairs = product->weight_bytes == 0 ? 4 * steps_to(inputs, group) : 0;
  return row_header + round_up(product->padded(inputs) * product->row_bytes + pairs, 64) / 4;
}

void pack_projection(const Kernels& kernels, const PackedProjection& packed, const float* weight, std::int64_t output_stride,
                     std::int64_t input_stride, const float* bias, std::int64_t bias_stride, float* memory) {
  const PanelColumns& columns = packed.columns;
  for (std::int64_t panel = 0; panel < columns.panels; ++panel) {
    const std::int64_t column = columns.first(panel);
    PackArguments arguments;
    arguments.source = weight + column * output_stride;
    arguments.k_stride = input_stride;
    arguments.n_stride = output_stride;
    arguments.depth = packed.inputs;
    arguments.width = columns.first(panel + 1) - column;
    arguments.columns = packed.outputs - column < arguments.width ? packed.outputs - column : arguments.width;
    arguments.panel = memory + packed.inputs * column;
    kernels.pack(&arguments);
  }
  const std::int64_t padded = columns.vectors * columns.lanes;
  float* biases = memory + packed.inputs * padded;
  for (std::int64_t n = 0; n < padded; ++n) {
    biases[n] = bias != nullptr && n < packed.outputs ? bias[n * bias_stride] : 0.0f;
  }
  for (float* rest = biases + padded; rest < memory + packed.size(); ++rest) *rest = 0.0f;
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
  const Product* const product = product_of(kernels, config);
  const auto take = [this](std::int64_t floats) {
    const std::int64_t start = size;
    size += floats;
    return start;
  };
  for (int which = 0; which < projection_count; ++which) {
    projections[which] = PackedProjection(kernels, product, sizes.inputs[which], sizes.outputs[which], weight_group_of(config));
    starts[which] = take(projections[which].size());
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
  const StoredMatrix* stored[] = {weights.stored_query, weights.stored_key, weights.stored_value, weights.stored_output};
  const ConstTensorView* biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
  for (int which = 0; which < projection_count; ++which) {
    const PackedProjection& packed = layout.projections[which];
    const ConstTensorView &matrix = *matrices[which], &bias = *biases[which];
    float* const place = memory + layout.starts[which];
    if (packed.product == nullptr) {
      pack_projection(kernels, packed, matrix.data, matrix.strides[0], matrix.strides[1], bias.data, bias.strides[0], place);
    } else {
      config.low_precision->pack(packed, matrix, stored[which], bias, place);
    }
  }
  if (norms_queries(config)) pack_vector(weights.query_norm, sizes.depth, memory + layout.query_norm);
  if (norms_keys(config)) pack_vector(weights.key_norm, sizes.depth, memory + layout.key_norm);
  pack_vector(config.rotary.inverse_frequencies, config.rotary.inverse_frequencies.sizes[0], memory + layout.frequencies);
}

}  // namespace attend
