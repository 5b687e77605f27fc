// The 16-bit floats: float16 (IEEE 754 binary16) and bfloat16, to and from float32.
#pragma once

#include <cstdint>

namespace attend::io {

/// Exact, whatever the FTZ and DAZ modes.
float float_from_float16(std::uint16_t bits) noexcept;
float float_from_bfloat16(std::uint16_t bits) noexcept;

/// To the nearest, ties to even; infinity beyond the range; NaN stays NaN.
std::uint16_t float16_from_float(float value) noexcept;
std::uint16_t bfloat16_from_float(float value) noexcept;

}  // namespace attend::io
