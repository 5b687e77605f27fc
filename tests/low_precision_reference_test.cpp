// The reference's low precision against literals worked out by hand, and against the definitions of 16-bit floats, exhaustively.
#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../tools/checks/random.h"
#include "reference/reference.h"

using namespace attend;
using namespace attend::reference;
using checks::Random;

namespace {

const float infinity = std::numeric_limits<float>::infinity();
const float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Equal, zeros of the same sign, or NaN both.
bool same(double a, double b) { return std::isnan(b) ? std::isnan(a) : a == b && std::signbit(a) == std::signbit(b); }

void check_values(const Array& actual, const std::vector<double>& expected) {
  REQUIRE(actual.values.size() == expected.size());
  for (std::size_t n = 0; n < expected.size(); ++n) {
    CAPTURE(n);
    CHECK_MESSAGE(same(actual.values[n], expected[n]), actual.values[n], ", expected ", expected[n]);
  }
}

/// One row times one row of weights.
double product(const std::vector<double>& x, const std::vector<double>& w, WeightType type, Arithmetic arithmetic, double bias = 0.0) {
  const std::int64_t K = static_cast<std::int64_t>(x.size());
  return project(Array({1, K}, x), Array({1, K}, w), Array({1}, {bias}), type, arithmetic).values[0];
}
double int8_product(const std::vector<double>& x, const std::vector<double>& w, double bias = 0.0) {
  return product(x, w, WeightType::int8, Arithmetic::int8, bias);
}
double bfloat16_product(const std::vector<double>& x, const std::vector<double>& w, double bias = 0.0) {
  return product(x, w, WeightType::bfloat16, Arithmetic::bfloat16, bias);
}

StoredWeights store_row(const std::vector<double>& row, WeightType type) {
  return store(Array({1, static_cast<std::int64_t>(row.size())}, row), type);
}

/// What 16 bits mean: a sign, then so many bits of exponent, then the fraction.
float value_of(std::uint32_t bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = static_cast<int>(bits) & ((1 << fraction_bits) - 1);
  double size = exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                              : std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
  if (exponent == (1 << exponent_bits) - 1) size = fraction == 0 ? HUGE_VAL : std::nan("");
  return static_cast<float>(bits & 0x8000 ? -size : size);
}

/// Every number of 16 bits stays; halfway to the next one goes to the even of both, and a bit to either side to the nearer.
void check_rounding(float (*round)(float), int exponent_bits) {
  const std::uint32_t infinite = ((1u << exponent_bits) - 1) << (15 - exponent_bits);
  int wrong = 0;
  for (std::uint32_t bits = 0; bits <= infinite; ++bits) {
    const float number = value_of(bits, exponent_bits);
    wrong += !same(round(number), number) + !same(round(-number), -number);
    if (bits == infinite) break;
    // The step that would follow if there were no largest number is what comes before infinity.
    const float before = bits > 0 ? value_of(bits - 1, exponent_bits) : -value_of(1, exponent_bits);
    const float next = value_of(bits + 1, exponent_bits), even = bits % 2 == 0 ? number : next;
    const double step = bits + 1 == infinite ? static_cast<double>(number) - static_cast<double>(before)
                                             : static_cast<double>(next) - static_cast<double>(number);
    const float halfway = static_cast<float>(static_cast<double>(number) + step / 2.0);
    wrong += !same(round(halfway), even) + !same(round(-halfway), -even);
    wrong += !same(round(std::nextafter(halfway, 0.0f)), number) + !same(round(std::nextafter(halfway, infinity)), next);
  }
  CHECK(wrong == 0);
  CHECK(std::isnan(round(not_a_number)));
  CHECK(std::isnan(round(-not_a_number)));
}

}  // namespace

TEST_CASE("reference: rounding to bfloat16") {
  CHECK(to_bfloat16(1.0f) == 1.0f);
  CHECK(to_bfloat16(0x1.01p0f) == 1.0f);             // halfway, 1 is even
  CHECK(to_bfloat16(0x1.03p0f) == 0x1.04p0f);        // halfway, 1 + 2^-7 is odd
  CHECK(to_bfloat16(0x1.010002p0f) == 0x1.02p0f);    // a bit more than half
  CHECK(to_bfloat16(-0x1.03p0f) == -0x1.04p0f);
  CHECK(to_bfloat16(0x1.fefffep127f) == 0x1.fep127f);  // the largest
  CHECK(to_bfloat16(0x1.ffp127f) == infinity);
  CHECK(to_bfloat16(-0x1.fffffep127f) == -infinity);
  CHECK(to_bfloat16(0x1p-133f) == 0x1p-133f);        // the smallest
  CHECK(same(to_bfloat16(0x1p-134f), 0.0));
  CHECK(same(to_bfloat16(-0x1p-134f), -0.0));
  CHECK(to_bfloat16(0x1.8p-133f) == 0x1p-132f);
  CHECK(to_bfloat16(0x1.fffffcp-127f) == 0x1p-126f);  // the largest denormal of float32
  check_rounding(to_bfloat16, 8);
}

