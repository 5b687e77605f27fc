// Narrow numbers: float16 (IEEE 754 binary16), bfloat16, int8 and int4, to and from float32. All static, for a kernel file shows none of them.
#pragma once

#include <cstdint>
#include <cstring>

namespace attend {

static inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_of(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Exact, whatever the FTZ and DAZ modes.
static inline float float_from_float16(std::uint16_t bits) noexcept {
  const std::uint32_t sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7FFFu;
  if (magnitude < 0x400) {  // subnormal: a multiple of 2^-24
    return float_of(sign | bits_of(static_cast<float>(magnitude) * 0x1p-24f));
  }
  const std::uint32_t rebias = magnitude < 0x7C00 ? 127 - 15 : 255 - 31;  // else infinity, NaN
  return float_of(sign | ((magnitude << 13) + (rebias << 23)));
}

static inline float float_from_bfloat16(std::uint16_t bits) noexcept {
  return float_of(static_cast<std::uint32_t>(bits) << 16);
}

/// To the nearest, ties to even; infinity beyond the range; NaN stays NaN.
static inline std::uint16_t float16_from_float(float value) noexcept {
  const std::uint32_t bits = bits_of(value), magnitude = bits & 0x7FFFFFFFu;
  std::uint32_t half;
  if (magnitude > 0x7F800000u) {  // NaN
    half = 0x7E00u | ((magnitude >> 13) & 0x3FFu);
  } else if (magnitude >= bits_of(65520.0f)) {  // halfway from the largest finite one to 2^16
    half = 0x7C00u;
  } else if (magnitude < bits_of(0x1p-14f)) {  // beside 0.5f a unit is 2^-24, so the sum rounds
    half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  } else {
    half = (magnitude - ((127u - 15u) << 23) + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(((bits >> 16) & 0x8000u) | half);
}

static inline std::uint16_t bfloat16_from_float(float value) noexcept {
  const std::uint32_t bits = bits_of(value);
  const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  return static_cast<std::uint16_t>(nan ? (bits >> 16) | 0x40u
                                        : (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/// The scale of int8 numbers of which the largest has that size.
static inline float int8_scale(float largest) noexcept { return largest / 127.0f; }

/// value / scale to the nearest, ties to even, at most 127 in size, which it may exceed where the scale is a denormal; 0 where that is 0.
static inline std::int8_t int8_from_float(float value, float scale) noexcept {
  if (!(scale > 0.0f)) return 0;
  const float rounded = __builtin_rintf(value / scale);
  return static_cast<std::int8_t>(rounded > 127.0f ? 127.0f : rounded < -127.0f ? -127.0f : rounded);
}

/// The scale of int4 numbers of which the largest, sign and all, is that: -8 steps; of zeros, and of what is nearly so, 0.
static inline float int4_scale(float largest) noexcept {
  const float scale = largest / -8.0f;
  return scale != 0.0f ? scale : 0.0f;
}

/// value / scale + 8 to the nearest, ties to even, from 0 to 15; 8 where the scale is 0.
static inline std::uint8_t int4_from_float(float value, float scale) noexcept {
  const float number = scale != 0.0f ? __builtin_rintf(value / scale) + 8.0f : 8.0f;
  return static_cast<std::uint8_t>(number > 15.0f ? 15.0f : number < 0.0f ? 0.0f : number);
}

}  // namespace attend
