// What C++ calls are given, as C gives it: views, options, configs; and random options that any kind of call takes.
#pragma once

#include "engine_test.h"

#include <algorithm>
#include <deque>

#include "attend/attend.h"

namespace c_twin {

using namespace engine_test;

inline attend_error problem;  // of the call that a check is about

inline void require_done(attend_code code) { REQUIRE_MESSAGE(code == ATTEND_OK, std::string(problem.message)); }

/// Refused, with such a code and a message that begins so.
inline void check_refused(attend_code code, attend_code expected, const std::string& start) {
  const std::string message = problem.message;
  problem = attend_error();
  CHECK_MESSAGE(code == expected, start);
  CHECK_MESSAGE(message.compare(0, start.size(), start) == 0, message, ", expected ", start);
}
inline void check_invalid(attend_code code, const std::string& start) { check_refused(code, ATTEND_INVALID_ARGUMENT, start); }

/// Without strides where it is contiguous; else they are the given one's, which has to outlive it.
template <class CView, class Element>
CView c_view(const View<Element>& view) {
  CView given = {};
  given.data = view.data;
  given.rank = view.rank;
  std::int64_t contiguous = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    given.sizes[axis] = view.sizes[axis];
    if (view.strides[axis] != contiguous) given.strides = view.strides;
    contiguous *= view.sizes[axis];
  }
  return given;
}
inline attend_const_tensor in(const ConstTensorView& view) { return c_view<attend_const_tensor>(view); }
inline attend_const_tensor in(const TensorView& view) { return c_view<attend_const_tensor>(view); }
inline attend_const_tensor in(const Tensor& tensor) { return in(tensor.view); }
inline attend_tensor out(const TensorView& view) { return c_view<attend_tensor>(view); }
inline attend_tensor out(const Tensor& tensor) { return out(tensor.view); }
inline attend_indices numbers(const IndexView& view) { return c_view<attend_indices>(view); }

inline attend_threads c_threads(const Threads& threads) { return {threads.count, threads.parallel_for, threads.pool}; }

/// The options of a call, as C has them.
struct Options {
  AttentionOptions twin;
  attend_relative_position_bias bias = {};
  attend_options value = {};

  explicit Options(const AttentionOptions& options) : twin(options) {
    const AttentionOptions none;
    attend_options& o = value;
    o.size = sizeof o;
    o.scale = twin.scale;
    o.softcap = twin.softcap;
    o.causal = twin.causal;
    o.offset = twin.offset;
    o.offsets = numbers(twin.offsets);
    if (twin.window_left != none.window_left || twin.window_right != none.window_right) {
      o.windowed = 1;
      o.window_left = twin.window_left;
      o.window_right = twin.window_right;
    }
    o.mask = c_view<attend_bool_mask>(twin.mask);
    o.key_padding_mask = c_view<attend_bool_mask>(twin.key_padding_mask);
    o.mask_hides = twin.mask_hides;
    o.valid_starts = numbers(twin.valid_starts);
    o.additive_mask = in(twin.additive_mask);
    o.tree_parents = numbers(twin.tree_parents);
    o.empty_rows = static_cast<int>(twin.empty_rows);
    o.alibi_slopes = in(twin.alibi_slopes);
    const RelativePositionBias& bias_twin = twin.relative_position_bias;
    if (!bias_twin.table.absent()) {
      bias.size = sizeof bias;
      bias.table = in(bias_twin.table);
      bias.unidirectional = !bias_twin.bidirectional;
      bias.max_distance = bias_twin.max_distance == 128 ? 0 : bias_twin.max_distance;
      o.relative_position_bias = &bias;
    }
    o.sinks = in(twin.sinks);
    o.query_starts = numbers(twin.query_starts);
    o.key_starts = numbers(twin.key_starts);
    o.query_positions = numbers(twin.query_positions);
    o.key_positions = numbers(twin.key_positions);
    o.training = twin.training;
    o.dropout_seed = twin.dropout_seed;
    o.attention_weights = out(twin.attention_weights);
    o.average_weights = twin.average_weights;
    o.lse = out(twin.lse);
    o.threads = c_threads(twin.threads);
    if (o.threads.count == 1) o.threads.count = 0;
    o.isa = static_cast<int>(twin.isa);
    o.core_arithmetic = static_cast<int>(twin.core_arithmetic);
    if (twin.low_precision != nullptr) o.low_precision = attend_get_low_precision();
  }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;
};