TEST_CASE("reference: rounding to float16") {
  CHECK(to_float16(1.0f) == 1.0f);
  CHECK(to_float16(0x1.002p0f) == 1.0f);
  CHECK(to_float16(0x1.006p0f) == 0x1.008p0f);
  CHECK(to_float16(65504.0f) == 65504.0f);
  CHECK(to_float16(65519.996f) == 65504.0f);
  CHECK(to_float16(65520.0f) == infinity);
  CHECK(to_float16(-65520.0f) == -infinity);
  CHECK(to_float16(3e38f) == infinity);
  CHECK(to_float16(0x1p-24f) == 0x1p-24f);
  CHECK(same(to_float16(0x1p-25f), 0.0));
  CHECK(same(to_float16(-0x1p-25f), -0.0));
  CHECK(to_float16(0x1.000002p-25f) == 0x1p-24f);
  CHECK(to_float16(0x1.8p-24f) == 0x1p-23f);
  CHECK(to_float16(0x1.ffep-15f) == 0x1p-14f);  // halfway from the largest denormal
  CHECK(same(to_float16(-0x1p-149f), -0.0));
  check_rounding(to_float16, 5);
}

TEST_CASE("reference: weights as 8 bits") {
  StoredWeights stored = store_row({127, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, -127}, WeightType::int8);
  CHECK(stored.scales.values == std::vector<double>{1.0});
  CHECK(stored.numbers.values == std::vector<double>{127, 0, 2, 2, 0, -2, 126, -127});
  stored = store_row({-254, 3, 5}, WeightType::int8);
  CHECK(stored.scales.values == std::vector<double>{2.0});
  CHECK(stored.numbers.values == std::vector<double>{-127, 2, 2});
  check_values(restore(stored), {-254, 4, 4});
  CHECK(store_row({0.1, 1.0}, WeightType::int8).scales.values == std::vector<double>{0x1.020408p-7});  // 1 / 127 as a float

  stored = store_row({0, -0.0, 0}, WeightType::int8);
  CHECK(stored.scales.values == std::vector<double>{0.0});
  CHECK(std::count(stored.numbers.values.begin(), stored.numbers.values.end(), 0.0) == 3);
  for (float bad : {not_a_number, infinity, -infinity}) {
    stored = store_row({1, static_cast<double>(bad), 2}, WeightType::int8);
    CHECK(std::isnan(stored.scales.values[0]));
    CHECK(stored.numbers.values == std::vector<double>{0, 0, 0});
  }
  stored = store_row({0x1.fffffep127, -0x1.fffffep127}, WeightType::int8);
  CHECK(stored.scales.values == std::vector<double>{0x1.020408p121});
  CHECK(stored.numbers.values == std::vector<double>{127, -127});
  // 190 / 127 of the smallest denormal is one of it; 3 / 127 is none.
  stored = store_row({190 * 0x1p-149, -100 * 0x1p-149, -180 * 0x1p-149}, WeightType::int8);
  CHECK(stored.scales.values == std::vector<double>{0x1p-149});
  CHECK(stored.numbers.values == std::vector<double>{127, -100, -127});
  stored = store_row({3 * 0x1p-149, 0x1p-149}, WeightType::int8);
  CHECK(stored.scales.values == std::vector<double>{0.0});
  CHECK(stored.numbers.values == std::vector<double>{0, 0});
  // Each row of the matrix has a scale of its own.
  stored = store(Array({2, 2}, {127, 1, 0.5, 254}), WeightType::int8);
  CHECK(stored.scales.values == std::vector<double>{1, 2});
  CHECK(stored.numbers.values == std::vector<double>{127, 1, 0, 127});
}

