// 4 integers of NEON, and floats as bfloat16 rounds them.

using Integers = int32x4_t;
ATTEND_INLINE Vector to_floats(Integers x) { return vcvtq_f32_s32(x); }
ATTEND_INLINE Vector fused_multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
ATTEND_INLINE Vector nearest_bfloat16(Vector x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x), high = vdupq_n_u32(0xffff0000u);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vandq_u32(vaddq_u32(vaddq_u32(bits, odd), vdupq_n_u32(0x7fff)), high);
  const uint32x4_t quiet = vandq_u32(vorrq_u32(bits, vdupq_n_u32(0x400000)), high);
  return vreinterpretq_f32_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet));
}
// Denormals to zero.
ATTEND_INLINE Vector round_to_bfloat16(Vector x) {
  const uint32x4_t rounded = vreinterpretq_u32_f32(nearest_bfloat16(x)), normal = vtstq_u32(rounded, vdupq_n_u32(0x7f800000u));
  return vreinterpretq_f32_u32(vbslq_u32(normal, rounded, vandq_u32(rounded, vdupq_n_u32(0x80000000u))));
}
ATTEND_INLINE void store_int8(char* p, Vector x) {
  const int16x4_t shorts = vmovn_s32(vcvtnq_s32_f32(x));
  const std::int32_t bytes = vget_lane_s32(vreinterpret_s32_s8(vmovn_s16(vcombine_s16(shorts, shorts))), 0);
  __builtin_memcpy(p, &bytes, sizeof bytes);
}