inline attend_rotary_embedding c_rotary(const RotaryEmbedding& rotary) {
  attend_rotary_embedding given = {};
  given.size = sizeof given;
  given.inverse_frequencies = in(rotary.inverse_frequencies);
  given.cosines = in(rotary.cosines);
  given.sines = in(rotary.sines);
  given.attention_factor = rotary.attention_factor == 1.0f ? 0.0f : rotary.attention_factor;
  given.interleaved = rotary.interleaved;
  return given;
}

/// A layer's config; zero where that says the same.
struct Config {
  MultiHeadAttentionConfig twin;
  attend_rotary_embedding rotary;
  attend_mha_config value = {};

  explicit Config(const MultiHeadAttentionConfig& config) : twin(config), rotary(c_rotary(twin.rotary)) {
    attend_mha_config& c = value;
    c.size = sizeof c;
    c.key_size = twin.key_size == twin.query_size ? 0 : twin.key_size;
    c.query_size = twin.query_size == twin.num_hiddens ? 0 : twin.query_size;
    c.value_size = twin.value_size == twin.query_size ? 0 : twin.value_size;
    c.num_hiddens = twin.num_hiddens;
    c.num_heads = twin.num_heads;
    c.dropout = twin.dropout;
    c.bias = twin.bias;
    c.isa = static_cast<int>(twin.isa);
    c.norm_epsilon = twin.norm_epsilon == 1e-6f ? 0.0f : twin.norm_epsilon;
    c.norm_queries = twin.qk_norm && twin.norm_queries;
    c.norm_keys = twin.qk_norm && twin.norm_keys;
    c.num_kv_heads = twin.num_kv_heads;
    c.head_dim = twin.head_dim;
    c.output_size = twin.output_size;
    c.weight_type = static_cast<int>(twin.weight_type);
    c.arithmetic = static_cast<int>(twin.arithmetic);
    if (twin.low_precision != nullptr) c.low_precision = twin.weight_type == WeightType::int4 ? attend_get_low_precision_int4() : attend_get_low_precision();
    c.weight_group = twin.weight_group;
    const RotaryEmbedding& r = twin.rotary;
    if (!r.absent()) c.rotary = &rotary;
  }
  Config(const Config&) = delete;
  Config& operator=(const Config&) = delete;
};

inline attend_mha_weights c_weights(const MultiHeadAttentionWeights& w) {
  return {sizeof(attend_mha_weights), in(w.query),    in(w.key),        in(w.value),       in(w.output),     in(w.query_bias),
          in(w.key_bias),             in(w.value_bias), in(w.output_bias), in(w.query_norm), in(w.key_norm),
          nullptr,                    nullptr,          nullptr,           nullptr};
}

/// A layer's twin in C.
struct CLayer {
  attend_mha* layer = nullptr;

  explicit CLayer(const Layer& twin) {
    const Config config(twin.config);
    const attend_mha_weights weights = c_weights(twin.weights);
    require_done(attend_mha_make(&config.value, &weights, nullptr, 0, &layer, &problem));
  }
  ~CLayer() { attend_mha_destroy(layer); }
  CLayer(const CLayer&) = delete;
  CLayer& operator=(const CLayer&) = delete;
};

