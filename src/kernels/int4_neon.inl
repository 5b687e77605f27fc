// What the files of NEON have in common for weights of int4.

#include "kernels/integers_neon.inl"

ATTEND_INLINE Integers load_integers(const float* p) { return vreinterpretq_s32_f32(vld1q_f32(p)); }
ATTEND_INLINE Integers shift_right(Integers x, int count) { return vshlq_s32(x, vdupq_n_s32(-count)); }
ATTEND_INLINE Integers no_integers() { return vdupq_n_s32(0); }
ATTEND_INLINE Integers add_integers(Integers a, Integers b) { return vaddq_s32(a, b); }
ATTEND_INLINE Vector four_bits(Integers x, int bit) {
  return vreinterpretq_f32_s32(vbslq_s32(vdupq_n_u32(15u << bit), x, vdupq_n_s32(four_bits_exponent(bit))));
}

#include "kernels/formats.inl"
#include "kernels/int4.inl"

struct Int4Operations {
  using Weights = int8x16_t;
  static ATTEND_INLINE Integers load_words(const std::int16_t* p) { return vmovl_s16(vld1_s16(p)); }
  static ATTEND_INLINE Integers zeros_of(Integers word) { return vandq_s32(word, vdupq_n_s32(15)); }
  static ATTEND_INLINE int8x16_t load_weights(const char* numbers, int half) {
    const uint8x16_t pairs = vld1q_u8(reinterpret_cast<const std::uint8_t*>(numbers));
    return vreinterpretq_s8_u8(half != 0 ? vshrq_n_u8(pairs, 4) : vandq_u8(pairs, vdupq_n_u8(15)));
  }
  static ATTEND_INLINE Integers add_pairs(Integers word, const float* pair, Integers sum) {
    const Integers both = vmovl_s16(vreinterpret_s16_f32(float32x2_t{*pair, 0.0f}));
    // Of intrinsics clang makes broadcasts.
    asm("mla %0.4s, %1.4s, %2.s[0]" : "+w"(sum) : "w"(vshrq_n_s32(word, 4)), "w"(both));
    asm("mla %0.4s, %1.4s, %2.s[1]" : "+w"(sum) : "w"(zeros_of(word)), "w"(both));
    return sum;
  }
};

ATTEND_INLINE float sum_of(Vector x) { return vaddvq_f32(x); }
