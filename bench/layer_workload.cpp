// Whole layers: MultiHeadAttention from its inputs to its output.
#include "data.h"
#include "naive.h"
#include "reference/reference.h"
#include "workload.h"

namespace attend::bench {
namespace {

enum Which { query, key, value, output, projection_count };

class LayerWorkload : public Workload {
 public:
  LayerWorkload(const LayerShape& shape, Isa isa, const Threads& threads) : shape_(shape) {
    const std::int64_t E = shape.width;
    if (shape.packed) {
      for (std::int64_t length : shape.valid_lens) starts_.push_back(starts_.back() + length);
      shape_.batch = 1;
      shape_.queries = shape_.keys = starts_.back();
      options_.query_starts = options_.key_starts = IndexView(starts_.data(), static_cast<std::int64_t>(starts_.size()));
    }
    queries_ = random_floats(shape_.batch * shape_.queries * E, unit_variance, 1);
    if (shape_.queries != shape_.keys) keys_ = random_floats(shape_.batch * shape_.keys * E, unit_variance, 2);
    result_ = unwritten_floats(shape_.batch * shape_.queries * E);
    const float limit = std::sqrt(3.0f / static_cast<float>(E));
    for (int which = 0; which < projection_count; ++which) {
      matrices_[which] = random_floats(E * E, limit, 10 + static_cast<std::uint32_t>(which));
      if (shape.bias) biases_[which] = random_floats(E, 0.1f, 20 + static_cast<std::uint32_t>(which));
    }
    MultiHeadAttentionConfig config;
    config.key_size = config.query_size = config.value_size = config.num_hiddens = E;
    config.num_heads = shape.heads;
    config.bias = shape.bias;
    config.isa = isa;
    config.weight_type = shape.precision.weights;
    config.arithmetic = shape.precision.arithmetic;
    config.low_precision = shape.precision.kernels();
    require(MultiHeadAttention::make(config, weights(), &layer_));
    options_.threads = threads;
    if (core_usable(shape.precision.core, isa)) options_.core_arithmetic = shape.precision.core;
    options_.low_precision = low_precision();
  }

  void run() override {
    const TensorView result(result_.data(), shape_.batch, shape_.queries, shape_.width);
    require(layer_.forward(query_view(), key_view(), key_view(), lengths_view(), result, workspace_, options_));
  }

  void run_naively() override {
    const std::int64_t E = shape_.width, D = E / shape_.heads;
    if (transposed_[0].empty()) transpose_weights();
    for (std::size_t b = 0; b < (shape_.packed ? shape_.valid_lens.size() : static_cast<std::size_t>(shape_.batch)); ++b) {
      const std::int64_t S = shape_.valid_lens.empty() ? shape_.keys : shape_.valid_lens[b];
      const std::int64_t L = shape_.packed ? S : shape_.queries, entry = static_cast<std::int64_t>(b);
      const std::int64_t first = (shape_.packed ? starts_[b] : entry * L) * E;
      const float* keys = key_view().data + (shape_.packed ? first : entry * shape_.keys * E);
      const float* inputs[] = {queries_.data() + first, keys, keys};
      for (int which = query; which <= value; ++which) {
        const std::int64_t rows = which == query ? L : S;
        stages_[which].resize(static_cast<std::size_t>(rows * E));
        naive_matmul(inputs[which], transposed_[which].data(), bias(which), stages_[which].data(), rows, E, E);
      }
      stages_[output].resize(static_cast<std::size_t>(L * E));
      for (std::int64_t start = 0; start < E; start += D) {
        naive_attention(stages_[query].data() + start, stages_[key].data() + start, stages_[value].data() + start,
                        stages_[output].data() + start, L, S, D, E);
      }
      naive_matmul(stages_[output].data(), transposed_[output].data(), bias(output), result_.data() + first, L, E, E);
    }
  }

