// Weights of int4 of AVX-512 VNNI, times int8 rows.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__AVX512VNNI__)
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni"
#endif
#include "kernels/vec_avx512.h"

namespace attend { namespace avx512 { namespace vnni_int4 { namespace {

#include "kernels/int4_avx512.inl"

struct Int4 : Int4Format<Int4, 8, 2>, Int4Operations {
  static constexpr bool holds_groups = true;
  static ATTEND_INLINE Integers multiply_add(__m512i word, __m512i weights, Integers sum) {
#if defined(__clang__)
    return _mm512_dpbusd_epi32(sum, weights, word);
#else
    asm("vpdpbusd %1, %2, %0" : "+v"(sum) : "v"(word), "v"(weights));
    return sum;
#endif
  }
  static ATTEND_INLINE Integers widen(Integers narrow) { return narrow; }
};

#include "kernels/int4_products.inl"

constexpr Product product = int8_product(cpu_avx512_vnni, "vpdpbusd");
constexpr Products products = {Isa::avx512, &product, 1};

}}}  // namespace avx512::vnni_int4

extern const Products avx512_vnni_int4;
const Products avx512_vnni_int4 = avx512::vnni_int4::products;

}  // namespace attend