/// Grouped heads, norms, rotation, biases, dropout: all that depends on where a row stands.
inline MultiHeadAttentionConfig rich_config(Isa isa, const Tensor& frequencies) {
  MultiHeadAttentionConfig config = Layer::square(20, 4, isa, true);
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.output_size = 9;
  config.dropout = 0.5f;
  config.rotary.inverse_frequencies = frequencies.view;
  config.rotary.attention_factor = 1.5f;
  config.rotary.interleaved = true;
  config.qk_norm = true;
  config.norm_epsilon = 0.25f;
  return config;
}

/// What projections may be stored as and compute with, beside float32.
struct Precision {
  WeightType weights;
  Arithmetic arithmetic;
  int group = 0;
};
inline constexpr Precision precisions[] = {{WeightType::bfloat16, Arithmetic::float32}, {WeightType::float16, Arithmetic::float32},
                                           {WeightType::int8, Arithmetic::float32},     {WeightType::bfloat16, Arithmetic::bfloat16},
                                           {WeightType::int8, Arithmetic::int8},        {WeightType::int4, Arithmetic::float32, 64},
                                           {WeightType::int4, Arithmetic::int8}};

inline MultiHeadAttentionConfig with_precision(MultiHeadAttentionConfig config, const Precision& precision) {
  config.weight_type = precision.weights;
  config.arithmetic = precision.arithmetic;
  config.low_precision = precision.weights == WeightType::int4 ? low_precision_int4() : low_precision();
  config.weight_group = precision.group;
  return config;
}

/// Whether this build and this CPU have it.
inline bool usable(const Precision& precision, Isa isa = Isa::best) {
  if (precision.weights == WeightType::int4) return int4_instructions(precision.arithmetic, isa) != nullptr;
  return product_instructions(precision.weights, precision.arithmetic, isa) != nullptr;
}

/// The scores of a call; what it has a use for.
struct CallShape {
  std::int64_t B, H, L, S;
  bool layer = false, heads = true, lengths = true;
};

/// Random options with the arrays that they view, strides and all.
struct RandomOptions {
  AttentionOptions options;
  Tensor weights{Shape{1}}, lse{Shape{1}};

  RandomOptions(Random& random, const CallShape& shape) {
    const auto [B, H, L, S, layer, heads, lengths] = shape;
    AttentionOptions& o = options;
    const auto floats = [&](const Shape& sizes, float scale = 1.0f) -> ConstTensorView {
      tensors_.emplace_back(sizes, random);
      return tensors_.back().fill(random, scale).view;
    };
    if (random.one_in(3)) o.scale = random.uniform(-2.0f, 2.0f);
    if (random.one_in(3)) o.softcap = random.uniform(0.5f, 4.0f);
    o.causal = random.one_in(2);
    if (random.one_in(2)) o.offset = random.between(-1, S);
    if (random.one_in(3)) o.offsets = integers({B}, random, -1, 2);
    if (random.one_in(3)) o.window_left = random.between(0, S);
    if (random.one_in(3)) o.window_right = random.between(0, S);
    if (random.one_in(3)) o.mask = bools({B, random.one_in(2) ? H : 1, L, S}, random);
    if (random.one_in(3)) o.key_padding_mask = bools({B, S}, random);
    if (random.one_in(3)) o.mask_hides = true;
    if (random.one_in(3)) o.valid_starts = integers({B}, random, 0, 3);
    if (random.one_in(3)) o.additive_mask = floats({random.one_in(2) ? B : 1, 1, L, S}, 3.0f);
    if (heads && random.one_in(3)) o.empty_rows = EmptyRows::uniform;
    if (random.one_in(3)) o.alibi_slopes = floats({H});
    if (random.one_in(3)) {
      o.relative_position_bias.table = floats({8, H});
      o.relative_position_bias.bidirectional = random.one_in(2);
      if (random.one_in(2)) o.relative_position_bias.max_distance = 16;
    }
    if (random.one_in(3)) o.sinks = floats({H});
    if (layer && random.one_in(2)) o.query_positions = integers({B, L}, random, 0, 30);
    if (layer && random.one_in(2)) o.key_positions = integers({lengths ? S : L}, random, 0, 30);
    if ((layer || !heads) && random.one_in(2)) {
      o.training = true;
      o.dropout_seed = random.bits();
    }
    if (heads && random.one_in(2)) o.average_weights = true;
    if (random.one_in(2)) {
      weights = o.average_weights || !heads ? Tensor({B, L, S}, random) : Tensor({B, H, L, S}, random);
      o.attention_weights = weights.view;
    }
    if (o.attention_weights.absent()) o.average_weights = false;
    if (random.one_in(2)) {
      lse = heads ? Tensor({B, H, L}, random) : Tensor({B, L}, random);
      o.lse = lse.view;
    }
  }
  /// What a call with these options writes.
  std::vector<Tensor*> outputs(Tensor& output) {
    std::vector<Tensor*> written = {&output};
    if (!options.attention_weights.absent()) written.push_back(&weights);
    if (!options.lse.absent()) written.push_back(&lse);
    return written;
  }
  RandomOptions(const RandomOptions&) = delete;
  RandomOptions& operator=(const RandomOptions&) = delete;

