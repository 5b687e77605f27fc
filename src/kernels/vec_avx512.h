// The vector of AVX-512: 16 floats in a register. vec_scalar.h says what each operation gives.
#include <immintrin.h>

namespace attend { namespace avx512 { namespace {

using Vector = __m512;
using Mask = __mmask16;
constexpr int lanes = 16;
constexpr int scalar_group = 1;
using Scalars = __m512;

ATTEND_INLINE Vector zero() { return _mm512_setzero_ps(); }
ATTEND_INLINE Vector broadcast(float x) { return _mm512_set1_ps(x); }
ATTEND_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
ATTEND_INLINE void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
ATTEND_INLINE Mask first(std::int64_t count) {
  return count >= 16 ? static_cast<Mask>(0xffff) : static_cast<Mask>((1u << count) - 1u);
}
ATTEND_INLINE Vector load_partial(const float* p, std::int64_t count) {
  return _mm512_maskz_loadu_ps(first(count), p);
}
ATTEND_INLINE void store_partial(float* p, Vector x, std::int64_t count) {
  _mm512_mask_storeu_ps(p, first(count), x);
}
ATTEND_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
ATTEND_INLINE Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
ATTEND_INLINE Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
ATTEND_INLINE Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
ATTEND_INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// Masked with all ones: g++ 12 warns of an undefined operand in the plain form.
ATTEND_INLINE Vector maximum(Vector a, Vector b) { return _mm512_maskz_max_ps(0xffff, a, b); }
ATTEND_INLINE Vector minimum(Vector a, Vector b) { return _mm512_maskz_min_ps(0xffff, a, b); }
ATTEND_INLINE Mask less(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
ATTEND_INLINE Mask unlike(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
ATTEND_INLINE Mask nonzero_bytes(const std::uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm_test_epi8_mask(bytes, bytes);
}
ATTEND_INLINE Mask mask_of(std::uint32_t bits, int vector) { return static_cast<Mask>(bits >> (16 * vector)); }
ATTEND_INLINE void keep_bit(std::uint32_t* words, Mask m, std::uint32_t bit) {
  const __m512i all = _mm512_loadu_si512(words);
  _mm512_storeu_si512(words, _mm512_mask_and_epi32(all, static_cast<Mask>(~m), all, _mm512_set1_epi32(static_cast<int>(~bit))));
}
ATTEND_INLINE void take_bits(std::uint32_t* words, const std::uint8_t* bits, int shift) {
  const __m512i taken = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(bits)));
  const __m512i shifted = _mm512_maskz_sll_epi32(0xffff, taken, _mm_cvtsi32_si128(shift));
  _mm512_storeu_si512(words, _mm512_maskz_andnot_epi32(0xffff, shifted, _mm512_loadu_si512(words)));
}
ATTEND_INLINE Mask both(Mask a, Mask b) { return a & b; }
ATTEND_INLINE bool any(Mask a) { return a != 0; }
ATTEND_INLINE Vector select(Mask m, Vector a, Vector b) { return _mm512_mask_blend_ps(m, b, a); }
ATTEND_INLINE Scalars load_scalars(const float* p) { return _mm512_set1_ps(*p); }
// An asm instruction for g++, whose larger tiles spill otherwise; clang would copy around it (README.md, gemm).
ATTEND_INLINE Vector multiply_add_scalar(Scalars a, int, Vector b, Vector c) {
#if defined(__clang__)
  return _mm512_fmadd_ps(a, b, c);
#else
  asm("vfmadd231ps %1, %2, %0" : "+v"(c) : "v"(b), "v"(a));
  return c;
#endif
}
ATTEND_INLINE void keep_order(Vector&) {}
// For a vector that several multiply-adds share: g++ would load it anew for each of them (README.md, decode_scores).
ATTEND_INLINE Vector load_once(const float* p) {
  Vector x = load(p);
  asm("" : "+v"(x));
  return x;
}
constexpr bool has_prefetch = true, has_prefetch_far = true;
ATTEND_INLINE void prefetch_far(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
ATTEND_INLINE void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

// By pairs, by fours, then by quarters of the register.
ATTEND_INLINE void transpose(Vector (&rows)[16]) {
  Vector t[16];
  ATTEND_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_ps(0xffff, rows[i], rows[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_ps(0xffff, rows[i], rows[i + 1]);
  }
  ATTEND_UNROLL
  for (int i = 0; i < 16; i += 4) {
    ATTEND_UNROLL
    for (int half = 0; half < 2; ++half) {
      const __m512d first = _mm512_castps_pd(t[i + half]), second = _mm512_castps_pd(t[i + 2 + half]);
      rows[i + 2 * half] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, first, second));
      rows[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, first, second));
    }
  }
  ATTEND_UNROLL
  for (int c = 0; c < 4; ++c) {
    ATTEND_UNROLL
    for (int half = 0; half < 2; ++half) {
      t[c + 4 * half] = _mm512_maskz_shuffle_f32x4(0xffff, rows[c + 8 * half], rows[c + 8 * half + 4], 0x88);
      t[c + 4 * half + 8] = _mm512_maskz_shuffle_f32x4(0xffff, rows[c + 8 * half], rows[c + 8 * half + 4], 0xdd);
    }
  }
  ATTEND_UNROLL
  for (int c = 0; c < 4; ++c) {
    rows[c] = _mm512_maskz_shuffle_f32x4(0xffff, t[c], t[c + 4], 0x88);
    rows[c + 8] = _mm512_maskz_shuffle_f32x4(0xffff, t[c], t[c + 4], 0xdd);
    rows[c + 4] = _mm512_maskz_shuffle_f32x4(0xffff, t[c + 8], t[c + 12], 0x88);
    rows[c + 12] = _mm512_maskz_shuffle_f32x4(0xffff, t[c + 8], t[c + 12], 0xdd);
  }
}

ATTEND_INLINE Vector sum_lanes(const Vector (&rows)[16]) {
  Vector fours[4], eights[2];
  ATTEND_UNROLL
  for (int i = 0; i < 4; ++i) {
    __m512d twos[2];
    ATTEND_UNROLL
    for (int n = 0; n < 2; ++n) {
      const Vector a = rows[4 * i + 2 * n], b = rows[4 * i + 2 * n + 1];
      twos[n] = _mm512_castps_pd(_mm512_add_ps(_mm512_maskz_unpacklo_ps(0xffff, a, b), _mm512_maskz_unpackhi_ps(0xffff, a, b)));
    }
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, twos[0], twos[1])),
                             _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, twos[0], twos[1])));
  }
  ATTEND_UNROLL
  for (int i = 0; i < 2; ++i) {
    eights[i] = _mm512_add_ps(_mm512_maskz_shuffle_f32x4(0xffff, fours[2 * i], fours[2 * i + 1], 0x88),
                              _mm512_maskz_shuffle_f32x4(0xffff, fours[2 * i], fours[2 * i + 1], 0xdd));
  }
  return _mm512_add_ps(_mm512_maskz_shuffle_f32x4(0xffff, eights[0], eights[1], 0x88),
                       _mm512_maskz_shuffle_f32x4(0xffff, eights[0], eights[1], 0xdd));
}

