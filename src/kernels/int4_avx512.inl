// What the files of AVX-512 have in common for weights of int4.

#include "kernels/integers_avx512.inl"

ATTEND_INLINE Integers load_integers(const float* p) { return _mm512_loadu_si512(p); }
ATTEND_INLINE Integers shift_right(Integers x, int count) { return _mm512_maskz_sra_epi32(0xffff, x, _mm_cvtsi32_si128(count)); }
ATTEND_INLINE Integers low_four(Integers x) { return _mm512_and_si512(x, _mm512_set1_epi32(15)); }
ATTEND_INLINE Integers no_integers() { return _mm512_setzero_si512(); }
ATTEND_INLINE Integers add_integers(Integers a, Integers b) { return _mm512_add_epi32(a, b); }
ATTEND_INLINE Vector four_bits(Integers x, int bit) {
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(x, _mm512_set1_epi32(15 << bit), _mm512_set1_epi32(four_bits_exponent(bit)), 0xea));  // (a & b) | c
}

#include "kernels/formats.inl"
#include "kernels/int4.inl"

struct Int4Operations {
  using Narrow = __m512i;
  using Weights = __m512i;
  static ATTEND_INLINE Integers load_words(const std::int16_t* p) {
    const __m512i words = _mm512_maskz_cvtepi16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_maskz_srai_epi32(0xffff, words, 4), _mm512_maskz_slli_epi32(0xffff, low_four(words), 16));
  }
  static ATTEND_INLINE Integers zeros_of(Integers word) { return _mm512_maskz_srli_epi32(0xffff, word, 16); }
  static ATTEND_INLINE __m512i load_row(const float* word) { return _mm512_castps_si512(broadcast(*word)); }
  static ATTEND_INLINE __m512i load_weights(const char* numbers, int half) {
    __m512i pairs = _mm512_loadu_si512(numbers);
    if (half != 0) pairs = _mm512_maskz_srli_epi16(0xffffffffu, pairs, 4);
    return _mm512_and_si512(pairs, _mm512_set1_epi8(15));
  }
  static ATTEND_INLINE __m512i nothing() { return _mm512_setzero_si512(); }
  static ATTEND_INLINE Integers add_pairs(Integers word, const float* pair, Integers sum) {
    return _mm512_add_epi32(sum, _mm512_maskz_madd_epi16(0xffff, word, _mm512_castps_si512(broadcast(*pair))));
  }
};

ATTEND_INLINE float sum_of(Vector x) {
  float all[lanes];
  store(all, x);
  for (int i = 1; i < lanes; ++i) all[0] += all[i];
  return all[0];
}
ATTEND_INLINE void store_int8(char* p, Vector x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_maskz_cvtps_epi32(0xffff, x)));
}
