// The error bounds of the reference, as compare applies them: literals, then float32 loops.
#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "reference/reference.h"

using namespace attend;
using namespace attend::reference;

namespace {

const double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::numeric_limits<double>::quiet_NaN();
const double u = std::exp2(-24.0);

/// A tensor of floats with its view, for float32 loops and the reference alike.
struct Floats {
  std::vector<float> values;
  Shape shape;

  explicit Floats(Shape sizes)
      : values(static_cast<std::size_t>(count_of(sizes))), shape(std::move(sizes)) {}
  float& operator[](std::int64_t n) { return values[static_cast<std::size_t>(n)]; }
  const float& operator[](std::int64_t n) const { return values[static_cast<std::size_t>(n)]; }
  Array array() const { return Array(shape, std::vector<double>(values.begin(), values.end())); }
  Floats& fill_normal(std::mt19937& random, float deviation) {
    std::normal_distribution<float> normal(0.0f, deviation);
    for (float& value : values) value = normal(random);
    return *this;
  }
  Floats& fill(float value) {
    values.assign(values.size(), value);
    return *this;
  }
};

/// x (rows, K) W^T (N, K) + bias in float32, one chain over ascending k.
Floats float_linear(const Floats& x, const Floats& weight, const Floats& bias, Shape shape) {
  const std::int64_t K = weight.shape[1], N = weight.shape[0];
  Floats result(std::move(shape));
  for (std::int64_t row = 0; row < static_cast<std::int64_t>(result.values.size()) / N; ++row) {
    for (std::int64_t n = 0; n < N; ++n) {
      float sum = 0.0f;
      for (std::int64_t k = 0; k < K; ++k) sum = std::fma(x[row * K + k], weight[n * K + k], sum);
      result[row * N + n] = sum + bias[n];
    }
  }
  return result;
}

/// Attention in float32 on (n, H D) tensors of one batch entry, heads side by side; writes weights
/// (H, L, S).
Floats float_attention(const Floats& q, const Floats& k, const Floats& v, std::int64_t H,
                       Floats* weights, Floats* lse) {
  const std::int64_t L = q.shape[1], S = k.shape[1], E = q.shape[2], D = E / H;
  Floats result({1, L, E});
  for (std::int64_t h = 0; h < H; ++h) {
    for (std::int64_t i = 0; i < L; ++i) {
      std::vector<float> scores;
      float largest = -std::numeric_limits<float>::infinity(), sum = 0.0f;
      for (std::int64_t j = 0; j < S; ++j) {
        float score = 0.0f;
        for (std::int64_t d = 0; d < D; ++d)
          score = std::fma(q[i * E + h * D + d], k[j * E + h * D + d], score);
        scores.push_back(score / std::sqrt(static_cast<float>(D)));
        largest = std::max(largest, scores.back());
      }
      for (float& score : scores) sum += score = std::exp(score - largest);
      for (std::int64_t j = 0; j < S; ++j)
        (*weights)[(h * L + i) * S + j] = scores[static_cast<std::size_t>(j)] / sum;
      (*lse)[h * L + i] = largest + std::log(sum);
      for (std::int64_t d = 0; d < D; ++d) {
        float output = 0.0f;
        for (std::int64_t j = 0; j < S; ++j)
          output = std::fma(scores[static_cast<std::size_t>(j)], v[j * E + h * D + d], output);
        result[i * E + h * D + d] = output / sum;
      }
    }
  }
  return result;
}

/// (1, n, H D) -> (1, H, n, D).
Array split(const Floats& x, std::int64_t H) {
  return transpose_qkv(x.array(), H).reshaped({1, H, x.shape[1], x.shape[2] / H});
}

/// A layer in float32 beside the reference, each stage within its bounds. Returns the largest bound
/// of the output relative to the largest output.
double check_layer(std::int64_t L, std::int64_t S, std::int64_t E, std::int64_t H, bool constant,
                   Data data) {
  std::mt19937 random(static_cast<unsigned>(L * 1000 + E));
  Floats queries({1, L, E}), keys({1, S, E}), values({1, S, E}), bias({E});
  Floats weight_q({E, E}), weight_k({E, E}), weight_v({E, E}), weight_o({E, E});
  const float deviation = 1.0f / std::sqrt(static_cast<float>(E));
  for (Floats* x : {&queries, &keys, &values}) x->fill_normal(random, 1.0f);
  for (Floats* weight : {&weight_q, &weight_k, &weight_v, &weight_o})
    weight->fill_normal(random, deviation);
  bias.fill_normal(random, 0.1f);
  if (constant) {
    for (Floats* x : {&queries, &keys, &values}) x->fill(0.7f);
    for (Floats* weight : {&weight_q, &weight_k, &weight_v, &weight_o})
      weight->fill(0.3f / static_cast<float>(E));
  }

  LayerWeights weights;
  weights.query = weight_q.array();
  weights.key = weight_k.array();
  weights.value = weight_v.array();
  weights.output = weight_o.array();
  weights.query_bias = weights.key_bias = weights.value_bias = weights.output_bias = bias.array();
  const LayerResult expected =
      multi_head_attention(weights, H, queries.array(), keys.array(), values.array());
  const LayerBounds bounds = multi_head_attention_bounds(weights, H, queries.array(), keys.array(),
                                                         values.array(), {}, expected, data);

  Floats attention_weights({1, H, L, S}), lse({1, H, L});
  const Floats q = float_linear(queries, weight_q, bias, {1, L, E});
  const Floats k = float_linear(keys, weight_k, bias, {1, S, E});
  const Floats v = float_linear(values, weight_v, bias, {1, S, E});
  const Floats heads = float_attention(q, k, v, H, &attention_weights, &lse);
  const Floats output = float_linear(heads, weight_o, bias, {1, L, E});

  const auto within = [](const char* stage, const Comparison& comparison) {
    CHECK_MESSAGE(comparison.ok, std::string(stage) << ": " << comparison.message);
  };
  within("query", compare(split(q, H), expected.query, bounds.query));
  within("key", compare(split(k, H), expected.key, bounds.key));
  within("value", compare(split(v, H), expected.value, bounds.value));
  within("weights", compare(attention_weights.array(), expected.attention.weights, bounds.weights));
  within("heads", compare(heads.array(), expected.heads, bounds.heads));
  within("output", compare(output.array(), expected.output, bounds.output));

  // The core by itself, on what it was given.
  const std::int64_t D = E / H;
  const AttentionResult core = attention(split(q, H), split(k, H), split(v, H));
  within("core output", compare(split(heads, H), core.output, core_bounds(core, D, data)));
  within("core weights",
         compare(attention_weights.array(), core.weights, weight_bounds(core, D, data)));
  within("core LSE", compare(lse.array(), core.lse, lse_bounds(core, D, data)));

  double largest_bound = 0.0, largest_output = 0.0;
  for (double value : bounds.output.values) largest_bound = std::max(largest_bound, value);
  for (double value : expected.output.values)
    largest_output = std::max(largest_output, std::abs(value));
  return largest_bound / largest_output;
}

}  // namespace