ATTEND_INLINE void separate_pairs(Vector& a, Vector& b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const Vector x = _mm512_permutex2var_ps(a, even, b);
  b = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
  a = x;
}
ATTEND_INLINE void join_pairs(Vector& a, Vector& b) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const Vector first = _mm512_permutex2var_ps(a, low, b);
  b = _mm512_permutex2var_ps(a, _mm512_add_epi32(low, _mm512_set1_epi32(8)), b);
  a = first;
}

// 2^f on [0, 1), as x is floor and fraction here: the other ISAs' adds and shifts are no faster within a tile (78.8 % of the peak to 79.6
// on Zen 4), and round worse.
constexpr float exp2_coefficients[5] = {0x1.62e4bap-1f, 0x1.ebdb66p-3f, 0x1.c91ca6p-5f,
                                        0x1.2778bcp-7f, 0x1.e974e2p-10f};
// scale_by_exponent takes any.
ATTEND_INLINE Vector clamp_exponent(Vector x) { return x; }
// x - floor(x). From a register: with a memory operand, vreduceps takes four times as long on Zen 4.
ATTEND_INLINE Vector exponent_fraction(Vector x) {
  asm("" : "+v"(x));
  return _mm512_reduce_ps(x, 1);
}
// p 2^floor(x); 0 where x < -126, so that no denormal arises.
ATTEND_INLINE Vector scale_by_exponent(Vector p, Vector x) {
  const Mask normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(normal, p, x);
}

}}}  // namespace attend::avx512
