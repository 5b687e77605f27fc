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

#include "kernels/integers_neon.inl"
ATTEND_INLINE Integers load_integers(const float* p) { return vreinterpretq_s32_f32(vld1q_f32(p)); }
ATTEND_INLINE Integers shift_right(Integers x, int count) { return vshlq_s32(x, vdupq_n_s32(-count)); }
ATTEND_INLINE Integers low_four(Integers x) { return vandq_s32(x, vdupq_n_s32(15)); }
ATTEND_INLINE Integers no_integers() { return vdupq_n_s32(0); }
ATTEND_INLINE Integers add_integers(Integers a, Integers b) { return vaddq_s32(a, b); }
ATTEND_INLINE Vector four_bits(Integers x, int bit) {
  return vreinterpretq_f32_s32(vbslq_s32(vdupq_n_u32(15u << bit), x, vdupq_n_s32(four_bits_exponent(bit))));
}

#include "kernels/formats.inl"
#include "kernels/int4.inl"

// p is from -128 to 127, w from 0 to 15: the eight products of a step that meet in 16 bits are at most 15,360.
struct Int4 : Int4Format<Int4, 4, 2> {
  static constexpr int middle_rows = 1;
  static constexpr bool holds_groups = false;
  struct Narrow {
    int16x8_t low, high;
  };
  using Weights = int8x16_t;
  static ATTEND_INLINE Integers load_words(const std::int16_t* p) { return vmovl_s16(vld1_s16(p)); }
  static ATTEND_INLINE Integers zeros_of(Integers word) { return low_four(word); }
  static ATTEND_INLINE int8x16_t load_row(const float* word) { return vreinterpretq_s8_f32(vld1q_dup_f32(word)); }
  static ATTEND_INLINE int8x16_t load_weights(const char* numbers, int half) {
    const uint8x16_t pairs = vld1q_u8(reinterpret_cast<const std::uint8_t*>(numbers));
    return vreinterpretq_s8_u8(half != 0 ? vshrq_n_u8(pairs, 4) : vandq_u8(pairs, vdupq_n_u8(15)));
  }
  static ATTEND_INLINE Narrow nothing() { return {vdupq_n_s16(0), vdupq_n_s16(0)}; }
  static ATTEND_INLINE Narrow multiply_add(int8x16_t word, int8x16_t weights, Narrow sum) {
    return {vmlal_s8(sum.low, vget_low_s8(word), vget_low_s8(weights)), vmlal_high_s8(sum.high, word, weights)};
  }
  static ATTEND_INLINE Integers widen(Narrow narrow) { return vpaddq_s32(vpaddlq_s16(narrow.low), vpaddlq_s16(narrow.high)); }
  static ATTEND_INLINE Integers add_pairs(Integers word, const float* pair, Integers sum) {
    std::int16_t both[2];
    __builtin_memcpy(both, pair, sizeof both);
    return vmlaq_n_s32(vmlaq_n_s32(sum, vshrq_n_s32(word, 4), both[0]), low_four(word), both[1]);
  }
};

ATTEND_INLINE float sum_of(Vector x) { return vaddvq_f32(x); }

#include "kernels/int4_products.inl"
#include "kernels/int4_widened.inl"

constexpr Product list[] = {int8_product(0, "smlal"), float32_product("fmla")};
constexpr Products products = {Isa::neon, list, 2};

}}}  // namespace neon::int4

extern const Products neon_int4;
const Products neon_int4 = neon::int4::products;

}  // namespace attend
