// Rotary position embedding, its frequencies, and RMS norm.
#pragma once

#include "reference/array.h"

namespace attend {
namespace reference {

struct Rotary {
  Array inverse_frequencies;  // (R / 2,)
  Array cosines, sines;       // instead: (P, R / 2)
  double attention_factor = 1.0;
  bool interleaved = false;

  Rotary() = default;
  Rotary(const RotaryEmbedding& rotary);
};

struct RotaryResult {
  Array output;     // (B, H, L, D)
  Array magnitude;  // (B, H, L, D): |x cos| + |y sin| of each rotated element, 0 of the others
};

/// x (B, H, L, D) with the pairs of its first R columns turned by the angle of their row's position:
/// (x, y) -> (x cos - y sin, y cos + x sin). Pair n is (n, n + R / 2), interleaved (2n, 2n + 1).
RotaryResult rotary_embedding(const Array& x, const Rotary& rotary, const IndexView& positions = {},
                              std::int64_t offset = 0);

/// x / sqrt(mean of x^2 over the last axis + epsilon) * weight; weight (D,) or absent.
Array rms_norm(const Array& x, const Array& weight, double epsilon);

/// base^(-2n / R) for n < R / 2, scaled as in Hugging Face's transformers: (R / 2,).
Array rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling = {});

/// What YaRN multiplies cosines and sines by; 1 for the other kinds.
double rotary_attention_factor(const RotaryScaling& scaling);

}  // namespace reference
}  // namespace attend
