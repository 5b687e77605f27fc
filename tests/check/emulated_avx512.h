// AVX-512 for avx512.cpp where the CPU has AVX2 alone: SIMDe's intrinsics, and those that its version 0.7.4
// lacks or takes liberties with. avx512.sh has it included ahead of everything.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

// What avx512.cpp asks for. The assembly in clang's kernels only holds a value in a register.
#define __AVX512F__ 1
#define __AVX512DQ__ 1
#define __AVX512BW__ 1
#define __AVX512VL__ 1
#define asm(...)

namespace emulated {

constexpr int lanes = 16;

// Masked out lanes are not touched.
inline simde__m512 maskz_loadu_ps(simde__mmask16 mask, const float* source) {
  float x[lanes] = {};
  for (int i = 0; i < lanes; ++i) {
    if (mask >> i & 1) x[i] = source[i];
  }
  return simde_mm512_loadu_ps(x);
}
inline void mask_storeu_ps(float* destination, simde__mmask16 mask, simde__m512 value) {
  float x[lanes];
  simde_mm512_storeu_ps(x, value);
  for (int i = 0; i < lanes; ++i) {
    if (mask >> i & 1) destination[i] = x[i];
  }
}

inline simde__mmask16 test_epi8_mask(simde__m128i a, simde__m128i b) {
  const simde__m128i unset = simde_mm_cmpeq_epi8(simde_mm_and_si128(a, b), simde_mm_setzero_si128());
  return static_cast<simde__mmask16>(~simde_mm_movemask_epi8(unset));
}

inline simde__m512i maskz_cvtepu8_epi32(simde__mmask16 mask, simde__m128i value) {
  std::uint8_t bytes[lanes];
  simde_mm_storeu_si128(bytes, value);
  std::uint32_t x[lanes];
  for (int i = 0; i < lanes; ++i) x[i] = mask >> i & 1 ? bytes[i] : 0;
  return simde_mm512_loadu_si512(x);
}

// x - floor(x), this subtraction rounded down as well; -0 where x is an integer, 0 where it is infinite.
template <int control>
simde__m512 reduce_ps(simde__m512 value) {
  static_assert(control == 1, "no fraction bits, rounded down");
  float x[lanes];
  simde_mm512_storeu_ps(x, value);
  for (int i = 0; i < lanes; ++i) {
    const double fraction = static_cast<double>(x[i]) - __builtin_floorf(x[i]);  // exact, or 1 - 2^-30 and more
    const float nearest = static_cast<float>(fraction);
    if (__builtin_isinf(x[i])) x[i] = 0.0f;
    else if (fraction == 0.0) x[i] = -0.0f;
    else x[i] = nearest > fraction || nearest == 1.0f ? __builtin_nextafterf(nearest, 0.0f) : nearest;
  }
  return simde_mm512_loadu_ps(x);
}

// p 2^floor(x), rounded once; SIMDe takes a denormal p or x for 0. No float has a place beyond 2^±300.
inline simde__m512 maskz_scalef_ps(simde__mmask16 mask, simde__m512 value, simde__m512 exponents) {
  float p[lanes], x[lanes];
  simde_mm512_storeu_ps(p, value);
  simde_mm512_storeu_ps(x, exponents);
  for (int i = 0; i < lanes; ++i) {
    double scale = x[i];  // NaN, inf, or else
    if (x[i] < 300.0f) scale = x[i] < -300.0f ? 0x1p-300 : __builtin_ldexp(1.0, static_cast<int>(__builtin_floorf(x[i])));
    else if (x[i] < __builtin_inff()) scale = 0x1p+300;
    if (x[i] == -__builtin_inff()) scale = 0.0;
    p[i] = mask >> i & 1 ? static_cast<float>(p[i] * scale) : 0.0f;
  }
  return simde_mm512_loadu_ps(p);
}

}  // namespace emulated

#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm_test_epi8_mask
#undef _mm512_maskz_cvtepu8_epi32
#undef _mm512_reduce_ps
#undef _mm512_maskz_scalef_ps
#undef _mm512_maskz_shuffle_f32x4
#define _mm512_maskz_loadu_ps(mask, source) emulated::maskz_loadu_ps(mask, source)
#define _mm512_mask_storeu_ps(destination, mask, value) emulated::mask_storeu_ps(destination, mask, value)
#define _mm_test_epi8_mask(a, b) emulated::test_epi8_mask(a, b)
#define _mm512_maskz_cvtepu8_epi32(mask, value) emulated::maskz_cvtepu8_epi32(mask, value)
#define _mm512_reduce_ps(value, control) emulated::reduce_ps<control>(value)
#define _mm512_maskz_scalef_ps(mask, value, exponents) emulated::maskz_scalef_ps(mask, value, exponents)
#define _mm512_maskz_shuffle_f32x4(mask, a, b, control) simde_mm512_maskz_shuffle_f32x4(mask, a, b, control)
