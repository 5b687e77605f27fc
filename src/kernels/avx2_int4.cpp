// Weights of int4 of AVX2: exact products of bytes, for sums of eight pairs stay within 16 bits.
#include "kernels/compiler.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX2__) || !defined(__FMA__))
#error "compile this file with -mavx2 -mfma"
#endif
#include "kernels/vec_avx2.h"

namespace attend { namespace avx2 { namespace int4 { namespace {

constexpr int gemm_rows = 4, gemm_vectors = 3, widened_rows = 1;

#include "kernels/integers_avx2.inl"
ATTEND_INLINE Integers load_integers(const float* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
ATTEND_INLINE Integers shift_right(Integers x, int count) { return _mm256_sra_epi32(x, _mm_cvtsi32_si128(count)); }
ATTEND_INLINE Integers low_four(Integers x) { return _mm256_and_si256(x, _mm256_set1_epi32(15)); }
ATTEND_INLINE Integers no_integers() { return _mm256_setzero_si256(); }
ATTEND_INLINE Integers add_integers(Integers a, Integers b) { return _mm256_add_epi32(a, b); }
ATTEND_INLINE Vector four_bits(Integers x, int bit) {
  return _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(x, _mm256_set1_epi32(15 << bit)), _mm256_set1_epi32(four_bits_exponent(bit))));
}

#include "kernels/formats.inl"
#include "kernels/int4.inl"

alignas(32) constexpr std::uint64_t low_halves[4] = {0x0f0f0f0f0f0f0f0f, 0x0f0f0f0f0f0f0f0f, 0x0f0f0f0f0f0f0f0f, 0x0f0f0f0f0f0f0f0f};

// p is from -128 to 127, w from 0 to 15: a pair of products is at most 3840, and the eight pairs of a step 30,720.
struct Int4 : Int4Format<Int4, 6, 2> {
  static constexpr bool holds_groups = false;
  using Narrow = __m256i;
  using Weights = __m256i;
  static ATTEND_INLINE Integers load_words(const std::int16_t* p) {
    const __m256i words = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_blend_epi16(_mm256_srai_epi32(words, 4), _mm256_slli_epi32(low_four(words), 16), 0xaa);
  }
  static ATTEND_INLINE Integers zeros_of(Integers word) { return _mm256_srli_epi32(word, 16); }
  static ATTEND_INLINE __m256i load_row(const float* word) { return _mm256_castps_si256(_mm256_broadcast_ss(word)); }
  static ATTEND_INLINE __m256i load_weights(const char* numbers, int half) {
    __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers));
    if (half != 0) pairs = _mm256_srli_epi16(pairs, 4);
    const std::uint64_t* halves = low_halves;
    asm("" : "+r"(halves));  // so that it stays in memory: in a register it would take that of a sum
    return _mm256_and_si256(pairs, _mm256_load_si256(reinterpret_cast<const __m256i*>(halves)));
  }
  static ATTEND_INLINE __m256i nothing() { return _mm256_setzero_si256(); }
  static ATTEND_INLINE __m256i multiply_add(__m256i word, __m256i weights, __m256i sum) {
    const __m256i products = _mm256_maddubs_epi16(weights, word);
#if defined(__clang__)
    return _mm256_add_epi16(sum, products);
#else  // left to itself, g++ spills sums
    asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(products));
    return sum;
#endif
  }
  static ATTEND_INLINE Integers widen(__m256i narrow) { return _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)); }
  static ATTEND_INLINE Integers add_pairs(Integers word, const float* pair, Integers sum) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(word, _mm256_castps_si256(_mm256_broadcast_ss(pair))));
  }
};


ATTEND_INLINE float sum_of(Vector x) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

#include "kernels/int4_products.inl"
#include "kernels/int4_widened.inl"
#include "kernels/int4_chunks.inl"

constexpr Product list[] = {int8_product(0, "vpmaddubsw"), float32_product("vfmadd231ps", gemm_int4_by_chunks)};
constexpr Products products = {Isa::avx2, list, 2};

}}}  // namespace avx2::int4

extern const Products avx2_int4;
const Products avx2_int4 = avx2::int4::products;

}  // namespace attend