  reference::Comparison check() const override {
    if (shape_.packed) return check_packed();
    const auto sample = [](const ConstTensorView& view) { return sampled(sampled(view, 0, 3), 1, 4); };
    const reference::Array queries = sample(query_view());
    const reference::Array keys = sampled(key_view(), 0, 3);
    reference::AttentionOptions options;
    options.valid_lens = sampled(lengths_view(), 0, 3);
    const reference::LayerResult expected =
        reference::multi_head_attention(reference_weights(), shape_.heads, queries, keys, keys, options);
    const reference::LayerBounds bounds = reference::multi_head_attention_bounds(
        reference_weights(), shape_.heads, queries, keys, keys, options, expected, reference::Data::random);
    const ConstTensorView result(result_.data(), shape_.batch, shape_.queries, shape_.width);
    const bool rounded = options_.core_arithmetic != Arithmetic::float32;
    return reference::compare(sample(result), expected.output, rounded ? with_bfloat16_core(bounds.output, expected.output) : bounds.output);
  }

 private:
  ConstTensorView query_view() const { return ConstTensorView(queries_.data(), shape_.batch, shape_.queries, shape_.width); }
  ConstTensorView key_view() const {
    return keys_.empty() ? query_view() : ConstTensorView(keys_.data(), shape_.batch, shape_.keys, shape_.width);
  }
  // The first sequence and the last one, each alone.
  reference::Comparison check_packed() const {
    reference::Comparison comparison;
    for (std::size_t b : {std::size_t{0}, shape_.valid_lens.size() - 1}) {
      const auto sequence = [&](const std::vector<float>& x) {
        return ConstTensorView(x.data() + starts_[b] * shape_.width, 1, shape_.valid_lens[b], shape_.width);
      };
      const reference::Array queries = sampled(sequence(queries_), 1, 4), keys = sequence(queries_);
      const reference::LayerResult expected = reference::multi_head_attention(reference_weights(), shape_.heads, queries, keys, keys);
      const reference::LayerBounds bounds = reference::multi_head_attention_bounds(
          reference_weights(), shape_.heads, queries, keys, keys, {}, expected, reference::Data::random);
      comparison = reference::compare(sampled(sequence(result_), 1, 4), expected.output, bounds.output);
      if (!comparison.ok) break;
    }
    return comparison;
  }

  LengthsView lengths_view() const {
    if (shape_.packed) return LengthsView();
    return shape_.valid_lens.empty() ? LengthsView() : LengthsView(shape_.valid_lens.data(), shape_.batch);
  }
  const float* bias(int which) const { return shape_.bias ? biases_[which].data() : nullptr; }

  MultiHeadAttentionWeights weights() const {
    MultiHeadAttentionWeights weights;
    ConstTensorView* const matrices[] = {&weights.query, &weights.key, &weights.value, &weights.output};
    ConstTensorView* const biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
    for (int which = 0; which < projection_count; ++which) {
      *matrices[which] = ConstTensorView(matrices_[which].data(), shape_.width, shape_.width);
      if (shape_.bias) *biases[which] = ConstTensorView(biases_[which].data(), shape_.width);
    }
    return weights;
  }

  reference::LayerWeights reference_weights() const { return reference::LayerWeights(layer_.config(), weights()); }

  // As packing, outside the timing.
  void transpose_weights() {
    const std::int64_t E = shape_.width;
    for (int which = 0; which < projection_count; ++which) {
      transposed_[which].resize(matrices_[which].size());
      for (std::int64_t n = 0; n < E; ++n) {
        for (std::int64_t k = 0; k < E; ++k) {
          transposed_[which][static_cast<std::size_t>(k * E + n)] = matrices_[which][static_cast<std::size_t>(n * E + k)];
        }
      }
    }
  }

  LayerShape shape_;  // of packed sequences one entry that has all rows
  std::vector<std::int64_t> starts_ = {0};
  std::vector<float> queries_, keys_, result_;  // keys_ empty: the queries
  std::vector<float> matrices_[projection_count], biases_[projection_count];
  std::vector<float> transposed_[projection_count], stages_[projection_count];  // of run_naively
  MultiHeadAttention layer_;
  Workspace workspace_;
  AttentionOptions options_;
};

}  // namespace

std::unique_ptr<Workload> layer_workload(const LayerShape& shape, Isa isa, const Threads& threads) {
  if (!shape.precision.usable(isa)) return nullptr;
  return std::make_unique<LayerWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
