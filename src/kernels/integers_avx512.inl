// 16 integers of AVX-512, and floats as bfloat16 rounds them.

using Integers = __m512i;
ATTEND_INLINE Vector to_floats(Integers x) { return _mm512_maskz_cvtepi32_ps(0xffff, x); }
ATTEND_INLINE Vector fused_multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
ATTEND_INLINE Vector nearest_bfloat16(Vector x) {
  const __m512i bits = _mm512_castps_si512(x), high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i odd = _mm512_and_si512(_mm512_maskz_srli_epi32(0xffff, bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_and_si512(_mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff)), high);
  const __m512i quiet = _mm512_and_si512(_mm512_or_si512(bits, _mm512_set1_epi32(0x400000)), high);
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet));
}
// Denormals to zero.
ATTEND_INLINE Vector round_to_bfloat16(Vector x) {
  const __m512i rounded = _mm512_castps_si512(nearest_bfloat16(x));
  const Mask normal = _mm512_test_epi32_mask(rounded, _mm512_set1_epi32(0x7f800000));
  return _mm512_castsi512_ps(_mm512_mask_and_epi32(rounded, static_cast<Mask>(~normal), rounded, _mm512_set1_epi32(static_cast<int>(0x80000000u))));
}
