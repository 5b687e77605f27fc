// The vector of AVX2 with FMA: 8 floats in a register. vec_scalar.h says what each operation gives.
#include <immintrin.h>

namespace attend { namespace avx2 { namespace {

using Vector = __m256;
using Mask = __m256;
constexpr int lanes = 8;
constexpr int scalar_group = 1;
using Scalars = __m256;

ATTEND_INLINE Vector zero() { return _mm256_setzero_ps(); }
ATTEND_INLINE Vector broadcast(float x) { return _mm256_set1_ps(x); }
ATTEND_INLINE Vector load(const float* p) { return _mm256_loadu_ps(p); }
ATTEND_INLINE void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
ATTEND_INLINE __m256i first(std::int64_t count) {
  const int bounded = count >= 8 ? 8 : static_cast<int>(count);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(bounded), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ATTEND_INLINE Vector load_partial(const float* p, std::int64_t count) {
  return _mm256_maskload_ps(p, first(count));
}
// Stores by pieces: a masked store is microcode on AMD (18 operations on Zen 4).
ATTEND_INLINE void store_partial(float* p, Vector x, std::int64_t count) {
  if (count >= 8) {
    _mm256_storeu_ps(p, x);
    return;
  }
  __m128 part = _mm256_castps256_ps128(x);
  if (count & 4) {
    _mm_storeu_ps(p, part);
    part = _mm256_extractf128_ps(x, 1);
    p += 4;
  }
  if (count & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
    part = _mm_movehl_ps(part, part);
    p += 2;
  }
  if (count & 1) _mm_store_ss(p, part);
}
ATTEND_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
ATTEND_INLINE Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
ATTEND_INLINE Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
ATTEND_INLINE Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
ATTEND_INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
ATTEND_INLINE Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
ATTEND_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
ATTEND_INLINE Mask less(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
ATTEND_INLINE Mask unlike(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
ATTEND_INLINE Mask nonzero_bytes(const std::uint8_t* p) {
  const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_cmpgt_epi32(bytes, _mm256_setzero_si256()));
}
// Bits 8 vector to 8 vector + 7, each as the sign of its element, which is all that a mask needs.
ATTEND_INLINE Mask mask_of(std::uint32_t bits, int vector) {
  const __m256i shifts = _mm256_sub_epi32(_mm256_set1_epi32(31 - 8 * vector), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return _mm256_castsi256_ps(_mm256_sllv_epi32(_mm256_set1_epi32(static_cast<int>(bits)), shifts));
}
ATTEND_INLINE void keep_bit(std::uint32_t* words, Mask m, std::uint32_t bit) {
  __m256i* const p = reinterpret_cast<__m256i*>(words);
  const __m256i kept = _mm256_or_si256(_mm256_castps_si256(m), _mm256_set1_epi32(static_cast<int>(~bit)));
  _mm256_storeu_si256(p, _mm256_and_si256(_mm256_loadu_si256(p), kept));
}
ATTEND_INLINE void take_bits(std::uint32_t* words, const std::uint8_t* bits, int shift) {
  __m256i* const p = reinterpret_cast<__m256i*>(words);
  const __m256i taken = _mm256_slli_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bits))), shift);
  _mm256_storeu_si256(p, _mm256_andnot_si256(taken, _mm256_loadu_si256(p)));
}
ATTEND_INLINE Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
ATTEND_INLINE bool any(Mask a) { return _mm256_movemask_ps(a) != 0; }
ATTEND_INLINE Vector select(Mask m, Vector a, Vector b) { return _mm256_blendv_ps(b, a, m); }
ATTEND_INLINE Scalars load_scalars(const float* p) { return _mm256_broadcast_ss(p); }
// An asm instruction for g++, whose tiles spill otherwise; clang would copy around it (README.md, gemm).
ATTEND_INLINE Vector multiply_add_scalar(Scalars a, int, Vector b, Vector c) {
#if defined(__clang__)
  return _mm256_fmadd_ps(a, b, c);
#else
  asm("vfmadd231ps %1, %2, %0" : "+x"(c) : "x"(b), "x"(a));
  return c;
#endif
}
// Keeps the load of the next row's scalar behind a row's last multiply-add: clang would load a step's scalars first, and spill.
ATTEND_INLINE void keep_order(Vector& x) {
#if defined(__clang__)
  asm volatile("" : "+x"(x) : : "memory");
#else
  (void)x;
#endif
}
// For a vector that several multiply-adds share: g++ would load it anew for each of them (README.md, decode_scores).
ATTEND_INLINE Vector load_once(const float* p) {
  Vector x = load(p);
  asm("" : "+x"(x));
  return x;
}
constexpr bool has_prefetch = true, has_prefetch_far = true;
ATTEND_INLINE void prefetch_far(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
ATTEND_INLINE void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

// By pairs, by fours, then by halves of the register.
ATTEND_INLINE void transpose(Vector (&rows)[8]) {
  Vector t[8];
  ATTEND_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  ATTEND_UNROLL
  for (int i = 0; i < 8; i += 4) {
    ATTEND_UNROLL
    for (int half = 0; half < 2; ++half) {
      rows[i + 2 * half] = _mm256_shuffle_ps(t[i + half], t[i + 2 + half], 0x44);
      rows[i + 2 * half + 1] = _mm256_shuffle_ps(t[i + half], t[i + 2 + half], 0xee);
    }
  }
  ATTEND_UNROLL
  for (int c = 0; c < 4; ++c) {
    t[c] = _mm256_permute2f128_ps(rows[c], rows[c + 4], 0x20);
    t[c + 4] = _mm256_permute2f128_ps(rows[c], rows[c + 4], 0x31);
  }
  ATTEND_UNROLL
  for (int i = 0; i < 8; ++i) rows[i] = t[i];
}

ATTEND_INLINE Vector sum_lanes(const Vector (&rows)[8]) {
  Vector fours[2];
  ATTEND_UNROLL
  for (int i = 0; i < 2; ++i) {
    Vector twos[2];
    ATTEND_UNROLL
    for (int n = 0; n < 2; ++n) {
      const Vector a = rows[4 * i + 2 * n], b = rows[4 * i + 2 * n + 1];
      twos[n] = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    }
    fours[i] = _mm256_add_ps(_mm256_shuffle_ps(twos[0], twos[1], 0x44), _mm256_shuffle_ps(twos[0], twos[1], 0xee));
  }
  return _mm256_add_ps(_mm256_permute2f128_ps(fours[0], fours[1], 0x20), _mm256_permute2f128_ps(fours[0], fours[1], 0x31));
}

ATTEND_INLINE Vector middle_swapped(Vector x) {  // quarters 0 2 1 3
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
}
ATTEND_INLINE void separate_pairs(Vector& a, Vector& b) {
  const Vector x = _mm256_shuffle_ps(a, b, 0x88), y = _mm256_shuffle_ps(a, b, 0xdd);
  a = middle_swapped(x);
  b = middle_swapped(y);
}
ATTEND_INLINE void join_pairs(Vector& a, Vector& b) {
  const Vector low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
  a = _mm256_permute2f128_ps(low, high, 0x20);
  b = _mm256_permute2f128_ps(low, high, 0x31);
}

constexpr float exp2_coefficients[5] = {0x1.62e42ap-1f, 0x1.ebf9bap-3f, 0x1.c6b718p-5f,
                                        0x1.3ceaf4p-7f, 0x1.5bba2cp-10f};
ATTEND_INLINE Vector clamp_exponent(Vector x) { return maximum(broadcast(-127.0f), x); }
constexpr float exponent_shift = 0x1.8p23f + 127.0f;
ATTEND_INLINE Vector round_bits(Vector x) { return _mm256_add_ps(x, broadcast(exponent_shift)); }
ATTEND_INLINE Vector exponent_fraction(Vector x) { return _mm256_sub_ps(x, _mm256_sub_ps(round_bits(x), broadcast(exponent_shift))); }
ATTEND_INLINE Vector scale_by_exponent(Vector p, Vector x) {
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(round_bits(x)), 23)));
}

}}}  // namespace attend::avx2
