// Weights of int4 of AVX-512 without VNNI: as AVX2's, twice as wide.
#include "kernels/compiler.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__) || !defined(__AVX512VL__))
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl"
#endif
#include "kernels/vec_avx512.h"

namespace attend { namespace avx512 { namespace int4 { namespace {

constexpr int gemm_rows = 8, gemm_vectors = 2, widened_rows = gemm_rows;  // three take 0.9 KiB of stack more

#include "kernels/int4_avx512.inl"

// p is from -128 to 127, w from 0 to 15: a pair of products is at most 3840, and the eight pairs of a step 30,720.
struct Int4 : Int4Format<Int4, 6, 2>, Int4Operations {
  static constexpr bool holds_groups = false;
  static ATTEND_INLINE __m512i multiply_add(__m512i word, __m512i weights, __m512i sum) {
    const __m512i products = _mm512_maskz_maddubs_epi16(0xffffffffu, weights, word);
#if defined(__clang__)
    return _mm512_add_epi16(sum, products);
#else
    asm("vpaddw %1, %0, %0" : "+v"(sum) : "v"(products));
    return sum;
#endif
  }
  static ATTEND_INLINE Integers widen(__m512i narrow) { return _mm512_maskz_madd_epi16(0xffff, narrow, _mm512_set1_epi16(1)); }
};

#include "kernels/int4_products.inl"
#include "kernels/int4_widened.inl"

constexpr Product list[] = {int8_product(0, "vpmaddubsw"), float32_product("vfmadd231ps")};
constexpr Products products = {Isa::avx512, list, 2};

}}}  // namespace avx512::int4

extern const Products avx512_int4;
const Products avx512_int4 = avx512::int4::products;

}  // namespace attend