TEST_CASE("reference: weights as 4 bits") {
  // The first of the largest is -8 steps; what would be 8 is 7.
  StoredWeights stored = store_row({-8, 0.5, 1.5, 2.5, -0.5, 7, 7.5, 8}, WeightType::int4);
  CHECK(stored.scales.shape == Shape{1, 1});
  CHECK(stored.scales.values == std::vector<double>{1.0});
  CHECK(stored.numbers.values == std::vector<double>{0, 8, 10, 10, 8, 15, 15, 15});
  check_values(restore(stored), {-8, 0, 2, 2, 0, 7, 7, 7});
  stored = store_row({3, 16, -8, -16}, WeightType::int4);
  CHECK(stored.scales.values == std::vector<double>{-2.0});
  CHECK(stored.numbers.values == std::vector<double>{6, 0, 12, 15});  // 3 / -2 = -1.5 is halfway: -2
  check_values(restore(stored), {4, 16, -8, -14});

  // Groups have scales of their own, the last one fewer elements; rows of zeros, and what is not finite.
  std::vector<double> row(66, 1.0);
  row[31] = -8;
  for (std::size_t k = 32; k < 64; ++k) row[k] = 0.0;
  row[65] = 4;
  stored = store_row(row, WeightType::int4);
  CHECK(stored.scales.values == std::vector<double>{1, 0, -0.5});
  CHECK(stored.numbers.at(0, 0) == 9);
  CHECK(stored.numbers.at(0, 40) == 8);
  CHECK(stored.numbers.at(0, 64) == 6);
  CHECK(store(Array({1, 66}, row), WeightType::int4, 64).scales.values == std::vector<double>{1, -0.5});
  CHECK(store(Array({1, 66}, row), WeightType::int4, 128).scales.values == std::vector<double>{1});
  for (float bad : {not_a_number, infinity, -infinity}) {
    row[33] = static_cast<double>(bad);
    stored = store_row(row, WeightType::int4);
    CHECK(std::isnan(stored.scales.values[1]));
    CHECK(stored.scales.values[2] == -0.5);
    CHECK(stored.numbers.at(0, 33) == 8);
  }
  // -8 of the smallest denormal are one of it a step; 4 are half a one, so 0.
  CHECK(store_row({-8 * 0x1p-149, 0x1p-149}, WeightType::int4).numbers.values == std::vector<double>{0, 9});
  CHECK(store_row({-4 * 0x1p-149, 0x1p-149}, WeightType::int4).scales.values == std::vector<double>{0});
  CHECK(store_row({-12 * 0x1p-149, 15 * 0x1p-149}, WeightType::int4).numbers.values == std::vector<double>{14, 0});  // 15 / -8 is -2
}

TEST_CASE("reference: weights as 16 bits, and as they are") {
  const std::vector<double> weights = {0x1.01p0, 65520, 0x1p-130, 0x1p-25};
  check_values(restore(store_row(weights, WeightType::bfloat16)), {1, 65536, 0x1p-130, 0x1p-25});
  check_values(restore(store_row(weights, WeightType::float16)), {0x1.01p0, HUGE_VAL, 0, 0});
  check_values(restore(store_row({0.1, 1e300}, WeightType::float32)), {0.1, 1e300});
}

TEST_CASE("reference: a row as 8 bits") {
  const auto check = [](const std::vector<float>& row, std::vector<int> integers, int zero, float scale) {
    const QuantisedRow quantised = quantise(row);
    CHECK(quantised.integers == integers);
    CHECK(quantised.zero == zero);
    CHECK(same(quantised.scale, scale));
  };
  check({255, 0, 0.5f, 1.5f, 2.5f, 100}, {255, 0, 0, 2, 2, 100}, 0, 1);
  check({-128, 127, 0.5f, -0.5f, 1.5f, -1.5f}, {0, 255, 128, 128, 130, 126}, 128, 1);
  check({-127.5f, 127.5f, 0, 127}, {0, 255, 128, 255}, 128, 1);  // 128 + 128 is one too many
  check({3, 1, 2}, {255, 85, 170}, 0, 0x1.818182p-7f);           // from 0, which is not in the row
  check({-3, -1}, {0, 170}, 255, 0x1.818182p-7f);                // to 0
  check({2, 2}, {255, 255}, 0, 0x1.010102p-7f);
  check({-2, -2, -2}, {0, 0, 0}, 255, 0x1.010102p-7f);
  check({5}, {255}, 0, 0x1.414142p-6f);
  check({0, 0, -0.0f}, {0, 0, 0}, 0, 0);
  check({}, {}, 0, 0);
  for (float bad : {not_a_number, infinity, -infinity}) check({1, bad, -1}, {0, 0, 0}, 0, not_a_number);
  check({3e38f, -3e38f}, {0, 0}, 0, not_a_number);  // their difference is infinite
  check({3e38f, 0}, {255, 0}, 0, 3e38f / 255.0f);
  check({1.7e38f, -1.7e38f}, {255, 0}, 128, 3.4e38f / 255.0f);
  check({0x1p-119f, -0x1.fffffcp-120f}, {0, 0}, 0, 0);  // a bit less than 2^-118 in all
  check({0x1p-119f, -0x1p-119f, 0x1p-149f}, {255, 0, 128}, 128, 0x1.010102p-126f);
}