TEST_CASE("bounds: the formulas") {
  // D = 16, S = 4, S' = 3, max|v| = 2: 2 (2 (4 + 4) 3 + 2 2 + 12) u
  CHECK(core_bound(2.0, 3.0, 16, 4, Data::random) == 128 * u);
  // S = 128: 2 (2 (16 + 4) 3 + 2 128 + 12) u
  CHECK(core_bound(2.0, 3.0, 16, 128, Data::structured) == 776 * u);
  CHECK(lse_bound(-5.0, 3.0, 16, 4, Data::random) == 39 * u);        // (4 + 4) 3 + 2 + 8 + 5
  CHECK(lse_bound(0.0, 3.0, 16, 128, Data::structured) == 196 * u);  // (16 + 4) 3 + 128 + 8
  CHECK(weight_bound(0.5, 3.0, 16, 4, Data::random) == 32 * u + std::exp2(-126.0));
  CHECK(linear_bound(2.0, 16, Data::random) == 32 * u);      // 2 (4 + 4) 2
  CHECK(linear_bound(2.0, 16, Data::structured) == 40 * u);  // (16 + 4) 2
}

TEST_CASE("bounds: of whole results") {
  const Array x({1, 4}, {1, -2, 3, -4}), weight({2, 4}, {1, 1, 1, 1, -1, 0, 0, 0}),
      bias({2}, {-1, 2});
  CHECK(linear_bounds(x, weight, bias, Data::random).values ==
        std::vector<double>{132 * u, 36 * u});  // 12 (10 + 1), 12 (1 + 2)
  CHECK(matmul_bounds(x, weight, true, bias, Data::structured).values ==
        std::vector<double>{88 * u, 24 * u});
  CHECK(matmul_bounds(x, Array({4, 1}, {1, 1, 1, 1}), false, {}, Data::structured).values ==
        std::vector<double>{80 * u});

  // Softmax: what lies past the length does not count.
  const std::int64_t lens[] = {1};
  const Array softmax = masked_softmax_bounds(Array({1, 1, 4}, {-5, 1e9, not_a_number, 0}),
                                              LengthsView(lens, 1), Data::random);
  CHECK(softmax.values[0] == (2 * 4 * 5 + 16) * u + std::exp2(-126.0));
  CHECK(softmax.values[1] == std::exp2(-126.0));

  const std::int64_t far[] = {9, 9};  // all there are
  const Array rows =
      masked_softmax_bounds(Array({2, 1, 1}, {5, 1e9}), LengthsView(far, 2), Data::random);
  CHECK(rows.values[0] == (2 * 4 * 5 + 14) * u + std::exp2(-126.0));

  const DotProductAttentionBounds both = dot_product_attention_bounds(
      Array({1, 1, 4}, {2, 0, 0, 0}),
      Array({1, 4, 4}, {-3, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0}),
      Array({1, 4, 1}, {-7, 100, 100, 100}), LengthsView(lens, 1), {}, Data::random);
  CHECK(both.output.shape == Shape{1, 1});
  CHECK(both.output.values[0] == 7 * (2 * 6 * 3 + 16) * u);  // S' = 2 3 / sqrt(4)
  CHECK(both.weights.shape == Shape{1, 1, 4});
}

