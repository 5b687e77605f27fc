// Weights of int4 of NEON as every aarch64 has it.
#include "kernels/compiler.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(__aarch64__)
#error "this file is for aarch64"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace int4 { namespace {

constexpr int gemm_rows = 8, gemm_vectors = 2, widened_rows = gemm_rows;

#include "kernels/int4_neon.inl"

// p is from -128 to 127, w from 0 to 15: the eight products of a step that meet in 16 bits are at most 15,360.
struct Int4 : Int4Format<Int4, 4, 2>, Int4Operations {
  static constexpr int middle_rows = 1;
  static constexpr bool holds_groups = false;
  struct Narrow {
    int16x8_t low, high;
  };
  static ATTEND_INLINE int8x16_t load_row(const float* word) { return vreinterpretq_s8_f32(vld1q_dup_f32(word)); }
  static ATTEND_INLINE Narrow nothing() { return {vdupq_n_s16(0), vdupq_n_s16(0)}; }
  static ATTEND_INLINE Narrow multiply_add(int8x16_t word, int8x16_t weights, Narrow sum) {
    return {vmlal_s8(sum.low, vget_low_s8(word), vget_low_s8(weights)), vmlal_high_s8(sum.high, word, weights)};
  }
  static ATTEND_INLINE Integers widen(Narrow narrow) { return vpaddq_s32(vpaddlq_s16(narrow.low), vpaddlq_s16(narrow.high)); }
};

#include "kernels/int4_products.inl"
#include "kernels/int4_widened.inl"

constexpr Product list[] = {int8_product(0, "smlal"), float32_product("fmla")};
constexpr Products products = {Isa::neon, list, 2};

}}}  // namespace neon::int4

extern const Products neon_int4;
const Products neon_int4 = neon::int4::products;

}  // namespace attend
