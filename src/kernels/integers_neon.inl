// 4 integers of NEON.

using Integers = int32x4_t;
ATTEND_INLINE Vector to_floats(Integers x) { return vcvtq_f32_s32(x); }
ATTEND_INLINE Vector fused_multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
ATTEND_INLINE void store_int8(char* p, Vector x) {
  const int16x4_t shorts = vmovn_s32(vcvtnq_s32_f32(x));
  const std::int32_t bytes = vget_lane_s32(vreinterpret_s32_s8(vmovn_s16(vcombine_s16(shorts, shorts))), 0);
  __builtin_memcpy(p, &bytes, sizeof bytes);
}