TEST_CASE("bounds: of a layer, by hand") {
  // E = H = D = 1, all projections 1: scores 0 and l = log 3, weights 1/4 and 3/4, output 7.
  const double l = std::log(3.0);
  LayerWeights weights;
  weights.query = weights.key = weights.value = weights.output = Array({1, 1}, {1});
  const Array queries({1, 1, 1}, {1}), keys({1, 2, 1}, {0, l}), values({1, 2, 1}, {4, 8});
  const LayerResult result = multi_head_attention(weights, 1, queries, keys, values);

  for (Data data : {Data::random, Data::structured}) {
    const bool random = data == Data::random;
    const double linear = (random ? 10 : 5) * u;  // 2 (1 + 4) or 1 + 4
    const double sums = random ? (2 * std::sqrt(2.0) + 12) * u : (2 * 128 + 12) * u;
    const auto add = [&](double a, double b) { return random ? std::sqrt(a * a + b * b) : a + b; };
    const double score_0 = 5 * u * l, score_1 = 2 * linear * l + linear * linear * l + 5 * u * l;
    const double heads =
        std::exp(2 * score_1) * (add(0.25 * std::expm1(score_0) * 3, 0.75 * std::expm1(score_1)) +
                                 add(0.25 * 4 * linear, 0.75 * 8 * linear)) +
        sums * 7;
    const LayerBounds bounds =
        multi_head_attention_bounds(weights, 1, queries, keys, values, {}, result, data);
    CHECK(bounds.query.values[0] == linear);
    CHECK(bounds.key.values[1] == linear * l);
    CHECK(bounds.value.values[1] == linear * 8);
    CHECK(bounds.weights.values[0] ==
          doctest::Approx(0.25 * (std::expm1(score_0 + score_1) + sums)).epsilon(1e-12));
    CHECK(bounds.heads.values[0] == doctest::Approx(heads).epsilon(1e-12));
    CHECK(bounds.output.values[0] == doctest::Approx(heads + 7 * linear).epsilon(1e-12));
  }
}

TEST_CASE("bounds: float32 loops keep within them, and they are tight enough to be of use") {
  CHECK(check_layer(7, 9, 20, 5, false, Data::random) < 1e-4);
  CHECK(check_layer(33, 129, 96, 4, false, Data::random) < 1e-4);
  CHECK(check_layer(16, 64, 256, 4, false, Data::random) < 1e-4);
  CHECK(check_layer(7, 9, 20, 5, false, Data::structured) < 1e-3);
  CHECK(check_layer(5, 300, 48, 4, true, Data::structured) < 1e-3);
}

