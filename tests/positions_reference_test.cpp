// The reference of rotary embedding, its frequencies and RMS norm, and their bounds, against literals.
#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "reference/reference.h"

using namespace attend;
using namespace attend::reference;

namespace {

const double pi = 3.14159265358979323846;
const double u = std::exp2(-24.0);

/// That the numbers are these to 1e-14 of their size.
void check_values(const Array& actual, const std::vector<double>& expected) {
  REQUIRE(actual.values.size() == expected.size());
  for (std::size_t n = 0; n < expected.size(); ++n) {
    CAPTURE(n);
    CHECK(std::abs(actual.values[n] - expected[n]) <= 1e-14 * std::max(1.0, std::abs(expected[n])));
  }
}

/// The same, relative to each: frequencies are small.
void check_frequencies(const Array& actual, const std::vector<double>& expected) {
  REQUIRE(actual.values.size() == expected.size());
  for (std::size_t n = 0; n < expected.size(); ++n) {
    CAPTURE(n);
    CHECK(std::abs(actual.values[n] / expected[n] - 1.0) <= 1e-13);
  }
}

}  // namespace

TEST_CASE("reference: rotary embedding by tables, in both layouts") {
  Rotary rotary;
  rotary.cosines = Array({2, 2}, {1, 1, 0.6, 0});
  rotary.sines = Array({2, 2}, {0, 0, 0.8, 1});
  const Array halves({1, 1, 2, 5}, {1, 10, 2, 20, 7, 1, 10, 2, 20, 7});
  const RotaryResult result = rotary_embedding(halves, rotary);
  check_values(result.output, {1, 10, 2, 20, 7, -1, -20, 2, 10, 7});
  check_values(result.magnitude, {1, 10, 2, 20, 0, 2.2, 20, 2, 10, 0});
  check_values(rotary_embedding(halves, rotary, {}, 0).output, result.output.values);

  rotary.interleaved = true;
  check_values(rotary_embedding(Array({1, 1, 1, 5}, {1, 2, 10, 20, 7}), rotary, {}, 1).output, {-1, 2, -20, 10, 7});
}

TEST_CASE("reference: rotary embedding by frequencies, and positions") {
  Rotary rotary;
  rotary.inverse_frequencies = Array({1}, {pi / 2});
  rotary.attention_factor = 2.0;
  const Array x({2, 1, 2, 2}, {3, 1, 3, 1, 3, 1, 3, 1});
  check_values(rotary_embedding(x, rotary).output, {6, 2, -2, 6, 6, 2, -2, 6});
  check_values(rotary_embedding(x, rotary, {}, -1).output, {2, -6, 6, 2, 2, -6, 6, 2});
  const std::int64_t rows[] = {2, 7}, all[] = {0, 1, 2, 3};
  check_values(rotary_embedding(x, rotary, IndexView(rows, 2)).output, {-6, -2, 2, -6, -6, -2, 2, -6});
  check_values(rotary_embedding(x, rotary, IndexView(rows, 2), 2).output, {6, 2, -2, 6, 6, 2, -2, 6});
  check_values(rotary_embedding(x, rotary, IndexView(all, 2, 2)).output, {6, 2, -2, 6, -6, -2, 2, -6});
  CHECK_THROWS(rotary_embedding(Array::zeros({1, 1, 1, 1}), rotary));
}

TEST_CASE("reference: rms_norm") {
  const Array x({1, 1, 2, 2}, {1, 7, -7, 1});
  check_values(rms_norm(x, {}, 0.0), {0.2, 1.4, -1.4, 0.2});
  check_values(rms_norm(x, Array({2}, {10, 100}), 0.0), {2, 140, -14, 20});
  check_values(rms_norm(x, {}, 11.0), {1 / 6., 7 / 6., -7 / 6., 1 / 6.});
  check_values(rms_norm(Array::zeros({1, 3}), {}, 1e-6), {0, 0, 0});
}