TEST_CASE("reference: int8 products") {
  CHECK(int8_product({-128, 127}, {127, 1}, 0.5) == -128 * 127 + 127 + 0.5);
  CHECK(int8_product({-128, 127, 0, 0}, {1, 1, 127, -127}) == -1);
  CHECK(int8_product({255}, {-127}) == -32385);  // K = 1
  CHECK(int8_product({3}, {1}) == 0x1.800002p1);  // scales 3 / 255 and 1 / 127, each a float, as is their product
  CHECK(int8_product({3}, {1}, -3) == 0x1.4d3p-23);  // the product is not rounded before the bias is added

  // A sum that floats do not hold, 32385000 - 255, is rounded to even.
  std::vector<double> x(1000, 255.0), w(1000, 127.0);
  w[3] = 126;
  CHECK(int8_product(x, w) == 32384744);
  CHECK(int8_product(std::vector<double>(65536, 255.0), std::vector<double>(65536, -127.0)) == -2122383360.0);

  // Rows and channels that are not finite, and rows that are nothing.
  for (float bad : {not_a_number, infinity, -infinity}) {
    const double number = static_cast<double>(bad);
    CHECK(std::isnan(int8_product({1, number}, {1, 0}, 7)));
    CHECK(std::isnan(int8_product({1, 2}, {1, number}, 7)));
    CHECK(std::isnan(int8_product({0, 0}, {1, number}, 7)));
  }
  CHECK(std::isnan(int8_product({3e38, -3e38}, {1, 1})));
  CHECK(int8_product({0, 0}, {1, 2}, 7) == 7);
  CHECK(int8_product({0x1p-120, -0x1p-130}, {1, 2}, 7) == 7);
  CHECK(int8_product({1, 2}, {0, 0}, 7) == 7);
  CHECK(same(int8_product({1, 2}, {0, 0}, -0.0), 0.0));
  CHECK(same(int8_product({0, 0}, {0, -1}, -0.0), 0.0));
  // The product of the scales is a denormal: 2^-70 / 255 * 2^-73 / 127, that is 2^-157.97..; then 2^-70 * 2^-60 / 32385 = 2^-144.98
  CHECK(same(int8_product({0x1p-70}, {-0x1p-73}), 0.0));
  CHECK(int8_product({0x1p-70}, {0x1p-60}) == 32385 * 0x1p-145);
  CHECK(int8_product({0x1p-70}, {0x1p-60}, 0x1p-149) == 32385 * 0x1p-145 + 0x1p-149);

  // Several rows, each with its own scale; without a bias.
  const Array y = project(Array({1, 2, 2}, {255, 0, -254, 256}), Array({3, 2}, {127, 0, 0, 254, 127, 127}), {}, WeightType::int8, Arithmetic::int8);
  CHECK(y.shape == Shape{1, 2, 3});
  // Second row: 510 wide, so s = 2, z = 127, q = (0, 255).
  check_values(y, {255 * 127, 0, 255 * 127, -254 * 127, 256 * 254, 2 * 127});
}

