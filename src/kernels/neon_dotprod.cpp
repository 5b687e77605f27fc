// The product of NEON's dot products (Armv8.2 DotProd): int8 rows as bytes.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__ARM_FEATURE_DOTPROD)
#error "compile this file with -march=armv8.2-a+dotprod"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace dotprod { namespace {

#include "kernels/integers_neon.inl"

#include "kernels/formats.inl"
#include "kernels/signed_rows_neon.inl"

// The loop of the whole tile takes 12 cycles for its 24 sdot on a Neoverse-N1, all of what that can do, and 48 on a Cortex-A55, where loads wait
// (llvm-mca, g++ and clang; never timed on hardware).
struct Int8 : SignedInt8Format<Int8, 8, 3> {
  static constexpr int vector_bytes = 4 * lanes;
  using Weights = int8x16_t;
  static ATTEND_INLINE Integers nothing() { return vdupq_n_s32(0); }
  static ATTEND_INLINE float load_row(const float* word, int) { return *word; }  // a lane of its own, for sdot takes it from there
  static ATTEND_INLINE int8x16_t load_weights(const char* panel, int) { return vld1q_s8(reinterpret_cast<const std::int8_t*>(panel)); }
  static ATTEND_INLINE Integers multiply_add(float word, int8x16_t weights, Integers sum) {
    asm("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(sum) : "w"(weights), "w"(word));  // of intrinsics compilers make a broadcast more for each row
    return sum;
  }
};

void gemm_int8(const GemmArguments* arguments) { gemm_of<Int8>(arguments); }
void convert_to_bytes(const ConvertRowArguments* arguments) { quantize_row<true, store_bytes>(*arguments); }

constexpr Product int8_product = {WeightType::int8, Arithmetic::int8, cpu_neon_dotprod, "sdot", Int8::tile_vectors * lanes, Int8::tile_rows, Int8::middle_rows, 1, 4, 1, row_offset, convert_to_bytes, gemm_int8};

constexpr Products products = {Isa::neon, &int8_product, 1};

}}}  // namespace neon::dotprod

extern const Products neon_dotprod;
const Products neon_dotprod = neon::dotprod::products;

}  // namespace attend
