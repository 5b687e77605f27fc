// Dropout of attention weights, counter-based: a pure function of the seed and the weight's position.
#pragma once

#include <cstdint>

namespace attend {

/// The finalizer of splitmix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit.
inline std::uint64_t mix_bits(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// What the rows (b, h, i) share, so that a key costs one mix.
inline std::uint64_t dropout_row(std::uint64_t seed, std::int64_t b, std::int64_t h, std::int64_t i) {
  const std::uint64_t step = 0x9e3779b97f4a7c15u;
  std::uint64_t x = mix_bits(seed + step);
  x = mix_bits(x + step * (static_cast<std::uint64_t>(b) + 1));
  x = mix_bits(x + step * (static_cast<std::uint64_t>(h) + 1));
  return mix_bits(x + step * (static_cast<std::uint64_t>(i) + 1));
}

/// 0 with probability `rate`, else 1 / (1 - rate).
inline float dropout_factor(std::uint64_t row, std::int64_t key, float rate) {
  const std::uint64_t bits = mix_bits(row + 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(key) + 1));
  const float uniform = static_cast<float>(bits >> 40) * 0x1p-24f;  // [0, 1)
  return uniform < rate ? 0.0f : 1.0f / (1.0f - rate);
}

}  // namespace attend