TEST_CASE("reference: bfloat16 products") {
  CHECK(bfloat16_product({1, 2, 3}, {1, 1, 1}) == 6);
  CHECK(bfloat16_product({3}, {2}, 0.5) == 6.5);
  CHECK(bfloat16_product({0x1.01p0, 0}, {0x1.03p0, 1}) == 0x1.04p0);  // both rounded
  // Order: of 1 and 2^24 the sum is 2^24.
  CHECK(bfloat16_product({1, 4096, 4096, 1}, {1, 4096, -4096, 1}) == 0);
  CHECK(bfloat16_product({4096, 1, 1, 4096}, {4096, 1, 1, -4096}) == 1);
  CHECK(bfloat16_product({4096, 1, 4096}, {4096, 1, -4096}) == 0);
  CHECK(bfloat16_product({0, 4096, 1, 0, 4096}, {0, 4096, 1, 0, -4096}, 1) == 1);  // the bias comes last
  CHECK(bfloat16_product({4096, 0}, {4096, 0}, 1) == 0x1p24);                        // and is added as a float
  // Denormals of bfloat16 are zeros, so are denormal sums; a denormal of float32 that rounds to 2^-126 is none.
  CHECK(bfloat16_product({0x1p-127}, {0x1p20}) == 0);
  CHECK(bfloat16_product({0x1p20}, {0x1p-127}) == 0);
  CHECK(bfloat16_product({0x1.fffffcp-127}, {0x1p20}) == 0x1p-106);
  CHECK(bfloat16_product({0x1p20}, {0x1.fffffcp-127}) == 0x1p-106);
  CHECK(std::isnan(bfloat16_product({-0x1p-127}, {HUGE_VAL})));
  CHECK(bfloat16_product({0x1p-64}, {0x1p-63}) == 0);
  CHECK(bfloat16_product({0x1p-63}, {0x1p-63}) == 0x1p-126);
  CHECK(bfloat16_product({1, 0x1p-63}, {-0x1.8p-126, 0x1p-63}) == 0);                // -2^-127
  CHECK(bfloat16_product({0, 0x1p-64}, {0, 0x1p-63}, 0x1p-130) == 0x1p-130);          // a denormal bias stays
  CHECK(bfloat16_product({0x1.8p-63}, {0x1p-63}, -0x1p-126) == 0x1p-127);             // so does a last sum
  // Below 2^-126 by 2^-150, 24 bits hold the sum if denormals have them all; by 2^-151, they round to 2^-126.
  CHECK(bfloat16_product({0x1p-75, 0x1p-63}, {-0x1p-75, 0x1p-63}) == 0);
  CHECK(bfloat16_product({0x1p-75, 0x1p-63}, {-0x1p-76, 0x1p-63}) == 0x1p-126);
  CHECK(bfloat16_product({0x1p-63, 0x1p-75}, {-0x1p-63, 0x1p-75}) == -0x1p-126);      // 2^-150 alone was a zero
  // What is not finite stays in its row and its channel.
  for (float bad : {not_a_number, infinity}) {
    const double number = static_cast<double>(bad);
    CHECK(same(bfloat16_product({number, 1}, {1, 1}, 7), number));
    CHECK(same(bfloat16_product({1, 1}, {1, number}, 7), number));
    CHECK(std::isnan(bfloat16_product({number, 1}, {0, 1})));
  }
  CHECK(bfloat16_product({0x1.ffp127}, {1}) == HUGE_VAL);
  CHECK(bfloat16_product({0x1.8p127, 0x1.8p127}, {-1, -1}) == -HUGE_VAL);
}

TEST_CASE("reference: sums of bfloat16 that are rounded to odd") {
  const auto sum = [](float before, float x0, float w0, float x1 = 0.0f, float w1 = 0.0f) { return static_cast<double>(add_pair(before, x0, w0, x1, w1)); };
  CHECK(sum(5, 1, 2, 3, 4) == 19);
  CHECK(sum(0x1p24f, 1, 1, 1, 1) == 0x1.000002p24);  // a pair first
  CHECK(sum(0, 4096, 4096, 1, 1) == 0x1.000002p24);  // 2^24 + 1
  CHECK(sum(0, 1, 1, 4096, 4096) == 0x1.000002p24);
  CHECK(sum(-0x1p24f, 4096, 4096, 1, 1) == 2);
  // Floats there are 2 apart: an odd one stays, of an even one the last bit is set.
  CHECK(sum(0x1.000002p24f, 1, 1) == 0x1.000002p24);
  CHECK(sum(0x1.000004p24f, 1, 1) == 0x1.000006p24);
  CHECK(sum(-0x1p24f, 1, -1) == -0x1.000002p24);
  CHECK(sum(-0x1p24f, 1, 1) == -0x1.fffffep23);
  CHECK(sum(0x1.000004p24f, -1, 1) == 0x1.000002p24);
  // What is far smaller than the last bit counts, too.
  CHECK(sum(1, 0x1p-60f, 1) == 0x1.000002p0);
  CHECK(sum(1, -0x1p-60f, 1) == 0x1.fffffep-1);
  CHECK(sum(-1, 0x1p-60f, 1) == -0x1.fffffep-1);
  CHECK(sum(0x1p-60f, 1, -1) == -0x1.fffffep-1);
  CHECK(sum(0, 1, 1, 0x1p-60f, -0x1p-60f) == 0x1.fffffep-1);
  // What is too small, products and sums, and what is too large.
  CHECK(same(sum(0, 0x1p-64f, 0x1p-63f, 0x1p-64f, 0x1p-63f), 0));
  CHECK(sum(0, 0x1p-63f, 0x1p-63f) == 0x1p-126);
  CHECK(same(sum(0x1p-126f, -0x1.8p-63f, 0x1p-63f), -0.0));
  CHECK(same(sum(0x1.8p-126f, 0x1p-63f, -0x1p-63f), 0.0));
  CHECK(same(sum(-3, 3, 1), 0.0));
  CHECK(sum(0x1.fffffep127f, 0x1p103f, 1) == 0x1.fffffep127);
  CHECK(sum(0x1.fffffep127f, 0x1p104f, 1) == HUGE_VAL);
  CHECK(sum(0, 0x1p64f, -0x1p64f) == -HUGE_VAL);
  CHECK(std::isnan(sum(0, 0x1p64f, -0x1p64f, 0x1p64f, 0x1p64f)));
  CHECK(std::isnan(sum(infinity, -infinity, 1)));
  CHECK(std::isnan(sum(1, infinity, 0)));
  CHECK(std::isnan(sum(not_a_number, 1, 1)));

  const auto product_of = [](const std::vector<double>& x, const std::vector<double>& w, double bias, PairSum pair_sum) {
    const std::int64_t K = static_cast<std::int64_t>(x.size());
    return project(Array({1, K}, x), Array({1, K}, w), Array({1}, {bias}), WeightType::bfloat16, Arithmetic::bfloat16, 32, pair_sum).values[0];
  };
  CHECK(product_of({4096, 0, 0x1.01p0, 1, 4096}, {4096, 0, 1, 1, -4096}, 0.5, PairSum::odd) == 2.5);
  CHECK(product_of({4096, 0, 0x1.01p0, 1, 4096}, {4096, 0, 1, 1, -4096}, 0.5, PairSum::fused) == 0.5);
  CHECK(product_of({0x1p-127, 1}, {0x1p20, 0x1p-127}, -0.0, PairSum::odd) == 0);
  CHECK(pair_sum_of("bfmmla") == PairSum::odd);
  CHECK(pair_sum_of("fmla") == PairSum::fused);
  CHECK(pair_sum_of(nullptr) == PairSum::fused);
}

