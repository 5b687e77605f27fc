// The products of AVX-512 VNNI: int8 rows as bytes.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__AVX512VNNI__)
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni"
#endif
#include "kernels/vec_avx512.h"

namespace attend { namespace avx512 { namespace vnni { namespace {

#include "kernels/integers_avx512.inl"
#include "kernels/formats.inl"

struct Int8 : Int8Format<Int8, 8, 3, true> {
  static constexpr int vector_bytes = 4 * lanes;
  using Weights = __m512i;
  static ATTEND_INLINE Integers nothing() { return _mm512_setzero_si512(); }
  static ATTEND_INLINE __m512i load_row(const float* word, int) { return _mm512_castps_si512(broadcast(*word)); }
  static ATTEND_INLINE __m512i load_weights(const char* panel, int) { return _mm512_loadu_si512(panel); }
  static ATTEND_INLINE Integers multiply_add(__m512i word, __m512i weights, Integers sum) {
#if defined(__clang__)
    return _mm512_dpbusd_epi32(sum, word, weights);
#else
    asm("vpdpbusd %1, %2, %0" : "+v"(sum) : "v"(weights), "v"(word));
    return sum;
#endif
  }
  static ATTEND_INLINE Integers subtract_product(Integers sum, float zero_point, const std::int32_t* sums) {
    const __m512i factor = _mm512_castps_si512(broadcast(zero_point));
    return _mm512_sub_epi32(sum, _mm512_mullo_epi32(factor, _mm512_loadu_si512(sums)));
  }
};

ATTEND_INLINE void store_bytes(float* row, std::int64_t d, Vector x) {
  const __m128i bytes = _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_maskz_cvtps_epi32(0xffff, x));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(reinterpret_cast<std::uint8_t*>(row) + d), bytes);
}

void gemm_int8(const GemmArguments* arguments) { gemm_of<Int8>(arguments); }
void convert_to_bytes(const ConvertRowArguments* arguments) { quantize_row<true, store_bytes>(*arguments); }

constexpr Product int8_product = {WeightType::int8, Arithmetic::int8, cpu_avx512_vnni, "vpdpbusd", Int8::tile_vectors * lanes, Int8::tile_rows, Int8::middle_rows, 1, 4, 1, 0, convert_to_bytes, gemm_int8};

constexpr Products products = {Isa::avx512, &int8_product, 1};

}}}  // namespace avx512::vnni

extern const Products avx512_vnni;
const Products avx512_vnni = avx512::vnni::products;

}  // namespace attend
