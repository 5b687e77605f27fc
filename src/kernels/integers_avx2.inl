// 8 integers of AVX2.

using Integers = __m256i;
ATTEND_INLINE Vector to_floats(Integers x) { return _mm256_cvtepi32_ps(x); }
ATTEND_INLINE Vector fused_multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
ATTEND_INLINE void store_int8(char* p, Vector x) {
  const __m256i integers = _mm256_cvtps_epi32(x);
  const __m128i shorts = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(shorts, shorts));
}