TEST_CASE("reference: rotary frequencies and their scalings") {
  check_frequencies(rotary_frequencies(8, 10000.0), {1.0, 0.1, 0.01, 0.001});
  RotaryScaling scaling;
  scaling.factor = 4.0;
  scaling.kind = RotaryScalingKind::linear;
  check_frequencies(rotary_frequencies(8, 10000.0, scaling), {0.25, 0.025, 0.0025, 0.00025});
  CHECK(reference::rotary_attention_factor(scaling) == 1.0);
  scaling.kind = RotaryScalingKind::ntk;
  check_frequencies(rotary_frequencies(8, 10000.0, scaling), {1.0, 0.06299605249474366, 0.003968502629920499, 0.00025});
  check_frequencies(rotary_frequencies(2, 10000.0, scaling), {1.0});

  scaling.kind = RotaryScalingKind::yarn;
  scaling.original_max_position = 512;
  check_frequencies(rotary_frequencies(16, 10000.0, scaling),
                    {1.0, 0.2569350598886808, 0.0625, 0.01383496476323666, 0.0025, 0.000790569415042095, 0.00025,
                     7.905694150420948e-05});
  scaling.truncate = false;
  check_frequencies(rotary_frequencies(16, 10000.0, scaling),
                    {1.0, 0.30140647845953206, 0.07039863663460479, 0.014383359341231184, 0.0025, 0.000790569415042095,
                     0.00025, 7.905694150420948e-05});
  scaling.truncate = true;
  scaling.original_max_position = 2;  // an empty range
  check_frequencies(rotary_frequencies(8, 10000.0, scaling), {1.0, 0.025, 0.0025, 0.00025});
  scaling.factor = 16.0;
  CHECK(reference::rotary_attention_factor(scaling) == doctest::Approx(1.2772588722239782).epsilon(1e-14));
  scaling.factor = 0.5;
  CHECK(reference::rotary_attention_factor(scaling) == 1.0);

  scaling = RotaryScaling();
  scaling.kind = RotaryScalingKind::llama3;
  scaling.factor = 8.0;
  scaling.original_max_position = 8192;
  check_frequencies(rotary_frequencies(16, 500000.0, scaling),
                    {1.0, 0.19392274474868576, 0.03760603093086393, 0.0072926647372171085, 0.0005248461609929547,
                     3.428102195952591e-05, 6.647869871181236e-06, 1.2891731721515574e-06});
}

TEST_CASE("bounds: rotary embedding and rms_norm") {
  CHECK(rotary_bound(3.0) == 12 * u + std::exp2(-148.0));
  CHECK(rms_norm_bound(-2.0, 16, Data::random) == 16 * u + std::exp2(-148.0));      // (4 / 2 + 6) 2
  CHECK(rms_norm_bound(-2.0, 16, Data::structured) == 28 * u + std::exp2(-148.0));  // (16 / 2 + 6) 2
  CHECK(rotary_bounds({Array::zeros({1, 1, 1, 2}), Array({1, 1, 1, 2}, {3, 0})}).values ==
        std::vector<double>{rotary_bound(3.0), 0.0});
  CHECK(rms_norm_bounds(Array({1, 4}, {1, 2, 3, 4}), Data::random).values ==
        std::vector<double>{7 * u + std::exp2(-148.0), 14 * u + std::exp2(-148.0), 21 * u + std::exp2(-148.0),
                            28 * u + std::exp2(-148.0)});
}

TEST_CASE("bounds: float32 loops keep within those of rotary embedding and rms_norm") {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const std::int64_t D : {2, 64, 128, 512}) {
    for (const bool constant : {false, true}) {
      CAPTURE(D);
      const std::size_t width = static_cast<std::size_t>(D), half = width / 2;
      std::vector<float> x(width), frequencies(half), rotated(width), normalized(width);
      for (float& value : x) value = constant ? 0.7f : normal(random);
      for (float& value : frequencies) value = std::abs(normal(random));
      const std::int64_t position = 131071;
      float sum = 0.0f;
      for (std::size_t n = 0; n < half; ++n) {
        const double angle = static_cast<double>(position) * static_cast<double>(frequencies[n]);
        const float cosine = static_cast<float>(std::cos(angle)), sine = static_cast<float>(std::sin(angle));
        rotated[n] = x[n] * cosine - x[n + half] * sine;
        rotated[n + half] = x[n + half] * cosine + x[n] * sine;
      }
      for (const float value : x) sum += value * value;
      for (std::size_t d = 0; d < width; ++d) {
        normalized[d] = x[d] * (1.0f / std::sqrt(sum / static_cast<float>(D) + 1e-5f)) * 0.3f;
      }

      RotaryEmbedding rotary;
      rotary.inverse_frequencies = ConstTensorView(frequencies.data(), D / 2);
      const Array input = ConstTensorView(x.data(), 1, 1, 1, D);
      const RotaryResult expected = rotary_embedding(input, rotary, {}, position);
      Comparison comparison =
          compare(ConstTensorView(rotated.data(), 1, 1, 1, D), expected.output, rotary_bounds(expected));
      CHECK_MESSAGE(comparison.ok, comparison.message);
      const std::vector<float> weight(width, 0.3f);
      const Array normal_expected = rms_norm(input, ConstTensorView(weight.data(), D), 1e-5f);
      comparison = compare(ConstTensorView(normalized.data(), 1, 1, 1, D), normal_expected,
                           rms_norm_bounds(normal_expected, constant ? Data::structured : Data::random));
      CHECK_MESSAGE(comparison.ok, comparison.message);
    }
  }
}
