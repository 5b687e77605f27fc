// The scalar reference against literals worked out by hand.
#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "reference/reference.h"

using namespace attend;
using namespace attend::reference;

namespace {

const double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::numeric_limits<double>::quiet_NaN();
const double euler = std::exp(1.0);

/// That the numbers are these to 1e-14 of their size; NaN where NaN is expected, infinities equal.
void check_values(const Array& actual, const std::vector<double>& expected) {
  REQUIRE(actual.values.size() == expected.size());
  for (std::size_t n = 0; n < expected.size(); ++n) {
    CAPTURE(n);
    if (std::isnan(expected[n])) {
      CHECK(std::isnan(actual.values[n]));
    } else if (std::isinf(expected[n])) {
      CHECK(actual.values[n] == expected[n]);
    } else {
      CHECK(std::abs(actual.values[n] - expected[n]) <=
            1e-14 * std::max(1.0, std::abs(expected[n])));
    }
  }
}

/// One head, D = 1, all scores 0: what matters is who sees whom.
struct Visibility {
  std::int64_t L, S;
  reference::AttentionOptions options;

  /// Which keys query i sees: those with a weight, which must then be equal.
  std::vector<std::int64_t> seen_by(std::int64_t i) const {
    const Array q = Array::zeros({1, 1, L, 1}), k = Array::zeros({1, 1, S, 1}),
                v = Array::zeros({1, 1, S, 1});
    const AttentionResult result = attention(q, k, v, options);
    std::vector<std::int64_t> keys;
    for (std::int64_t j = 0; j < S; ++j) {
      CHECK((result.weights.at(0, 0, i, j) > 0.0) == visible(options, 0, 0, i, j));
      if (result.weights.at(0, 0, i, j) > 0.0) keys.push_back(j);
    }
    CHECK(result.visible_keys.at(0, 0, i) == static_cast<double>(keys.size()));
    for (std::int64_t j : keys)
      CHECK(result.weights.at(0, 0, i, j) == 1.0 / static_cast<double>(keys.size()));
    return keys;
  }
};
using Keys = std::vector<std::int64_t>;

/// Attention of one query to two keys with scores 0 and log 3, values 4 and 8.
AttentionResult quarter(const reference::AttentionOptions& options = {}) {
  return attention(Array({1, 1, 1, 1}, {1.0}), Array({1, 1, 2, 1}, {0.0, std::log(3.0)}),
                   Array({1, 1, 2, 1}, {4.0, 8.0}), options);
}

}  // namespace

TEST_CASE("reference: an Array reads a view by its strides") {
  const float memory[] = {1, 2, 3, 4, 5, 6};
  const Array plain = ConstTensorView(memory, 2, 3);
  CHECK(plain.shape == Shape{2, 3});
  CHECK(plain.values == std::vector<double>{1, 2, 3, 4, 5, 6});

  ConstTensorView transposed(memory, 3, 2);
  transposed.strides[0] = 1;
  transposed.strides[1] = 3;
  CHECK(Array(transposed).values == std::vector<double>{1, 4, 2, 5, 3, 6});

  ConstTensorView repeated(memory, 2, 2);
  repeated.strides[0] = 0;
  repeated.strides[1] = 2;
  CHECK(Array(repeated).values == std::vector<double>{1, 3, 1, 3});

  CHECK(Array(ConstTensorView(memory, 2, 0)).shape == Shape{2, 0});
  CHECK(Array(ConstTensorView{}).absent());
  CHECK_THROWS(Array({2, 2}, {1.0, 2.0, 3.0}));
}

TEST_CASE("reference: matmul") {
  const Array a({2, 2}, {1, 2, 3, 4}), b({2, 2}, {5, 6, 7, 8});
  check_values(matmul(a, b), {19, 22, 43, 50});
  check_values(matmul(a, b, true), {17, 23, 39, 53});
  check_values(matmul(a, b, false, Array({2}, {100, 200})), {119, 222, 143, 250});

  const Array rows({2, 1, 2}, {1, 2, 3, 4});  // two entries of one row
  CHECK(matmul(rows, b).shape == Shape{2, 1, 2});
  check_values(matmul(rows, b), {19, 22, 43, 50});
  check_values(matmul(rows, Array({2, 2, 1}, {1, 10, 100, 1000})), {21, 4300});
  check_values(matmul(rows, Array({2, 1, 2}, {1, 10, 100, 1000}), true), {21, 4300});

  check_values(matmul(Array({2, 3}, {1, 2, 3, 4, 5, 6}), Array({3, 1}, {1, 10, 100})), {321, 654});
  check_values(matmul(Array::zeros({2, 0}), Array::zeros({0, 2}), false, Array({2}, {7, 8})),
               {7, 8, 7, 8});
}

