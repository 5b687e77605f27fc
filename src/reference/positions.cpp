// Rotary position embedding, its frequencies, and RMS norm, as plain loops.
#include "reference/positions.h"

#include <algorithm>
#include <cmath>

namespace attend {
namespace reference {
namespace {

const double pi = std::acos(-1.0);

/// The row's position, before the offset.
std::int64_t row_position(const IndexView& positions, std::int64_t b, std::int64_t i) {
  if (positions.absent()) return i;
  if (positions.rank == 1) return positions.data[i * positions.strides[0]];
  return positions.data[b * positions.strides[0] + i * positions.strides[1]];
}

/// YaRN's find_correction_dim: the index of the frequency that turns so often in the trained positions.
double correction_dim(double rotations, double R, double base, double max_position) {
  return R * std::log(max_position / (rotations * 2.0 * pi)) / (2.0 * std::log(base));
}

}  // namespace

Rotary::Rotary(const RotaryEmbedding& rotary)
    : inverse_frequencies(rotary.inverse_frequencies),
      cosines(rotary.cosines),
      sines(rotary.sines),
      attention_factor(rotary.attention_factor),
      interleaved(rotary.interleaved) {}

RotaryResult rotary_embedding(const Array& x, const Rotary& rotary, const IndexView& positions,
                              std::int64_t offset) {
  require(x.rank() == 4, "rotary_embedding: x is (B, H, L, D)");
  const bool tables = rotary.inverse_frequencies.absent();
  const std::int64_t half = tables ? rotary.cosines.size(1) : rotary.inverse_frequencies.size(0);
  require(2 * half <= x.size(3), "rotary_embedding: R is at most D");
  RotaryResult result = {x, Array::zeros(x.shape)};
  for (std::int64_t b = 0; b < x.size(0); ++b) {
    for (std::int64_t h = 0; h < x.size(1); ++h) {
      for (std::int64_t i = 0; i < x.size(2); ++i) {
        const std::int64_t position = row_position(positions, b, i) + offset;
        for (std::int64_t n = 0; n < half; ++n) {
          double cosine, sine;
          if (tables) {
            cosine = rotary.cosines.at(position, n);
            sine = rotary.sines.at(position, n);
          } else {
            const double angle = static_cast<double>(position) * rotary.inverse_frequencies.at(n);
            cosine = std::cos(angle) * rotary.attention_factor;
            sine = std::sin(angle) * rotary.attention_factor;
          }
          const std::int64_t first = rotary.interleaved ? 2 * n : n;
          const std::int64_t second = rotary.interleaved ? 2 * n + 1 : n + half;
          const double a = x.at(b, h, i, first), c = x.at(b, h, i, second);
          result.output.at(b, h, i, first) = a * cosine - c * sine;
          result.output.at(b, h, i, second) = c * cosine + a * sine;
          result.magnitude.at(b, h, i, first) = std::abs(a * cosine) + std::abs(c * sine);
          result.magnitude.at(b, h, i, second) = std::abs(c * cosine) + std::abs(a * sine);
        }
      }
    }
  }
  return result;
}

Array rms_norm(const Array& x, const Array& weight, double epsilon) {
  require(x.rank() >= 1, "rms_norm: x has a last axis");
  const std::int64_t D = x.shape.back();
  require(weight.absent() || weight.shape == Shape{D}, "rms_norm: weight is (D,)");
  Array result = x;
  for (std::int64_t first = 0; first < x.count(); first += D) {
    double* row = result.values.data() + first;
    double sum = 0.0;
    for (std::int64_t d = 0; d < D; ++d) sum += row[d] * row[d];
    const double root = std::sqrt(sum / static_cast<double>(D) + epsilon);
    for (std::int64_t d = 0; d < D; ++d)
      row[d] = row[d] / root * (weight.absent() ? 1.0 : weight.at(d));
  }
  return result;
}

Array rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling) {
  const double R = static_cast<double>(rotary_dim), factor = scaling.factor;
  const double trained = static_cast<double>(scaling.original_max_position);
  Array result = Array::zeros({rotary_dim / 2});
  for (std::int64_t index = 0; index < rotary_dim / 2; ++index) {
    const double n = static_cast<double>(index);
    double frequency = 1.0 / std::pow(base, 2.0 * n / R);
    if (scaling.kind == RotaryScalingKind::linear) frequency /= factor;
    if (scaling.kind == RotaryScalingKind::ntk && rotary_dim > 2) {
      frequency = 1.0 / std::pow(base * std::pow(factor, R / (R - 2.0)), 2.0 * n / R);
    }
    if (scaling.kind == RotaryScalingKind::yarn) {
      double low = correction_dim(scaling.beta_fast, R, base, trained);
      double high = correction_dim(scaling.beta_slow, R, base, trained);
      if (scaling.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
      }
      low = std::max(low, 0.0);
      high = std::min(high, R - 1.0);
      if (low == high) high += 0.001;  // as the original does against dividing by 0
      const double ramp = std::clamp((n - low) / (high - low), 0.0, 1.0);
      frequency = frequency / factor * ramp + frequency * (1.0 - ramp);
    }
    if (scaling.kind == RotaryScalingKind::llama3) {
      const double wavelength = 2.0 * pi / frequency;
      const double low = scaling.low_frequency_factor, high = scaling.high_frequency_factor;
      if (wavelength > trained / low) {
        frequency /= factor;
      } else if (wavelength >= trained / high) {
        const double smooth = (trained / wavelength - low) / (high - low);
        frequency = (1.0 - smooth) * frequency / factor + smooth * frequency;
      }
    }
    result.at(index) = frequency;
  }
  return result;
}

double rotary_attention_factor(const RotaryScaling& scaling) {
  const bool scales = scaling.kind == RotaryScalingKind::yarn && scaling.factor > 1.0;
  return scales ? 0.1 * std::log(scaling.factor) + 1.0 : 1.0;
}

}  // namespace reference
}  // namespace attend
