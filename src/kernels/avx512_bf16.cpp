// The products of AVX-512 BF16: rows rounded to bfloat16, in pairs; and attention in bfloat16.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__AVX512BF16__)
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512bf16"
#endif
#include "kernels/vec_avx512.h"

namespace attend { namespace avx512 { namespace bf16 { namespace {

// The sizes of the tiles of the kernel table.
constexpr int score_rows = 8, wide_vectors = 2, middle_score_rows = 8, middle_vectors = 2, narrow_score_rows = 8, narrow_vectors = 1;

// Pairs times pairs, in place of the float32 of the kernels below.
ATTEND_INLINE Vector multiply_add_scalar(Scalars word, int, Vector pairs, Vector sum) {
#if defined(__clang__)
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(word), reinterpret_cast<__m512bh>(pairs));
#else
  asm("vdpbf16ps %1, %2, %0" : "+v"(sum) : "v"(pairs), "v"(word));
  return sum;
#endif
}

#include "kernels/integers_avx512.inl"
#include "kernels/formats.inl"
#include "kernels/bfloat16_core.inl"

struct Bfloat16 : Format<Bfloat16, FloatSums, 8, 3> {
  static constexpr int vector_bytes = 4 * lanes;
  using Weights = Vector;
  static ATTEND_INLINE Vector nothing() { return zero(); }
  static ATTEND_INLINE Vector load_row(const float* word, int) { return broadcast(*word); }
  static ATTEND_INLINE Vector load_weights(const char* panel, int) { return _mm512_loadu_ps(panel); }
  static ATTEND_INLINE Vector multiply_add(Vector word, Vector weights, Vector sum) { return multiply_add_scalar(word, 0, weights, sum); }
  template <int rows, int vectors>
  static ATTEND_INLINE void finish(const GemmArguments& arguments, const float* const (&)[rows], const Vector (&sums)[rows][vectors],
                                   Vector (&results)[rows][vectors]) {
    finish_floats<false>(arguments, sums, results);
  }
};

ATTEND_INLINE void store_halves(float* row, std::int64_t d, Vector x) {
  const __m256i halves = _mm512_maskz_cvtepi32_epi16(0xffff, _mm512_maskz_srli_epi32(0xffff, _mm512_castps_si512(round_to_bfloat16(x)), 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(reinterpret_cast<std::uint16_t*>(row) + d), halves);
}

void gemm_bfloat16(const GemmArguments* arguments) { gemm_of<Bfloat16>(arguments); }
void convert_to_halves(const ConvertRowArguments* arguments) { round_row<store_halves>(*arguments); }

constexpr Product bfloat16_product = {WeightType::bfloat16, Arithmetic::bfloat16, cpu_avx512_bf16, "vdpbf16ps", Bfloat16::tile_vectors * lanes, Bfloat16::tile_rows, Bfloat16::middle_rows, 2, 2, 2, 0, convert_to_halves, gemm_bfloat16};

constexpr CoreKernels core = {Isa::avx512, cpu_avx512_bf16, "vdpbf16ps", pair_queries, round_keys, pair_values, scores_general, accumulate};

constexpr Products products = {Isa::avx512, &bfloat16_product, 1, &core};

}}}  // namespace avx512::bf16

extern const Products avx512_bf16;
const Products avx512_bf16 = avx512::bf16::products;

}  // namespace attend
