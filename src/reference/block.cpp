// Activations and norms by their definitions, and their bounds.
#include "reference/block.h"

#include <cmath>

namespace attend {
namespace reference {

namespace {

constexpr double u = unit_roundoff, pi = 3.14159265358979323846;

double tanh_argument(double x) { return std::sqrt(2.0 / pi) * (x + 0.044715 * x * x * x); }

}  // namespace

double activated(double x, Activation activation) {
  if (std::isinf(x) && activation != Activation::none) return x > 0.0 ? x : 0.0;
  switch (activation) {
    case Activation::none: return x;
    case Activation::relu: return x < 0.0 ? 0.0 : x;
    case Activation::gelu: return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh: return x / (1.0 + std::exp(-2.0 * tanh_argument(x)));
    case Activation::silu: return x / (1.0 + std::exp(-x));
  }
  require(false, "an activation");
  return 0.0;
}

double activated_bound(double x, Activation activation) {
  if (!(std::abs(x) < HUGE_VAL)) return 0.0;
  const double y = std::abs(activated(x, activation)), tiny = std::exp2(-118.0);
  switch (activation) {
    case Activation::none:
    case Activation::relu: return 0.0;
    case Activation::gelu: return 12.0 * u * y * (1.0 + x * x / 2.0) + tiny;
    case Activation::gelu_tanh: return 12.0 * u * y * (1.0 + 2.0 * std::abs(tanh_argument(x))) + tiny;
    case Activation::silu: return 12.0 * u * y * (1.0 + std::abs(x)) + tiny;
  }
  return 0.0;
}

double activated_slope(Activation activation) { return activation == Activation::none || activation == Activation::relu ? 1.0 : 1.13; }

NormResult norm(const Array& x, bool centred, const Array& weight, const Array& bias, double epsilon, Data data) {
  require(x.rank() >= 1, "norm: x has a last axis");
  const std::int64_t D = x.shape.back();
  require(weight.absent() || weight.shape == Shape{D}, "norm: weight is (D,)");
  require(bias.absent() || bias.shape == Shape{D}, "norm: bias is (D,)");
  const double count = static_cast<double>(D), chain = data == Data::random ? std::sqrt(count) : count;
  NormResult result = {x, x};
  for (std::int64_t first = 0; D > 0 && first < x.count(); first += D) {
    const double* row = x.values.data() + first;
    double total = 0.0, magnitude = 0.0, squares = 0.0;
    for (std::int64_t d = 0; d < D; ++d) {
      total += row[d];
      magnitude += std::abs(row[d]);
    }
    const double mean = centred ? total / count : 0.0;
    const double mean_error = centred ? (chain + 2.0) * u * magnitude / count : 0.0;
    for (std::int64_t d = 0; d < D; ++d) squares += (row[d] - mean) * (row[d] - mean);
    const double root = std::sqrt(squares / count + epsilon);
    for (std::int64_t d = 0; d < D; ++d) {
      const std::size_t place = static_cast<std::size_t>(first + d);
      const double w = weight.absent() ? 1.0 : weight.at(d), b = bias.absent() ? 0.0 : bias.at(d), z = row[d] - mean;
      const double from_root = (chain / 2.0 + 8.0) * u + mean_error * mean_error / (2.0 * root * root);
      result.output.values[place] = z / root * w + b;
      result.bounds.values[place] = std::abs(w) / root * (std::abs(z) * from_root + mean_error) + 2.0 * u * std::abs(b) + std::exp2(-148.0);
    }
  }
  return result;
}

}  // namespace reference
}  // namespace attend
