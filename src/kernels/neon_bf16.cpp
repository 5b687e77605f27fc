// The product of NEON's matrix products of bfloat16 (Armv8.6 BF16): rows rounded to bfloat16, two rows at a time.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#error "compile this file with -march=armv8.2-a+bf16"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace bf16 { namespace {

#include "kernels/integers_neon.inl"
#include "kernels/formats.inl"
#include "kernels/row_pairs_neon.inl"

// The loop of the whole tile takes 7 cycles for its 24 bfmmla on a Neoverse-V1 and 14 on an N2, 86 % of what these can do, and on a Cortex-A510,
// where loads wait, 38 (clang) or 44 (g++); the loop of fmla takes 31 to 36, 62 and 102 to 111 for as many multiply-adds (llvm-mca; never timed on
// hardware). bfdot would take twice as many instructions for the same bits.
struct Bfloat16 : RowPairs<Bfloat16, Format<Bfloat16, FloatSums, 8, 3>> {
  static ATTEND_INLINE Vector multiply_add(Vector rows, Vector columns, Vector sum) {
    return vbfmmlaq_f32(sum, vreinterpretq_bf16_f32(rows), vreinterpretq_bf16_f32(columns));
  }
  template <int rows, int vectors>
  static ATTEND_INLINE void finish(const GemmArguments& arguments, const float* const (&)[rows], const Vector (&sums)[rows][vectors],
                                   Vector (&results)[rows][vectors]) {
    finish_floats<false>(arguments, sums, results);
  }
};

ATTEND_INLINE void store_halves(float* row, std::int64_t d, Vector x) {
  vst1_u16(reinterpret_cast<std::uint16_t*>(row) + d, vshrn_n_u32(vreinterpretq_u32_f32(round_to_bfloat16(x)), 16));
}

void gemm_bfloat16(const GemmArguments* arguments) { gemm_of<Bfloat16>(arguments); }
void convert_to_halves(const ConvertRowArguments* arguments) { round_row<store_halves>(*arguments); }

constexpr Product bfloat16_product = {WeightType::bfloat16, Arithmetic::bfloat16, cpu_neon_bf16, "bfmmla", Bfloat16::tile_vectors * lanes, Bfloat16::tile_rows, Bfloat16::middle_rows, 2, Bfloat16::step_bytes / 2, 2, 0, convert_to_halves, gemm_bfloat16};

constexpr Products products = {Isa::neon, &bfloat16_product, 1};

}}}  // namespace neon::bf16

extern const Products neon_bf16;
const Products neon_bf16 = neon::bf16::products;

}  // namespace attend
