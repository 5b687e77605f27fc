// Low precision from its definitions, in integers, doubles, and floats where floats are the definition.
#include "reference/low_precision.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "reference/operations.h"

namespace attend {
namespace reference {
namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// x to nearest, ties to even, among numbers of so many significant bits with exponents from `least` to `largest`.
float nearest(float x, int bits, int least, int largest) {
  if (!std::isfinite(x) || x == 0.0f) return x;
  const int exponent = std::max(std::ilogb(x), least);
  const double step = std::ldexp(1.0, exponent - bits + 1);
  const double rounded = std::nearbyint(static_cast<double>(x) / step) * step;
  if (std::abs(rounded) >= std::ldexp(1.0, largest + 1)) return std::copysign(std::numeric_limits<float>::infinity(), x);
  return static_cast<float>(rounded);
}

float without_denormals(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}

/// fma(x, w, sum) of floats that are no denormals, their product exact in double; so is the sum where it is as small as a denormal.
float multiply_add(float x, float w, float sum) {
  const double exact = static_cast<double>(x) * static_cast<double>(w) + static_cast<double>(sum);
  // From here on 24 bits round to 2^-126.
  if (std::abs(exact) < 0x1p-126 - 0x1p-151) return static_cast<float>(std::copysign(0.0, exact));
  return std::fma(x, w, sum);
}

float project_int8(const QuantisedRow& row, const StoredWeights& weights, std::int64_t n, float bias) {
  std::int64_t sum = 0;
  for (std::size_t k = 0; k < row.integers.size(); ++k) {
    sum += (row.integers[k] - row.zero) * static_cast<std::int64_t>(weights.numbers.row(n)[k]);
  }
  return std::fma(static_cast<float>(sum), row.scale * static_cast<float>(weights.scales.at(n)), bias);
}

/// w - z of its group.
float int4_number(const StoredWeights& weights, std::int64_t n, std::int64_t k) {
  const double zero = weights.zeros.absent() ? 8.0 : weights.zeros.at(n, k / weights.group);
  return static_cast<float>(weights.numbers.at(n, k) - zero);
}

float project_int4(const QuantisedRow& row, const StoredWeights& weights, std::int64_t n, float bias) {
  const std::int64_t K = static_cast<std::int64_t>(row.integers.size());
  float sum = 0.0f;
  for (std::int64_t first = 0; first < K; first += weights.group) {
    std::int64_t t = 0;
    for (std::int64_t k = first; k < std::min(first + weights.group, K); ++k) {
      t += (row.integers[static_cast<std::size_t>(k)] - row.zero) * static_cast<std::int64_t>(int4_number(weights, n, k));
    }
    sum = std::fma(static_cast<float>(t), static_cast<float>(weights.scales.at(n, first / weights.group)), sum);
  }
  return std::fma(sum, row.scale, bias);
}

void store_int4(const Array& weight, std::int64_t group, StoredWeights* stored) {
  const std::int64_t N = weight.size(0), K = weight.size(1);
  stored->group = group;
  stored->scales = Array::zeros({N, (K + group - 1) / group});
  for (std::int64_t n = 0; n < N; ++n) {
    for (std::int64_t first = 0; first < K; first += group) {
      const std::int64_t end = std::min(first + group, K);
      float largest = 0.0f;
      bool finite = true;
      for (std::int64_t k = first; k < end; ++k) {
        const float w = static_cast<float>(weight.at(n, k));
        finite = finite && std::isfinite(w);
        if (std::abs(w) > std::abs(largest)) largest = w;
      }
      const float scale = finite && largest / -8.0f != 0.0f ? largest / -8.0f : finite ? 0.0f : not_a_number;
      stored->scales.at(n, first / group) = static_cast<double>(scale);
      for (std::int64_t k = first; k < end; ++k) {
        const bool divides = finite && scale != 0.0f;
        const float steps = divides ? std::nearbyint(static_cast<float>(weight.at(n, k)) / scale) : 0.0f;
        stored->numbers.at(n, k) = static_cast<double>(std::max(0.0f, std::min(steps + 8.0f, 15.0f)));
      }
    }
  }
}

/// sum + rest to odd, rest at most half of a last place of sum.
float rounded_to_odd(double sum, double rest) {
  if (!std::isfinite(sum) || sum == 0.0) return static_cast<float>(sum);
  std::uint64_t bits;
  std::memcpy(&bits, &sum, sizeof bits);
  if (rest != 0.0 && (rest < 0.0) != (sum < 0.0)) --bits;  // toward zero, in 53 bits
  constexpr std::uint64_t beyond = (1u << 29) - 1;         // 24 bits
  if (rest != 0.0 || (bits & beyond) != 0) bits = (bits & ~beyond) | (beyond + 1);
  std::memcpy(&sum, &bits, sizeof sum);
  return std::abs(sum) < 0x1p-126 ? static_cast<float>(std::copysign(0.0, sum)) : static_cast<float>(sum);
}
float add_to_odd(float a, float b) {
  const double x = static_cast<double>(a), y = static_cast<double>(b), sum = x + y, part = sum - x;
  return rounded_to_odd(sum, (x - (sum - part)) + (y - part));
}
float multiply_to_odd(float x, float w) { return rounded_to_odd(static_cast<double>(x) * static_cast<double>(w), 0.0); }

/// The row rounded already.
float project_bfloat16(const std::vector<float>& row, const StoredWeights& weights, std::int64_t n, float bias, PairSum pair_sum) {
  const auto x = [&](std::size_t k) { return k < row.size() ? row[k] : 0.0f; };
  const auto w = [&](std::size_t k) {
    return k < row.size() ? without_denormals(static_cast<float>(weights.numbers.row(n)[k])) : 0.0f;
  };
  float sum = 0.0f;
  for (std::size_t k = 0; k < row.size(); k += 2) {
    sum = pair_sum == PairSum::odd ? add_pair(sum, x(k), w(k), x(k + 1), w(k + 1))
                                   : multiply_add(x(k), w(k), multiply_add(x(k + 1), w(k + 1), sum));
  }
  return sum + bias;
}

}  // namespace

PairSum pair_sum_of(const char* instructions) {
  return instructions != nullptr && std::strcmp(instructions, "bfmmla") == 0 ? PairSum::odd : PairSum::fused;
}

float add_pair(float sum, float x0, float w0, float x1, float w1) {
  return add_to_odd(sum, add_to_odd(multiply_to_odd(x0, w0), multiply_to_odd(x1, w1)));
}

float to_bfloat16(float x) { return nearest(x, 8, -126, 127); }

float to_float16(float x) { return nearest(x, 11, -14, 15); }

StoredWeights store(const Array& weight, WeightType type, std::int64_t group) {
  require(weight.rank() == 2, "store: weight is (N, K)");
  StoredWeights stored;
  stored.numbers = weight;
  if (type == WeightType::bfloat16 || type == WeightType::float16) {
    for (double& number : stored.numbers.values) {
      const float x = static_cast<float>(number);
      number = static_cast<double>(type == WeightType::bfloat16 ? to_bfloat16(x) : to_float16(x));
    }
  }
  if (type == WeightType::int4) store_int4(weight, group, &stored);
  if (type != WeightType::int8) return stored;
  const std::int64_t N = weight.size(0), K = weight.size(1);
  stored.scales = Array::zeros({N});
  for (std::int64_t n = 0; n < N; ++n) {
    float largest = 0.0f;
    bool finite = true;
    for (std::int64_t k = 0; k < K; ++k) {
      const float w = static_cast<float>(weight.at(n, k));
      finite = finite && std::isfinite(w);
      largest = std::max(largest, std::abs(w));
    }
    const float scale = finite ? largest / 127.0f : not_a_number;
    stored.scales.at(n) = static_cast<double>(scale);
    for (std::int64_t k = 0; k < K; ++k) {
      const float steps = scale > 0.0f ? std::nearbyint(static_cast<float>(weight.at(n, k)) / scale) : 0.0f;
      stored.numbers.at(n, k) = static_cast<double>(std::max(-127.0f, std::min(steps, 127.0f)));
    }
  }
  return stored;
}

Array restore(const StoredWeights& stored) {
  Array weight = stored.numbers;
  if (stored.scales.absent()) return weight;
  for (std::int64_t n = 0; n < weight.size(0); ++n) {
    for (std::int64_t k = 0; k < weight.size(1); ++k) {
      if (stored.group == 0) weight.at(n, k) *= stored.scales.at(n);
      else weight.at(n, k) = static_cast<double>(static_cast<float>(stored.scales.at(n, k / stored.group)) * int4_number(stored, n, k));
    }
  }
  return weight;
}

QuantisedRow quantise(const std::vector<float>& row) {
  QuantisedRow quantised;
  quantised.integers.assign(row.size(), 0);
  float lo = 0.0f, hi = 0.0f;
  bool finite = true;
  for (float x : row) {
    finite = finite && std::isfinite(x);
    lo = std::min(lo, x);
    hi = std::max(hi, x);
  }
  const float range = hi - lo;
  if (!finite || std::isinf(range)) {
    quantised.scale = not_a_number;
    return quantised;
  }
  if (range < 0x1p-118f) return quantised;
  const float r = 255.0f / range;
  quantised.scale = range / 255.0f;
  quantised.zero = static_cast<int>(std::nearbyint(-lo * r));
  for (std::size_t k = 0; k < row.size(); ++k) {
    const int integer = static_cast<int>(std::nearbyint(row[k] * r)) + quantised.zero;
    quantised.integers[k] = std::max(0, std::min(integer, 255));
  }
  return quantised;
}

Array project(const Array& x, const Array& weight, const Array& bias, WeightType type, Arithmetic arithmetic, std::int64_t group,
              PairSum pair_sum) {
  require(x.rank() >= 1 && weight.rank() == 2 && x.shape.back() == weight.size(1), "project: x is (..., K), weight (N, K)");
  require(arithmetic == Arithmetic::float32 || (arithmetic == Arithmetic::int8 && (type == WeightType::int8 || type == WeightType::int4)) ||
              (arithmetic == Arithmetic::bfloat16 && type == WeightType::bfloat16),
          "project: a product takes weights of its own type");
  const StoredWeights stored = store(weight, type, group);
  const std::int64_t N = weight.size(0), K = weight.size(1);
  if (arithmetic == Arithmetic::float32) {
    Array result = linear(x, type == WeightType::int4 ? restore(stored) : stored.numbers);
    for (std::int64_t at = 0; at < result.count(); ++at) {
      double& y = result.values[static_cast<std::size_t>(at)];
      if (type == WeightType::int8) y *= stored.scales.at(at % N);
      if (!bias.absent()) y += bias.at(at % N);
    }
    return result;
  }

  Shape shape = x.shape;
  shape.back() = N;
  Array result = Array::zeros(shape);
  for (std::int64_t i = 0; i < result.count() / N; ++i) {
    std::vector<float> row;
    for (std::int64_t k = 0; k < K; ++k) row.push_back(static_cast<float>(x.values[static_cast<std::size_t>(i * K + k)]));
    const QuantisedRow quantised = quantise(row);
    for (float& element : row) element = without_denormals(to_bfloat16(element));
    for (std::int64_t n = 0; n < N; ++n) {
      const float b = bias.absent() ? 0.0f : static_cast<float>(bias.at(n));
      const float y = type == WeightType::int4           ? project_int4(quantised, stored, n, b)
                      : arithmetic == Arithmetic::int8 ? project_int8(quantised, stored, n, b)
                                                       : project_bfloat16(row, stored, n, b, pair_sum);
      result.values[static_cast<std::size_t>(i * N + n)] = static_cast<double>(y);
    }
  }
  return result;
}

}  // namespace reference
}  // namespace attend
