// Whole numbers: the smaller and the larger of two, and quotients of those that are not negative.
#pragma once

#include <cstdint>

namespace attend {

inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

/// How many steps reach n, and where they end.
inline std::int64_t steps_to(std::int64_t n, std::int64_t step) { return (n + step - 1) / step; }
inline std::int64_t round_up(std::int64_t n, std::int64_t step) { return steps_to(n, step) * step; }

/// a / b, in 32 bits where both fit: Intel's CPUs before Ice Lake divide 64 bits in 40 to 90 cycles, 32 in 26.
inline std::int64_t quotient(std::int64_t a, std::int64_t b) {
  return ((a | b) >> 32) != 0 ? a / b : static_cast<std::int64_t>(static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b));
}

}  // namespace attend
