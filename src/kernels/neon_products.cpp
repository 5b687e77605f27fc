// The products of low precision of NEON as every aarch64 has it.
#include "kernels/compiler.h"
#include "kernels/flushed_denormals.h"
#include "kernels/cache_kernels.h"
#include "kernels/products.h"
#if !defined(__aarch64__)
#error "this file is for aarch64"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace products { namespace {

constexpr Isa isa = Isa::neon;
constexpr int gemm_rows = 8, gemm_vectors = 2, chained_panels = 2;
constexpr int stored_rows = 4, stored_vectors = 4;

#include "kernels/integers_neon.inl"
ATTEND_INLINE Vector flushed_multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
ATTEND_INLINE uint32x4_t load_words(const char* p) { return vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(p))); }
ATTEND_INLINE uint16x4_t load_halves(const char* p) { return vreinterpret_u16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(p))); }
ATTEND_INLINE Vector widen_bfloat16(const char* p) { return vreinterpretq_f32_u32(vshll_n_u16(load_halves(p), 16)); }
ATTEND_INLINE Vector widen_float16(const char* p) { return vcvt_f32_f16(vreinterpret_f16_u16(load_halves(p))); }
ATTEND_INLINE Vector widen_int8(const char* p) {
  std::int32_t bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  const int8x8_t four = vreinterpret_s8_s32(vdup_n_s32(bytes));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(four))));
}
ATTEND_INLINE Vector odd_bfloat16(const char* p) { return vreinterpretq_f32_u32(vandq_u32(load_words(p), vdupq_n_u32(0xffff0000u))); }
ATTEND_INLINE Vector even_bfloat16(const char* p) { return vreinterpretq_f32_u32(vshlq_n_u32(load_words(p), 16)); }
ATTEND_INLINE void store_bfloat16(char* p, Vector x) {
  vst1_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpret_u8_u16(vshrn_n_u32(vreinterpretq_u32_f32(nearest_bfloat16(x)), 16)));
}
ATTEND_INLINE void store_float16(char* p, Vector x) {
  vst1_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpret_u8_f16(vcvt_f16_f32(x)));
}

#include "kernels/formats.inl"

struct Int8 : Int8Format<Int8, 8, 2, false> {
  static constexpr int vector_bytes = 2 * lanes;
  struct Weights {
    int16x4_t even, odd;
  };
  static ATTEND_INLINE Integers nothing() { return vdupq_n_s32(0); }
  static ATTEND_INLINE int16x4_t load_row(const float* word, int) { return vreinterpret_s16_f32(vld1_dup_f32(word)); }
  static ATTEND_INLINE Weights load_weights(const char* panel, int) {
    const int16x8_t pairs = vmovl_s8(vld1_s8(reinterpret_cast<const std::int8_t*>(panel)));
    return {vget_low_s16(vuzp1q_s16(pairs, pairs)), vget_low_s16(vuzp2q_s16(pairs, pairs))};
  }
  static ATTEND_INLINE Integers multiply_add(int16x4_t word, const Weights& weights, Integers sum) {
    return vmlal_lane_s16(vmlal_lane_s16(sum, weights.even, word, 0), weights.odd, word, 1);
  }
};

ATTEND_INLINE void store_shorts(float* row, std::int64_t d, Vector x) {
  vst1_s16(reinterpret_cast<std::int16_t*>(row) + d, vmovn_s32(vcvtnq_s32_f32(x)));
}

constexpr const char* int8_instructions = "smlal";
constexpr const char* float_instructions = "fmla";
constexpr unsigned float16_features = 0;

#include "kernels/every_product.inl"
#include "kernels/cache.inl"

constexpr Products products = {isa, every_product, sizeof every_product / sizeof every_product[0], nullptr, every_cache, sizeof every_cache / sizeof every_cache[0]};

}}}  // namespace neon::products

extern const Products neon_products;
const Products neon_products = neon::products::products;

}  // namespace attend