TEST_CASE("bounds: a layer with hidden NaN, an empty row, dropout and a sink has finite bounds") {
  LayerWeights weights;
  weights.query = weights.key = weights.value = weights.output = Array({2, 2}, {1, 0, 0, 1});
  const Array queries({1, 2, 2}, {1, 2, 3, 4}), keys({1, 3, 2}, {1, 2, 3, 4, not_a_number, 1});
  const Array values({1, 3, 2}, {1, 2, 3, 4, 1, not_a_number});
  const std::int64_t lens[] = {0, 2};
  reference::AttentionOptions options;
  options.valid_lens = LengthsView(lens, 1, 2);
  options.sinks = Array({2}, {0.5, -0.5});
  options.dropout_multipliers = Array::filled({1, 2, 2, 3}, 2.0);
  const LayerResult result = multi_head_attention(weights, 2, queries, keys, values, options);
  const LayerBounds bounds =
      multi_head_attention_bounds(weights, 2, queries, keys, values, options, result, Data::random);
  for (std::int64_t c = 0; c < 2; ++c) {
    CHECK(result.output.at(0, 0, c) == 0.0);
    CHECK(bounds.output.at(0, 0, c) == 0.0);
    CHECK(bounds.output.at(0, 1, c) > 0.0);
    CHECK(bounds.output.at(0, 1, c) < 1e-4);
  }
}

TEST_CASE("compare: within the tolerance or not") {
  const Array expected({2, 2}, {1, 2, 3, 4}), actual({2, 2}, {1, 2.5, 3, 3});
  const Comparison both = compare(actual, expected, 0.25);
  CHECK_FALSE(both.ok);
  CHECK(both.failures == 2);
  CHECK(both.first == 1);
  CHECK(both.worst == 3);
  CHECK(both.worst_error == 1.0);
  CHECK(both.worst_ratio == 4.0);
  CHECK(both.message ==
        "2 of 4 elements differ; first [0, 1]: 2.5, expected 2, tolerance 0.25; worst [1, 1]: 3, "
        "expected 4, tolerance 0.25");
  CHECK(compare(actual, expected, 1.0).ok);
  CHECK(compare(actual, expected, 1.0).worst_ratio == 1.0);
  CHECK(compare(expected, expected, 0.0).ok);

  CHECK(compare(actual, expected, Array({2}, {0.5, 1})).ok);  // one a row
  CHECK(compare(actual, expected, Array({2}, {1, 0.5})).first == 3);
  CHECK(compare(actual, expected, Array({2, 2}, {0, 0.5, 0, 1})).ok);  // one an element
  CHECK(compare(actual, Array({4}, {1, 2.5, 3, 3}), 1.0).message == "shape (2, 2), expected (4,)");
  CHECK_FALSE(compare(actual, Array({4}, {1, 2.5, 3, 3}), 1.0).ok);
  CHECK(compare(Array::zeros({0, 3}), Array::zeros({0, 3}), 0.0).ok);
}

TEST_CASE("compare: NaN and infinities") {
  const auto ok = [](double actual, double expected, double tolerance) {
    return compare(Array({1}, {actual}), Array({1}, {expected}), tolerance).ok;
  };
  CHECK_FALSE(ok(not_a_number, 1, 1e9));
  CHECK_FALSE(ok(1, not_a_number, 1e9));
  CHECK(ok(not_a_number, not_a_number, 0));
  CHECK(ok(infinity, infinity, 0));
  CHECK(ok(-infinity, -infinity, 0));
  CHECK_FALSE(ok(infinity, -infinity, infinity));
  CHECK_FALSE(ok(1e38, infinity, infinity));
  CHECK_FALSE(ok(infinity, 1, 1e9));
  CHECK_FALSE(ok(not_a_number, infinity, infinity));
  CHECK_FALSE(ok(1, 1, not_a_number));
  const Comparison worst = compare(Array({3}, {5, not_a_number, 9}), Array({3}, {1, 1, 1}), 1.0);
  CHECK(worst.first == 0);
  CHECK(worst.worst == 1);  // what cannot be measured is the worst
}
