// The product of NEON's matrix products of bytes (Armv8.6 I8MM): int8 rows as bytes, two rows at a time.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__ARM_FEATURE_MATMUL_INT8)
#error "compile this file with -march=armv8.2-a+i8mm"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace i8mm { namespace {

#include "kernels/integers_neon.inl"
#include "kernels/formats.inl"
#include "kernels/signed_rows_neon.inl"
#include "kernels/row_pairs_neon.inl"

// The loop of the whole tile takes 7 cycles for its 24 smmla on a Neoverse-V1 and 14 on an N2, 86 % of what these can do: to join two rows takes
// the place of an smmla. On a Cortex-A510, where loads wait, it takes 38 (clang) or 44 (g++). The 48 sdot instead take 12, 24 and 74 (llvm-mca;
// never timed on hardware).
struct Int8 : RowPairs<Int8, SignedInt8Format<Int8, 8, 3>> {
  static ATTEND_INLINE Integers multiply_add(Vector rows, Vector columns, Integers sum) {
    return vmmlaq_s32(sum, vreinterpretq_s8_f32(rows), vreinterpretq_s8_f32(columns));
  }
};

void gemm_int8(const GemmArguments* arguments) { gemm_of<Int8>(arguments); }
void convert_to_bytes(const ConvertRowArguments* arguments) { quantize_row<true, store_bytes, Int8::step_bytes>(*arguments); }

constexpr Product int8_product = {WeightType::int8, Arithmetic::int8, cpu_neon_i8mm, "smmla", Int8::tile_vectors * lanes, Int8::tile_rows, Int8::middle_rows, 1, Int8::step_bytes, 1, row_offset, convert_to_bytes, gemm_int8};

constexpr Products products = {Isa::neon, &int8_product, 1};

}}}  // namespace neon::i8mm

extern const Products neon_i8mm;
const Products neon_i8mm = neon::i8mm::products;

}  // namespace attend