TEST_CASE("reference: int4 products") {
  const auto of_int4 = [](const std::vector<double>& x, const std::vector<double>& w, double bias) {
    return product(x, w, WeightType::int4, Arithmetic::int8, bias);
  };
  CHECK(of_int4({-128, 127}, {-8, 7}, 0.5) == 128 * 8 + 127 * 7 + 0.5);
  CHECK(of_int4({3}, {-8}, 0) == static_cast<double>(-255.0f * 8.0f * (3.0f / 255.0f)));
  // Two groups: 8 * 255 * 2^-25 is added to 2^24, whose floats are 2 apart; the sum of both is rounded once, to even.
  std::vector<double> x(33, 0.0), w(33, 0.0);
  x[0] = x[32] = 255;
  w[0] = -0x1p13;
  w[32] = -8;
  CHECK(of_int4(x, w, 0) == -255 * 0x1p13 - 255 * 8);
  w[0] = -0x1p26;
  w[32] = -4.5;  // 255 * 4.5 = 1147.5, beside 255 * 2^26, whose floats are 1024 apart
  CHECK(of_int4(x, w, 0) == -255 * 0x1p26 - 1024);
  for (float bad : {not_a_number, infinity, -infinity}) {
    CHECK(std::isnan(of_int4({1, static_cast<double>(bad)}, {1, 0}, 7)));
    CHECK(std::isnan(of_int4({0, 0}, {1, static_cast<double>(bad)}, 7)));
  }
  CHECK(of_int4({0, 0}, {1, 2}, 7) == 7);
  CHECK(of_int4({1, 2}, {0, 0}, 7) == 7);
  // Floats times weights: 0.1f * 3 is rounded once.
  CHECK(product({1, 0.5}, {-8, 3}, WeightType::int4, Arithmetic::float32, 0.5) == -6);
  CHECK(product({0, 1}, {static_cast<double>(-0.8f), static_cast<double>(0.3f)}, WeightType::int4, Arithmetic::float32) == 0x1.333334p-2);
}