TEST_CASE("reference: linear") {
  const Array x({1, 2, 3}, {1, 2, 3, 4, 5, 6});
  const Array weight({2, 3}, {1, 10, 100, 0, 0, 1});
  CHECK(linear(x, weight).shape == Shape{1, 2, 2});
  check_values(linear(x, weight), {321, 3, 654, 6});
  check_values(linear(x, weight, Array({2}, {0.5, -1})), {321.5, 2, 654.5, 5});
}

TEST_CASE("reference: sequence_mask") {
  const std::int64_t lens[] = {1, 2};
  check_values(sequence_mask(Array({2, 3}, {1, 2, 3, 4, 5, 6}), LengthsView(lens, 2)),
               {1, 0, 0, 4, 5, 0});
  check_values(
      sequence_mask(Array({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), LengthsView(lens, 2), -1.0),
      {1, 2, -1, -1, 5, 6, 7, 8});
  const std::int64_t edges[] = {0, 9};
  check_values(
      sequence_mask(Array({2, 2}, {1, not_a_number, 3, not_a_number}), LengthsView(edges, 2)),
      {0, 0, 3, not_a_number});
}

TEST_CASE("reference: masked_softmax") {
  std::vector<double> logs = {std::log(1.0), std::log(2.0), std::log(3.0), std::log(4.0)};
  logs.insert(logs.end(), logs.begin(), logs.end());
  const Array x({1, 2, 4}, logs);
  check_values(masked_softmax(x), {0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.4});

  const std::int64_t two[] = {2}, each[] = {0, 3}, far[] = {9};
  check_values(masked_softmax(x, LengthsView(two, 1)),
               {1 / 3., 2 / 3., 0, 0, 1 / 3., 2 / 3., 0, 0});
  check_values(masked_softmax(x, LengthsView(each, 1, 2)),
               {0.25, 0.25, 0.25, 0.25, 1 / 6., 2 / 6., 3 / 6., 0});
  check_values(masked_softmax(x, LengthsView(far, 1)), {0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.4});

  const std::int64_t one[] = {1};
  // The fill is -1e6, not -inf: a score that low is no better than what is masked.
  check_values(masked_softmax(Array({1, 1, 2}, {-1e6, 5}), LengthsView(one, 1)), {0.5, 0.5});
  CHECK(masked_softmax(Array({1, 1, 2}, {-1e6 - 50, 5}), LengthsView(one, 1)).values[1] > 0.999);
  // What is masked does not matter; a visible NaN fills the row; huge scores do not overflow.
  check_values(masked_softmax(Array({1, 1, 2}, {3, not_a_number}), LengthsView(one, 1)), {1, 0});
  check_values(masked_softmax(Array({1, 1, 3}, {3, not_a_number, 4})),
               {not_a_number, not_a_number, not_a_number});
  check_values(masked_softmax(Array({1, 1, 2}, {1e5, 1e5})), {0.5, 0.5});
}

TEST_CASE("reference: transpose_qkv, transpose_output") {
  const Array x({1, 2, 4}, {0, 1, 2, 3, 4, 5, 6, 7});
  const Array heads = transpose_qkv(x, 2);
  CHECK(heads.shape == Shape{2, 2, 2});
  check_values(heads, {0, 1, 4, 5, 2, 3, 6, 7});
  CHECK(transpose_output(heads, 2).shape == x.shape);
  check_values(transpose_output(heads, 2), x.values);

  const Array entries({2, 1, 2}, {0, 1, 2, 3});  // row b H + h
  CHECK(transpose_qkv(entries, 2).shape == Shape{4, 1, 1});
  check_values(transpose_qkv(entries, 2), {0, 1, 2, 3});
}

TEST_CASE("reference: attention of one query to two keys") {
  const AttentionResult result = quarter();
  check_values(result.weights, {0.25, 0.75});
  check_values(result.output, {7});
  check_values(result.lse, {std::log(4.0)});
  check_values(result.score_magnitude, {std::log(3.0)});
  check_values(result.value_magnitude, {8});
  check_values(result.visible_keys, {2});
}

TEST_CASE("reference: attention's scale is 1 / sqrt(D) unless given") {
  const double x = std::log(3.0) / 2.0;
  const Array q({1, 1, 1, 4}, {1, 1, 1, 1}), k({1, 1, 2, 4}, {0, 0, 0, 0, x, x, x, x}),
      v({1, 1, 2, 1}, {4, 8});
  check_values(attention(q, k, v).weights, {0.25, 0.75});  // 4 x / sqrt(4) = log 3
  reference::AttentionOptions options;
  options.scale = 0.5 * std::log(7.0) / std::log(3.0);
  check_values(attention(q, k, v, options).weights, {0.125, 0.875});
  options.scale = 0.0;
  check_values(attention(q, k, v, options).weights, {0.5, 0.5});
  options.scale = -0.5;
  check_values(attention(q, k, v, options).weights, {0.75, 0.25});
  check_values(attention(q, k, v, options).score_magnitude, {std::log(3.0)});
}

TEST_CASE("reference: the score magnitude sums absolute products, biases and softcap") {
  reference::AttentionOptions options;
  options.scale = -2.0;
  const Array q({1, 1, 1, 2}, {1, -3}), k({1, 1, 2, 2}, {5, 1, 1, 1}), v({1, 1, 2, 1}, {-9, 1});
  check_values(attention(q, k, v, options).score_magnitude,
               {16});  // 2 (5 + 3), though the score is -4
  // The scores are -4 and 4 without biases. Those count as differences to that of the key with the largest score.
  options.additive_mask = Array({2}, {-1, 5});
  check_values(attention(q, k, v, options).score_magnitude, {22});  // 16 + |-1 - 5|
  check_values(attention(q, k, v, options).key_magnitude, {22, 8});
  options.additive_mask = Array({2}, {-1, 100});
  check_values(attention(q, k, v, options).score_magnitude, {8});  // the other key weighs too little
  check_values(attention(q, k, v, options).key_magnitude, {117, 8});
  options.softcap = 10.0;
  check_values(attention(q, k, v, options).score_magnitude, {18});
  options.mask = Array({2}, {1, 0});
  check_values(attention(q, k, v, options).score_magnitude, {26});
  check_values(attention(q, k, v, options).key_magnitude, {26, 0});
  check_values(attention(q, k, v, options).value_magnitude, {9});
  options.sinks = Array({1}, {-50});
  check_values(attention(q, k, v, options).score_magnitude, {26});
  options.sinks = Array({1}, {50});
  check_values(attention(q, k, v, options).score_magnitude, {0});  // the key weighs too little beside it
}

TEST_CASE("reference: a bias that all keys have leaves the weights as they are") {
  for (double low : {-1e4, -1e9, -3.4028234663852886e38}) {
    const double x = std::log(3.0);
    const Array q({1, 1, 1, 1}, {1}), k({1, 1, 3, 1}, {0, x, 5}), v({1, 1, 3, 1}, {4, 8, 99});
    reference::AttentionOptions options;
    options.additive_mask = Array({3}, {low, low, low - 1e33 - 100.0});
    options.alibi_slopes = Array({1}, {0.0});
    const AttentionResult result = attention(q, k, v, options);
    check_values(result.weights, {0.25, 0.75, 0});
    check_values(result.output, {7});
    check_values(result.lse, {low + std::log(4.0)});
  }
}

TEST_CASE("reference: a sink as low as the mask shares with scores, ALiBi and T5 what they leave") {
  for (double low : {-1e4, -1e9, -3.4028234663852886e38}) {
    const double x = std::log(3.0);
    const Array q({1, 1, 1, 1}, {1}), k({1, 1, 2, 1}, {0, x}), v({1, 1, 2, 1}, {4, 8});
    reference::AttentionOptions options;
    options.additive_mask = Array({2}, {low, low});
    options.sinks = Array({1}, {low});
    check_values(reference::attention(q, k, v, options).weights, {0.2, 0.6});
    check_values(reference::attention(q, k, v, options).output, {5.6});
    options.position_bias = Array({1, 1, 2}, {x, x});
    check_values(reference::attention(q, k, v, options).weights, {3 / 13., 9 / 13.});
    options.alibi_slopes = Array({1}, {x});
    options.offset = 1;  // distances 1 and 0
    check_values(reference::attention(q, k, v, options).weights, {1 / 11., 9 / 11.});
  }
}

TEST_CASE("reference: attention's values may have another width") {
  const AttentionResult result =
      attention(Array({1, 1, 1, 1}, {1.0}), Array({1, 1, 2, 1}, {0.0, std::log(3.0)}),
                Array({1, 1, 2, 3}, {4, 0, -4, 8, 4, 0}));
  CHECK(result.output.shape == Shape{1, 1, 1, 3});
  check_values(result.output, {7, 3, -1});
}

TEST_CASE("reference: attention keeps entries, heads and queries apart") {
  // Scores are query * key with keys 0 and log 3: a query of 1 gives 1/4, 3/4; 0 gives halves; -1
  // 3/4, 1/4.
  const double l = std::log(3.0);
  const Array q({2, 2, 2, 1}, {1, 0, 0, 1, -1, 1, 0, 0});
  const Array k({2, 2, 2, 1}, {0, l, 0, l, 0, l, 0, l});
  const Array v({2, 2, 2, 1}, {0, 4, 0, 40, 0, 400, 0, 4000});
  check_values(attention(q, k, v).output, {3, 2, 20, 30, 100, 300, 2000, 2000});
}

TEST_CASE("reference: grouped heads share keys and values") {
  const double l = std::log(3.0);
  const Array q({1, 4, 1, 1}, {1, 0, 1, 0});
  const Array k({1, 2, 2, 1}, {0, l, l, 0});
  const Array v({1, 2, 2, 1}, {0, 4, 0, 40});
  check_values(attention(q, k, v).output,
               {3, 2, 10, 20});  // heads 0 and 1 read group 0, 2 and 3 group 1
  CHECK_THROWS(attention(Array::zeros({1, 3, 1, 1}), k, v));
}

TEST_CASE("reference: causal") {
  Visibility v{3, 4, {}};
  v.options.causal = true;
  CHECK(v.seen_by(0) == Keys{0});
  CHECK(v.seen_by(1) == Keys{0, 1});
  CHECK(v.seen_by(2) == Keys{0, 1, 2});
  v.options.offset = 1;  // S - L: the last query sees all
  CHECK(v.seen_by(0) == Keys{0, 1});
  CHECK(v.seen_by(2) == Keys{0, 1, 2, 3});
  v.options.offset = -1;
  CHECK(v.seen_by(0) == Keys{});
  CHECK(v.seen_by(1) == Keys{0});
  CHECK(v.seen_by(2) == Keys{0, 1});
}

TEST_CASE("reference: window") {
  Visibility v{4, 5, {}};
  v.options.window_left = 1;
  CHECK(v.seen_by(0) == Keys{0, 1, 2, 3, 4});
  CHECK(v.seen_by(3) == Keys{2, 3, 4});
  v.options.window_right = 0;
  CHECK(v.seen_by(0) == Keys{0});
  CHECK(v.seen_by(3) == Keys{2, 3});
  v.options.window_left = -1;
  v.options.window_right = 1;
  CHECK(v.seen_by(0) == Keys{0, 1});
  CHECK(v.seen_by(3) == Keys{0, 1, 2, 3, 4});
  v.options.window_left = 0;
  v.options.offset = 2;
  CHECK(v.seen_by(0) == Keys{2, 3});
  CHECK(v.seen_by(2) == Keys{4});
  CHECK(v.seen_by(3) == Keys{});
  v.options.window_left = 2;
  v.options.window_right = -1;
  v.options.causal = true;
  CHECK(v.seen_by(0) == Keys{0, 1, 2});
  CHECK(v.seen_by(2) == Keys{2, 3, 4});
  CHECK(v.seen_by(3) == Keys{3, 4});
}

TEST_CASE("reference: valid lengths") {
  Visibility v{2, 3, {}};
  const std::int64_t two[] = {2}, each[] = {0, 1}, far[] = {99};
  v.options.valid_lens = LengthsView(two, 1);
  CHECK(v.seen_by(0) == Keys{0, 1});
  CHECK(v.seen_by(1) == Keys{0, 1});
  v.options.valid_lens = LengthsView(each, 1, 2);
  CHECK(v.seen_by(0) == Keys{});
  CHECK(v.seen_by(1) == Keys{0});
  v.options.valid_lens = LengthsView(far, 1);
  CHECK(v.seen_by(1) == Keys{0, 1, 2});
  v.options.causal = true;
  v.options.valid_lens = LengthsView(two, 1);
  CHECK(v.seen_by(0) == Keys{0});
  CHECK(v.seen_by(1) == Keys{0, 1});
}

TEST_CASE("reference: bool masks broadcast from the right") {
  const bool bits[] = {true, false, true, false, true, true};
  Visibility v{2, 3, {}};
  v.options.mask = View<const bool>(bits, 3);
  CHECK(v.seen_by(0) == Keys{0, 2});
  CHECK(v.seen_by(1) == Keys{0, 2});
  v.options.mask = View<const bool>(bits, 2, 3);
  CHECK(v.seen_by(0) == Keys{0, 2});
  CHECK(v.seen_by(1) == Keys{1, 2});
  v.options.mask = View<const bool>(bits, 2, 1);  // (L, 1): whole queries
  CHECK(v.seen_by(0) == Keys{0, 1, 2});
  CHECK(v.seen_by(1) == Keys{});

  // (B, 1, 1, S) and (H, 1, 1)
  const Array q = Array::zeros({2, 2, 1, 1}), k = Array::zeros({2, 2, 3, 1}),
              values = Array::zeros({2, 2, 3, 1});
  reference::AttentionOptions options;
  options.mask = View<const bool>(bits, 2, 1, 1, 3);
  const double half = 0.5;
  check_values(attention(q, k, values, options).weights,
               {half, 0, half, half, 0, half, 0, half, half, 0, half, half});
  options.mask = View<const bool>(bits, 2, 1, 1);
  const double third = 1.0 / 3.0;
  check_values(attention(q, k, values, options).weights,
               {third, third, third, 0, 0, 0, third, third, third, 0, 0, 0});
  options.mask = Array::zeros({2, 2});
  CHECK_THROWS(attention(q, k, values, options));
}

TEST_CASE("reference: additive masks") {
  reference::AttentionOptions options;
  options.additive_mask = Array({2}, {std::log(9.0), 0.0});  // scores log 9, log 3
  check_values(quarter(options).weights, {0.75, 0.25});
  options.additive_mask = Array({1, 2}, {-infinity, 5.0});
  check_values(quarter(options).weights, {0.0, 1.0});
  check_values(quarter(options).lse, {std::log(3.0) + 5.0});
  options.additive_mask = Array({1}, {-infinity});
  check_values(quarter(options).lse, {-infinity});
  check_values(quarter(options).output, {0.0});
}

TEST_CASE("reference: position bias") {
  reference::AttentionOptions options;
  options.position_bias = Array({1, 1, 2}, {std::log(9.0), 0.0});
  check_values(quarter(options).weights, {0.75, 0.25});
  // It is the same for every batch entry, and adds to the other biases.
  options.position_bias = Array({2, 1, 2}, {std::log(3.0), 0, 0, std::log(3.0)});
  options.additive_mask = Array({2}, {0, std::log(3.0)});
  const AttentionResult result = attention(Array::zeros({2, 2, 1, 1}), Array::zeros({2, 1, 2, 1}),
                                           Array::zeros({2, 1, 2, 1}), options);
  check_values(result.weights, {0.5, 0.5, 0.1, 0.9, 0.5, 0.5, 0.1, 0.9});
}

TEST_CASE("reference: -inf in the position bias hides, NaN and all") {
  reference::AttentionOptions options;
  options.position_bias = Array({1, 1, 2}, {0.0, -infinity});
  const Array q({1, 1, 1, 1}, {1}), k({1, 1, 2, 1}, {0, not_a_number}), v({1, 1, 2, 1}, {4, 8});
  check_values(attention(q, k, v, options).output, {4});
}

TEST_CASE("reference: softcap comes before the biases") {
  reference::AttentionOptions options;
  options.softcap = 2.0;  // 2 tanh(log(3) / 2) = 1
  check_values(quarter(options).weights, {1 / (1 + euler), euler / (1 + euler)});
  check_values(quarter(options).lse, {std::log(1 + euler)});
  options.additive_mask = Array({2}, {0.0, std::log(3.0) - 1.0});
  check_values(quarter(options).weights, {0.25, 0.75});
}

TEST_CASE("reference: ALiBi") {
  reference::AttentionOptions options;
  options.alibi_slopes = Array({2}, {std::log(2.0), 0.0});
  const Array q = Array::zeros({1, 2, 2, 1}), k = Array::zeros({1, 1, 3, 1}), v = k;
  const double third = 1.0 / 3.0;
  check_values(attention(q, k, v, options).weights,
               {4 / 7., 2 / 7., 1 / 7., 0.25, 0.5, 0.25, third, third, third, third, third, third});
  options.offset = 1;
  check_values(attention(q, k, v, options).weights,
               {0.25, 0.5, 0.25, 1 / 7., 2 / 7., 4 / 7., third, third, third, third, third, third});
}

TEST_CASE("reference: the default ALiBi slopes") {
  check_values(default_alibi_slopes(1), {1 / 256.});
  check_values(default_alibi_slopes(4), {1 / 4., 1 / 16., 1 / 64., 1 / 256.});
  check_values(default_alibi_slopes(8),
               {1 / 2., 1 / 4., 1 / 8., 1 / 16., 1 / 32., 1 / 64., 1 / 128., 1 / 256.});
  const double r = std::sqrt(0.5);
  check_values(default_alibi_slopes(12), {1 / 2., 1 / 4., 1 / 8., 1 / 16., 1 / 32., 1 / 64.,
                                          1 / 128., 1 / 256., r, r / 2, r / 4, r / 8});
  check_values(default_alibi_slopes(3), {1 / 16., 1 / 256., 1 / 4.});
}

TEST_CASE("reference: sinks take part of the weight") {
  reference::AttentionOptions options;
  options.sinks = Array({1}, {std::log(4.0)});  // beside 1 and 3
  check_values(quarter(options).weights, {0.125, 0.375});
  check_values(quarter(options).output, {3.5});
  check_values(quarter(options).lse, {std::log(8.0)});
  options.sinks = Array({1}, {1000.0});
  check_values(quarter(options).weights, {0.0, 0.0});
  check_values(quarter(options).lse, {1000.0});
  options.sinks = Array({1}, {-infinity});  // none
  check_values(quarter(options).weights, {0.25, 0.75});

  options.sinks = Array({1}, {std::log(4.0)});
  options.mask = Array({2}, {0, 0});
  check_values(quarter(options).weights, {0.0, 0.0});
  check_values(quarter(options).output, {0.0});
  check_values(quarter(options).lse, {std::log(4.0)});
  options.sinks = Array({1}, {-infinity});
  check_values(quarter(options).lse, {-infinity});
}

TEST_CASE("reference: a row that sees no key") {
  const std::int64_t each[] = {0, 1};
  const Array q({1, 1, 2, 1}, {1, 1}), k({1, 1, 2, 1}, {1, 2}), v({1, 1, 2, 2}, {4, 40, 8, 80});
  reference::AttentionOptions options;
  options.valid_lens = LengthsView(each, 1, 2);
  const AttentionResult zero = attention(q, k, v, options);
  check_values(zero.output, {0, 0, 4, 40});
  check_values(zero.weights, {0, 0, 1, 0});
  check_values(zero.lse, {-infinity, 1});

  options.empty_rows = EmptyRows::uniform;
  const AttentionResult uniform = attention(q, k, v, options);
  check_values(uniform.output, {6, 60, 4, 40});
  check_values(uniform.weights, {0.5, 0.5, 1, 0});
  check_values(uniform.lse, {-infinity, 1});
  check_values(uniform.visible_keys, {0, 1});

  // Whatever hides the keys.
  options.valid_lens = {};
  options.causal = true;
  options.offset = -1;
  check_values(attention(q, k, v, options).output, {6, 60, 4, 40});
  options = {};
  options.empty_rows = EmptyRows::uniform;
  options.additive_mask = Array({2, 2}, {-infinity, -infinity, 0, -infinity});
  check_values(attention(q, k, v, options).output, {6, 60, 4, 40});

  // Scores decide nothing: the least finite score is still visible.
  const AttentionResult low = attention(q, Array({1, 1, 2, 1}, {-1e300, -1e300}), v);
  check_values(low.weights, {0.5, 0.5, 0.5, 0.5});

  // No keys at all.
  for (EmptyRows empty_rows : {EmptyRows::zero, EmptyRows::uniform}) {
    options = {};
    options.empty_rows = empty_rows;
    const AttentionResult none =
        attention(q, Array::zeros({1, 1, 0, 1}), Array::zeros({1, 1, 0, 2}), options);
    check_values(none.output, {0, 0, 0, 0});
    check_values(none.lse, {-infinity, -infinity});
  }
}

TEST_CASE("reference: what is hidden reaches nothing, what is visible reaches its rows") {
  const double l = std::log(3.0);
  const Array q({1, 1, 3, 1}, {1, 1, 1});
  reference::AttentionOptions options;
  options.causal = true;
  for (double poison : {not_a_number, infinity, -infinity}) {
    CAPTURE(poison);
    check_values(
        attention(q, Array({1, 1, 3, 1}, {0, l, 0}), Array({1, 1, 3, 1}, {4, 8, poison}), options)
            .output,
        {4, 7, poison});
  }
  const AttentionResult key = attention(q, Array({1, 1, 3, 1}, {0, l, not_a_number}),
                                        Array({1, 1, 3, 1}, {4, 8, 1}), options);
  check_values(key.output, {4, 7, not_a_number});
  check_values(key.weights, {1, 0, 0, 0.25, 0.75, 0, not_a_number, not_a_number, not_a_number});
  check_values(key.lse, {0, std::log(4.0), not_a_number});

  // A NaN as the first key, where a running maximum begins; a NaN query; a NaN in a visible bias.
  options = {};
  check_values(
      attention(q, Array({1, 1, 2, 1}, {not_a_number, l}), Array({1, 1, 2, 1}, {4, 8}), options)
          .output,
      {not_a_number, not_a_number, not_a_number});
  check_values(attention(Array({1, 1, 2, 1}, {1, not_a_number}), Array({1, 1, 2, 1}, {0, l}),
                         Array({1, 1, 2, 1}, {4, 8}))
                   .output,
               {7, not_a_number});
  options.additive_mask = Array({2}, {0, not_a_number});
  check_values(quarter(options).output, {not_a_number});
  options.mask = Array({2}, {1, 0});
  check_values(quarter(options).output, {4});

  // Uniform rows, and they alone, read hidden values, but not hidden keys.
  options = {};
  options.empty_rows = EmptyRows::uniform;
  const std::int64_t each[] = {0, 1};
  options.valid_lens = LengthsView(each, 1, 2);
  check_values(attention(Array({1, 1, 2, 1}, {1, 1}), Array({1, 1, 2, 1}, {0, not_a_number}),
                         Array({1, 1, 2, 2}, {4, 4, not_a_number, 8}), options)
                   .output,
               {not_a_number, 6, 4, 4});
}

TEST_CASE("reference: huge scores") {
  reference::AttentionOptions options;
  options.scale = 1e6;
  check_values(quarter(options).weights, {0, 1});
  check_values(quarter(options).lse, {1e6 * std::log(3.0)});
}

TEST_CASE("reference: dropout multiplies the weights, after they are handed out") {
  reference::AttentionOptions options;
  options.dropout_multipliers = Array({1, 1, 1, 2}, {2, 0});
  check_values(quarter(options).output, {2});
  check_values(quarter(options).weights, {0.25, 0.75});
  check_values(quarter(options).lse, {std::log(4.0)});
  check_values(quarter(options).value_magnitude, {8});
}

TEST_CASE("reference: merge") {
  // Scores 0 and log 3, values 4 and 8, each on its own, then both.
  const Partial first = {Array({1, 1}, {4}), Array({1}, {0})},
                second = {Array({1, 1}, {8}), Array({1}, {std::log(3.0)})};
  const Partial none = {Array({1, 1}, {0}), Array({1}, {-infinity})};
  check_values(merge(first, second).output, {7});
  check_values(merge(first, second).lse, {std::log(4.0)});
  check_values(merge(first, none).output, {4});
  check_values(merge(none, second).lse, {std::log(3.0)});
  check_values(merge(none, none).output, {0});
  check_values(merge(none, none).lse, {-infinity});
}

TEST_CASE("reference: one row of a big case is a view with its position as offset") {
  std::vector<float> q(5), k(7), v(7);
  for (int n = 0; n < 7; ++n) k[static_cast<std::size_t>(n)] = 0.1f * static_cast<float>(n * n % 5);
  for (int n = 0; n < 7; ++n) v[static_cast<std::size_t>(n)] = static_cast<float>(n);
  for (int n = 0; n < 5; ++n) q[static_cast<std::size_t>(n)] = static_cast<float>(n) - 2.0f;
  reference::AttentionOptions options;
  options.causal = true;
  options.alibi_slopes = Array({1}, {0.5});
  options.offset = 2;
  const ConstTensorView keys(k.data(), 1, 1, 7, 1), values(v.data(), 1, 1, 7, 1);
  const AttentionResult all =
      attention(ConstTensorView(q.data(), 1, 1, 5, 1), keys, values, options);
  options.offset = 2 + 3;
  const AttentionResult one =
      attention(ConstTensorView(q.data() + 3, 1, 1, 1, 1), keys, values, options);
  CHECK(one.output.values[0] == all.output.values[3]);
}

TEST_CASE("reference: DotProductAttention, the book's example") {
  std::vector<double> numbers;
  for (int entry = 0; entry < 2; ++entry) {
    for (int n = 0; n < 40; ++n) numbers.push_back(n);
  }
  const Array queries({2, 1, 2}, {0.3, -1.2, 5, 0.01}), keys = Array::filled({2, 10, 2}, 1.0),
                                                        values({2, 10, 4}, numbers);
  const std::int64_t lens[] = {2, 6};
  const DotProductAttentionResult result =
      dot_product_attention(queries, keys, values, LengthsView(lens, 2));
  CHECK(result.output.shape == Shape{2, 1, 4});
  check_values(result.output, {2, 3, 4, 5, 10, 11, 12, 13});
  const double half = 0.5, sixth = 1.0 / 6.0;
  check_values(result.weights, {half,  half,  0,     0,     0,     0,     0, 0, 0, 0,
                                sixth, sixth, sixth, sixth, sixth, sixth, 0, 0, 0, 0});

  // Length 0: the mean of all ten. Nothing hidden comes through.
  const std::int64_t none[] = {0, 10};
  check_values(dot_product_attention(queries, keys, values, LengthsView(none, 2)).output,
               {18, 19, 20, 21, 18, 19, 20, 21});
  Array poisoned_keys = keys, poisoned_values = values;
  for (std::int64_t j = 6; j < 10; ++j) {
    poisoned_keys.at(0, j, 0) = poisoned_keys.at(1, j, 1) = not_a_number;
    poisoned_values.at(0, j, 0) = poisoned_values.at(1, j, 3) = not_a_number;
  }
  check_values(
      dot_product_attention(queries, poisoned_keys, poisoned_values, LengthsView(lens, 2)).output,
      {2, 3, 4, 5, 10, 11, 12, 13});
}

TEST_CASE("reference: DotProductAttention, scale, no lengths, dropout") {
  const double x = std::log(3.0) / 2.0;
  const Array queries({1, 1, 4}, {1, 1, 1, 1}), keys({1, 2, 4}, {0, 0, 0, 0, x, x, x, x}),
      values({1, 2, 1}, {4, 8});
  check_values(dot_product_attention(queries, keys, values).output, {7});
  const DotProductAttentionResult dropped =
      dot_product_attention(queries, keys, values, {}, Array({1, 1, 2}, {0, 2}));
  check_values(dropped.output, {12});
  check_values(dropped.weights, {0.25, 0.75});
}

TEST_CASE("reference: MultiHeadAttention, the book's example") {
  LayerWeights weights;
  for (Array* weight : {&weights.query, &weights.key, &weights.value, &weights.output}) {
    *weight = Array::zeros({100, 100});
    for (std::size_t n = 0; n < weight->values.size(); ++n) {
      weight->values[n] = static_cast<double>(n * 7919 % 101) / 1010 - 0.05;
    }
  }
  std::vector<double> expected(100, 0.0);  // W_o W_v 1
  for (std::int64_t n = 0; n < 100; ++n) {
    for (std::int64_t m = 0; m < 100; ++m) {
      double sum = 0.0;
      for (std::int64_t c = 0; c < 100; ++c) sum += weights.value.at(m, c);
      expected[static_cast<std::size_t>(n)] += weights.output.at(n, m) * sum;
    }
  }
  const std::int64_t lens[] = {3, 2};
  reference::AttentionOptions options;
  options.valid_lens = LengthsView(lens, 2);
  const Array X = Array::filled({2, 4, 100}, 1.0), Y = Array::filled({2, 6, 100}, 1.0);
  const LayerResult result = multi_head_attention(weights, 5, X, Y, Y, options);
  CHECK(result.output.shape == Shape{2, 4, 100});
  CHECK(result.attention.weights.shape == Shape{2, 5, 4, 6});
  std::vector<double> every_row;
  for (int row = 0; row < 2 * 4; ++row) {
    every_row.insert(every_row.end(), expected.begin(), expected.end());
  }
  check_values(result.output, every_row);
}

TEST_CASE("reference: MultiHeadAttention by hand") {
  // Two heads of width 1. Identity projections: head 0 has scores 0 and log 3, head 1 equal ones.
  const double l = std::log(3.0);
  const Array identity({2, 2}, {1, 0, 0, 1});
  LayerWeights weights;
  weights.query = weights.key = weights.value = identity;
  weights.output = Array({2, 2}, {0, 1, 1, 0});  // swaps the heads
  const Array queries({1, 1, 2}, {1, 0}), keys({1, 2, 2}, {0, 0, l, 5}),
      values({1, 2, 2}, {4, 2, 8, 6});
  const LayerResult result = multi_head_attention(weights, 2, queries, keys, values);
  CHECK(result.query.shape == Shape{1, 2, 1, 1});
  check_values(result.query, {1, 0});
  CHECK(result.key.shape == Shape{1, 2, 2, 1});
  check_values(result.key, {0, l, 0, 5});
  check_values(result.value, {4, 8, 2, 6});
  check_values(result.attention.weights, {0.25, 0.75, 0.5, 0.5});
  check_values(result.heads, {7, 4});
  check_values(result.output, {4, 7});

  SUBCASE("biases") {
    weights.query_bias = Array({2}, {0, 1});     // head 1: 0 and 5 are now its scores ...
    weights.key_bias = Array({2}, {100, -5});    // ... and a key bias moves all scores alike
    weights.value_bias = Array({2}, {1000, 0});  // a value bias moves the output
    weights.output_bias = Array({2}, {0.5, 0.25});
    const LayerResult biased = multi_head_attention(weights, 2, queries, keys, values);
    check_values(biased.key, {100, 100 + l, -5, 0});
    check_values(biased.output, {2 + 4 / (1 + std::exp(-5.0)) + 0.5, 1007.25});
  }
  SUBCASE("one size each for keys, queries and values") {
    weights.query = Array({2, 1}, {1, 0});
    weights.key = Array({2, 3}, {0, 0, 1, 0, 0, 0});
    weights.value = Array({2, 2}, {0, 1, 1, 0});
    const LayerResult other =
        multi_head_attention(weights, 2, Array({1, 1, 1}, {1}),
                             Array({1, 2, 3}, {9, 9, 0, 9, 9, l}), Array({1, 2, 2}, {2, 4, 6, 8}));
    check_values(other.output, {4, 7});
  }
  SUBCASE("one key and value head for both") {
    weights.key = Array({1, 2}, {1, 0});
    weights.value = Array({1, 2}, {1, 0});
    const LayerResult grouped = multi_head_attention(weights, 2, queries, keys, values);
    CHECK(grouped.key.shape == Shape{1, 1, 2, 1});
    check_values(grouped.output, {6, 7});
  }
  SUBCASE("lengths, rows that see no key") {
    weights.output_bias = Array({2}, {0.5, 0.25});
    const std::int64_t one[] = {1}, none[] = {0};
    reference::AttentionOptions options;
    options.valid_lens = LengthsView(one, 1);
    check_values(multi_head_attention(weights, 2, queries, keys, values, options).output,
                 {2.5, 4.25});
    Array poisoned_keys = keys, poisoned_values = values;
    poisoned_keys.at(0, 1, 0) = poisoned_values.at(0, 1, 1) = not_a_number;
    check_values(
        multi_head_attention(weights, 2, queries, poisoned_keys, poisoned_values, options).output,
        {2.5, 4.25});
    options.valid_lens = LengthsView(none, 1);
    check_values(
        multi_head_attention(weights, 2, queries, poisoned_keys, poisoned_values, options).output,
        {0.5, 0.25});
    options.empty_rows = EmptyRows::uniform;
    check_values(multi_head_attention(weights, 2, queries, keys, values, options).output,
                 {4.5, 6.25});
  }
}

TEST_CASE("reference: the API's weights convert") {
  const float numbers[] = {1, 2, 3, 4};
  MultiHeadAttentionWeights weights;
  weights.query = weights.key = weights.value = weights.output = ConstTensorView(numbers, 2, 2);
  weights.value_bias = ConstTensorView(numbers, 2);
  const LayerWeights converted = weights;
  CHECK(converted.output.values == std::vector<double>{1, 2, 3, 4});
  CHECK(converted.value_bias.shape == Shape{2});
  CHECK(converted.query_bias.absent());
}
