// The products of low precision of AVX2: int8 exact by widening to 16 bits, bfloat16 by multiply-adds, weights widened to floats.
#include "kernels/cache_kernels.h"
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__))
#error "compile this file with -mavx2 -mfma -mf16c"
#endif
#include "kernels/vec_avx2.h"

namespace attend { namespace avx2 { namespace products { namespace {

constexpr Isa isa = Isa::avx2;
constexpr int gemm_rows = 4, gemm_vectors = 3, chained_panels = 2;
constexpr int stored_rows = 4, stored_vectors = 2;

#include "kernels/integers_avx2.inl"
ATTEND_INLINE Vector flushed_multiply_add(Vector a, Vector b, Vector c) { return multiply_add_scalar(a, 0, b, c); }
ATTEND_INLINE Vector widen_bfloat16(const char* p) {
  const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_shuffle_epi8(both, _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7, -1, -1, 8, 9,
                                                                        -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15)));
}
ATTEND_INLINE Vector widen_float16(const char* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
ATTEND_INLINE Vector widen_int8(const char* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
ATTEND_INLINE Vector odd_bfloat16(const char* p) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
ATTEND_INLINE Vector even_bfloat16(const char* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16));
}
ATTEND_INLINE Vector nearest_bfloat16(Vector x) {
  const __m256i bits = _mm256_castps_si256(x), high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_and_si256(_mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff)), high);
  const __m256i quiet = _mm256_and_si256(_mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), high);
  return _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
// Denormals to zero.
ATTEND_INLINE Vector round_to_bfloat16(Vector x) {
  const __m256i rounded = _mm256_castps_si256(nearest_bfloat16(x)), exponent = _mm256_and_si256(rounded, _mm256_set1_epi32(0x7f800000));
  const __m256i denormal = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
  return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_and_si256(denormal, _mm256_set1_epi32(0x7fffffff)), rounded));
}
ATTEND_INLINE void store_bfloat16(char* p, Vector x) {
  const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(nearest_bfloat16(x)), 16);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
}
ATTEND_INLINE void store_float16(char* p, Vector x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

#include "kernels/formats.inl"

// Pairs of 16 bits: vpmaddwd is exact. Byte products of AVX2 saturate: 2 % of the weight pairs of a small model would overflow.
struct Int8 : Int8Format<Int8, 6, 2, false> {
  static constexpr int vector_bytes = 2 * lanes;
  using Weights = __m256i;
  static ATTEND_INLINE Integers nothing() { return _mm256_setzero_si256(); }
  static ATTEND_INLINE __m256i load_row(const float* word, int) { return _mm256_castps_si256(_mm256_broadcast_ss(word)); }
  static ATTEND_INLINE __m256i load_weights(const char* panel, int) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(panel)));
  }
  static ATTEND_INLINE Integers multiply_add(__m256i word, __m256i weights, Integers sum) {
    const __m256i products = _mm256_madd_epi16(word, weights);
#if defined(__clang__)
    return _mm256_add_epi32(sum, products);
#else  // left to itself, g++ spills sums: 64 % of the speed
    asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
    return sum;
#endif
  }
};

ATTEND_INLINE void store_shorts(float* row, std::int64_t d, Vector x) {
  const __m256i integers = _mm256_cvtps_epi32(x);
  const __m128i shorts = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(reinterpret_cast<std::int16_t*>(row) + d), shorts);
}

constexpr const char* int8_instructions = "vpmaddwd";
constexpr const char* float_instructions = "vfmadd231ps";
constexpr unsigned float16_features = cpu_f16c;

#include "kernels/every_product.inl"
#include "kernels/cache.inl"

constexpr Products products = {isa, every_product, sizeof every_product / sizeof every_product[0], nullptr, every_cache, sizeof every_cache / sizeof every_cache[0]};

}}}  // namespace avx2::products

extern const Products avx2_products;
const Products avx2_products = avx2::products::products;

}  // namespace attend