TEST_CASE("reference: products of float32 rows with weights that are stored smaller") {
  const double tenth = static_cast<double>(0.1f);
  CHECK(product({1, tenth}, {0x1.01p0, 2}, WeightType::bfloat16, Arithmetic::float32, 0.5) == 1.5 + 2 * tenth);
  CHECK(product({1, tenth}, {0x1.002p0, 2}, WeightType::float16, Arithmetic::float32, 0.5) == 1.5 + 2 * tenth);
  CHECK(product({1, tenth}, {254, 3}, WeightType::int8, Arithmetic::float32, 0.5) == (127 + 2 * tenth) * 2 + 0.5);
  CHECK(product({1, tenth}, {0x1.002p0, 2}, WeightType::float32, Arithmetic::float32, 0.5) == 0x1.002p0 + 2 * tenth + 0.5);
  CHECK(product({0x1p20}, {0x1p-130}, WeightType::bfloat16, Arithmetic::float32) == 0x1p-110);  // denormals count
  CHECK(product({1, 2}, {65520, 1}, WeightType::float16, Arithmetic::float32) == HUGE_VAL);
  CHECK(std::isnan(product({1, 2}, {static_cast<double>(infinity), 1}, WeightType::int8, Arithmetic::float32)));
}

TEST_CASE("reference: arithmetic takes weights of its type alone") {
  const Array x({1, 2}, {1, 2}), weight({1, 2}, {1, 2});
  for (WeightType type : {WeightType::float32, WeightType::bfloat16, WeightType::float16, WeightType::int8, WeightType::int4}) {
    for (Arithmetic arithmetic : {Arithmetic::bfloat16, Arithmetic::int8}) {
      const bool takes = ((type == WeightType::int8 || type == WeightType::int4) && arithmetic == Arithmetic::int8) ||
                         (type == WeightType::bfloat16 && arithmetic == Arithmetic::bfloat16);
      if (takes) {
        CHECK(project(x, weight, {}, type, arithmetic).shape == Shape{1, 1});
      } else {
        CHECK_THROWS(project(x, weight, {}, type, arithmetic));
      }
    }
  }
}

namespace {

struct Precision {
  WeightType type;
  Arithmetic arithmetic;
};
const Precision precisions[] = {{WeightType::bfloat16, Arithmetic::float32}, {WeightType::bfloat16, Arithmetic::bfloat16},
                                {WeightType::float16, Arithmetic::float32},  {WeightType::int8, Arithmetic::float32},
                                {WeightType::int8, Arithmetic::int8},        {WeightType::int4, Arithmetic::float32},
                                {WeightType::int4, Arithmetic::int8}};

Array random_array(Random& random, const Shape& shape, double scale = 1.0) {
  Array array = Array::zeros(shape);
  for (double& value : array.values) value = static_cast<double>(static_cast<float>(scale) * random.number());
  return array;
}

LayerWeights random_layer(Random& random, std::int64_t E, Precision precision) {
  LayerWeights weights;
  for (Array* matrix : {&weights.query, &weights.key, &weights.value, &weights.output}) *matrix = random_array(random, {E, E}, 0.5);
  for (Array* bias : {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias}) *bias = random_array(random, {E});
  weights.weight_type = precision.type;
  weights.arithmetic = precision.arithmetic;
  return weights;
}

}  // namespace

TEST_CASE("reference: a layer of low precision is its projections around the core") {
  for (const Precision& precision : precisions) {
    Random random(11);
    const std::int64_t B = 2, L = 3, S = 5, E = 12, H = 3;
    const LayerWeights weights = random_layer(random, E, precision);
    const Array queries = random_array(random, {B, L, E}), keys = random_array(random, {B, S, E}), values = random_array(random, {B, S, E});
    const LayerResult result = multi_head_attention(weights, H, queries, keys, values);
    const auto heads = [&](const Array& x, const Array& matrix, const Array& bias) {
      const Array y = project(x, matrix, bias, precision.type, precision.arithmetic);
      return transpose_qkv(y, H).reshaped({B, H, x.size(1), E / H});
    };
    check_values(result.query, heads(queries, weights.query, weights.query_bias).values);
    check_values(result.key, heads(keys, weights.key, weights.key_bias).values);
    check_values(result.value, heads(values, weights.value, weights.value_bias).values);
    check_values(result.output, project(result.heads, weights.output, weights.output_bias, precision.type, precision.arithmetic).values);
    // It is another layer than that of float32, but not by much.
    LayerWeights plain = weights;
    plain.weight_type = WeightType::float32;
    plain.arithmetic = Arithmetic::float32;
    const LayerResult exact = multi_head_attention(plain, H, queries, keys, values);
    double largest = 0.0, difference = 0.0;
    for (std::size_t n = 0; n < exact.output.values.size(); ++n) {
      largest = std::max(largest, std::abs(exact.output.values[n]));
      difference = std::max(difference, std::abs(result.output.values[n] - exact.output.values[n]));
    }
    CHECK(difference > 0.0);
    CHECK(difference < (precision.type == WeightType::int4 ? 0.1 : 0.03) * largest);
  }
}

