// The products of low precision of AVX-512 without VNNI and BF16.
#include "kernels/compiler.h"
#include "kernels/flushed_denormals.h"
#include "kernels/cache_kernels.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__) || !defined(__AVX512VL__))
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl"
#endif
#include "kernels/vec_avx512.h"

namespace attend { namespace avx512 { namespace products { namespace {

constexpr Isa isa = Isa::avx512;
constexpr int gemm_rows = 8, gemm_vectors = 3, chained_panels = 1;
constexpr int stored_rows = 4, stored_vectors = 4;

#include "kernels/integers_avx512.inl"

ATTEND_INLINE Vector flushed_multiply_add(Vector a, Vector b, Vector c) { return multiply_add_scalar(a, 0, b, c); }
ATTEND_INLINE Vector widen_bfloat16(const char* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, halves), 16));
}
ATTEND_INLINE Vector widen_float16(const char* p) {
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
ATTEND_INLINE Vector widen_int8(const char* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, bytes));
}
ATTEND_INLINE Vector odd_bfloat16(const char* p) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
ATTEND_INLINE Vector even_bfloat16(const char* p) { return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, _mm512_loadu_si512(p), 16)); }
ATTEND_INLINE void store_bfloat16(char* p, Vector x) {
  const __m512i high = _mm512_maskz_srli_epi32(0xffff, _mm512_castps_si512(nearest_bfloat16(x)), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtepi32_epi16(0xffff, high));
}
ATTEND_INLINE void store_int8(char* p, Vector x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_maskz_cvtps_epi32(0xffff, x)));
}
ATTEND_INLINE void store_float16(char* p, Vector x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(0xffff, x, _MM_FROUND_TO_NEAREST_INT));
}

#include "kernels/formats.inl"

struct Int8 : Int8Format<Int8, 8, 3, false> {
  static constexpr int middle_rows = 1;
  static constexpr int vector_bytes = 2 * lanes;
  using Weights = __m512i;
  static ATTEND_INLINE Integers nothing() { return _mm512_setzero_si512(); }
  static ATTEND_INLINE __m512i load_row(const float* word, int) { return _mm512_castps_si512(broadcast(*word)); }
  static ATTEND_INLINE __m512i load_weights(const char* panel, int) {
    return _mm512_maskz_cvtepi8_epi16(0xffffffffu, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel)));
  }
  static ATTEND_INLINE Integers multiply_add(__m512i word, __m512i weights, Integers sum) {
    const __m512i products = _mm512_maskz_madd_epi16(0xffff, word, weights);
#if defined(__clang__)
    return _mm512_add_epi32(sum, products);
#else
    asm("vpaddd %1, %0, %0" : "+v"(sum) : "v"(products));
    return sum;
#endif
  }
};

ATTEND_INLINE void store_shorts(float* row, std::int64_t d, Vector x) {
  const __m256i shorts = _mm512_maskz_cvtepi32_epi16(0xffff, _mm512_maskz_cvtps_epi32(0xffff, x));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(reinterpret_cast<std::int16_t*>(row) + d), shorts);
}

constexpr const char* int8_instructions = "vpmaddwd";
constexpr const char* float_instructions = "vfmadd231ps";
constexpr unsigned float16_features = 0;

#include "kernels/every_product.inl"
#include "kernels/cache.inl"

constexpr Products products = {isa, every_product, sizeof every_product / sizeof every_product[0], nullptr, every_cache, sizeof every_cache / sizeof every_cache[0]};

}}}  // namespace avx512::products

extern const Products avx512_products;
const Products avx512_products = avx512::products::products;

}  // namespace attend