 private:
  IndexView integers(const Shape& sizes, Random& random, std::int64_t least, std::int64_t most) {
    const std::int64_t columns = sizes.back(), step = random.between(1, 3), rows = sizes.size() > 1 ? sizes[0] : 1;
    numbers_.emplace_back(static_cast<std::size_t>(rows * columns * step));
    for (std::int64_t& number : numbers_.back()) number = random.between(least, most);
    IndexView view = sizes.size() > 1 ? IndexView(numbers_.back().data(), rows, columns) : IndexView(numbers_.back().data(), columns);
    for (int axis = 0; axis < view.rank; ++axis) view.strides[axis] *= step;
    return view;
  }
  BoolMaskView bools(const Shape& sizes, Random& random) {
    bytes_.emplace_back(static_cast<std::size_t>(2 * reference::count_of(sizes)));
    for (std::uint8_t& shown : bytes_.back()) shown = !random.one_in(4);
    const std::uint8_t* const data = bytes_.back().data();
    BoolMaskView view = sizes.size() == 2 ? BoolMaskView(data, sizes[0], sizes[1]) : BoolMaskView(data, sizes[0], sizes[1], sizes[2], sizes[3]);
    for (std::int64_t& stride : view.strides) stride *= 2;
    return view;
  }
  std::deque<Tensor> tensors_;
  std::deque<std::vector<std::int64_t>> numbers_;
  std::deque<std::vector<std::uint8_t>> bytes_;
};

/// All that a call writes, as its twin wrote it: the twin runs first, into the same memory.
class Written {
 public:
  explicit Written(std::vector<Tensor*> tensors) : tensors_(std::move(tensors)) {
    for (Tensor* tensor : tensors_) {
      kept_.emplace_back(tensor->shape());
      kept_.back().copy(*tensor);
      tensor->fill(-7.0f);
    }
  }
  void check_same() {
    for (std::size_t n = 0; n < tensors_.size(); ++n) {
      CHECK_SAME_BITS(*tensors_[n], kept_[n]);
      CHECK(tensors_[n]->gaps_untouched());
    }
  }

 private:
  std::vector<Tensor*> tensors_;
  std::vector<Tensor> kept_;
};

/// Calls in a workspace of exactly so many bytes, of any alignment; in a few they are refused.
template <class Run>
void run_in(std::size_t bytes, attend_workspace** of_call, const Run& run) {
  REQUIRE(bytes > 0);
  std::vector<unsigned char> memory(bytes + 1);
  attend_workspace small = {memory.data() + 1, 8, 0};
  *of_call = &small;
  check_refused(run(), ATTEND_OUT_OF_MEMORY, "workspace: ");
  attend_workspace exact = {memory.data() + 1, bytes, 0};
  *of_call = &exact;
  require_done(run());
  CHECK(exact.owned == 0);
  CHECK(exact.memory == memory.data() + 1);
  *of_call = nullptr;
}

}  // namespace c_twin