TEST_CASE("reference: a layer's config says its precision") {
  MultiHeadAttentionConfig config;
  config.num_hiddens = 2;
  config.num_heads = 1;
  config.weight_type = WeightType::int8;
  config.arithmetic = Arithmetic::int8;
  const float matrix[] = {1, 2, 3, 4};
  const ConstTensorView view(matrix, 2, 2);
  const LayerWeights weights(config, {view, view, view, view});
  CHECK(weights.weight_type == WeightType::int8);
  CHECK(weights.arithmetic == Arithmetic::int8);
}

TEST_CASE("bounds: a row of 8 bits, by hand") {
  const Array weight({2, 2}, {127, 3, 3, -127});
  const auto bounds = [&](double error) {
    return project_bounds(Array({1, 2}, {255, 100.4}), Array({1, 2}, {0, error}), weight, {}, WeightType::int8, Arithmetic::int8, Data::random);
  };
  // 100.35 and 100.45 are both 100; what remains is float32's.
  for (double bound : bounds(0.05).values) {
    CHECK(bound > 0.0);
    CHECK(bound < 1e-6 * 255 * 127 * 2);
  }
  // 100.6 is 101: one step of the second weight.
  const Array step = bounds(0.2);
  CHECK(step.at(0, 0) == doctest::Approx(3.0).epsilon(0.02));
  CHECK(step.at(0, 1) == doctest::Approx(127.0).epsilon(0.001));
  // Exact rows give exact results.
  for (Arithmetic arithmetic : {Arithmetic::int8, Arithmetic::bfloat16}) {
    const WeightType type = arithmetic == Arithmetic::int8 ? WeightType::int8 : WeightType::bfloat16;
    check_values(project_bounds(Array({1, 2}, {255, 100.4}), {}, weight, {}, type, arithmetic, Data::random), {0, 0});
  }
}

TEST_CASE("bounds: a row of bfloat16, by hand") {
  const Array weight({1, 2}, {1, 4});
  const auto bound = [&](double error) {
    return project_bounds(Array({1, 2}, {1, 0x1.01p0 - 0x1p-12}), Array({1, 2}, {0, error}), weight, {}, WeightType::bfloat16,
                          Arithmetic::bfloat16, Data::structured).values[0];
  };
  CHECK(bound(0x1p-13) < 1e-5);  // 1 + 2^-8 is halfway to the next number
  CHECK(bound(0x1p-11) == doctest::Approx(4 * 0x1p-7).epsilon(0.01));
}

TEST_CASE("bounds: rows that are off stay within them, in every precision") {
  for (const Precision& precision : precisions) {
    CAPTURE(static_cast<int>(precision.type));
    CAPTURE(static_cast<int>(precision.arithmetic));
    Random random(5);
    std::int64_t tight = 0, all = 0;
    for (int round = 0; round < 400; ++round) {
      CAPTURE(round);
      const std::int64_t n = 3, K = random.between(1, 40), N = random.between(1, 6);
      const Array weight = random_array(random, {N, K}), bias = random_array(random, {N});
      const double error = std::exp2(-static_cast<double>(random.between(2, 24)));
      Array x = random_array(random, {n, K}, random.one_of({1.0, 100.0, 1e-30}));
      for (double& value : x.values) {
        if (random.one_in(8)) value = 0.0;
        if (round % 5 == 1) value = x.values[0];
        if (round % 5 == 2) value = std::abs(value);
      }
      Array errors = x, off = x;
      for (std::size_t k = 0; k < x.values.size(); ++k) {
        errors.values[k] = error * (std::abs(x.values[k]) + (random.one_in(3) ? 0.0 : std::abs(x.values[0])));
        off.values[k] = static_cast<double>(static_cast<float>(x.values[k] + static_cast<double>(random.number()) * errors.values[k]));
      }
      const Array expected = project(x, weight, bias, precision.type, precision.arithmetic);
      const Array bounds = project_bounds(x, errors, weight, bias, precision.type, precision.arithmetic, Data::structured);
      const Comparison comparison = compare(project(off, weight, bias, precision.type, precision.arithmetic), expected, bounds);
      CHECK_MESSAGE(comparison.ok, comparison.message);
      double largest = 0.0;
      for (double value : expected.values) largest = std::max(largest, std::abs(value));
      for (double value : bounds.values) {
        if (error > 1e-6) continue;
        ++all;
        tight += value < 1e-4 * largest;
      }
    }
    // Few rows have an element that near to where rounding jumps.
    CHECK(all > 500);
    CHECK(tight > 0.8 * static_cast<double>(all));
  }
}
