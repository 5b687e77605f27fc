// The vector of NEON on aarch64: 4 floats in a register. vec_scalar.h says what each operation gives.
#include <arm_neon.h>

namespace attend { namespace neon { namespace {

using Vector = float32x4_t;
using Mask = uint32x4_t;
constexpr int lanes = 4;
constexpr int scalar_group = 4;  // a multiply-add takes its scalar from a lane of a loaded vector
using Scalars = float32x4_t;

ATTEND_INLINE Vector zero() { return vdupq_n_f32(0.0f); }
ATTEND_INLINE Vector broadcast(float x) { return vdupq_n_f32(x); }
ATTEND_INLINE Vector load(const float* p) { return vld1q_f32(p); }
ATTEND_INLINE void store(float* p, Vector x) { vst1q_f32(p, x); }
ATTEND_INLINE Vector load_partial(const float* p, std::int64_t count) {
  if (count >= 4) return vld1q_f32(p);
  Vector x = zero();
  if (count > 0) x = vsetq_lane_f32(p[0], x, 0);
  if (count > 1) x = vsetq_lane_f32(p[1], x, 1);
  if (count > 2) x = vsetq_lane_f32(p[2], x, 2);
  return x;
}
ATTEND_INLINE void store_partial(float* p, Vector x, std::int64_t count) {
  if (count >= 4) {
    vst1q_f32(p, x);
    return;
  }
  if (count > 0) p[0] = vgetq_lane_f32(x, 0);
  if (count > 1) p[1] = vgetq_lane_f32(x, 1);
  if (count > 2) p[2] = vgetq_lane_f32(x, 2);
}
ATTEND_INLINE Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
ATTEND_INLINE Vector subtract(Vector a, Vector b) { return vsubq_f32(a, b); }
ATTEND_INLINE Vector multiply(Vector a, Vector b) { return vmulq_f32(a, b); }
ATTEND_INLINE Vector divide(Vector a, Vector b) { return vdivq_f32(a, b); }
ATTEND_INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
ATTEND_INLINE Vector maximum(Vector a, Vector b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
ATTEND_INLINE Vector minimum(Vector a, Vector b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
ATTEND_INLINE Mask less(Vector a, Vector b) { return vcltq_f32(a, b); }
ATTEND_INLINE Mask unlike(Vector a, Vector b) { return vmvnq_u32(vceqq_f32(a, b)); }
ATTEND_INLINE Mask nonzero_bytes(const std::uint8_t* p) {
  const uint32x4_t bytes = {p[0], p[1], p[2], p[3]};
  return vtstq_u32(bytes, bytes);
}
ATTEND_INLINE Mask mask_of(std::uint32_t bits, int vector) {
  const uint32x4_t first = {1, 2, 4, 8};
  return vtstq_u32(vdupq_n_u32(bits), vshlq_u32(first, vdupq_n_s32(4 * vector)));
}
ATTEND_INLINE void keep_bit(std::uint32_t* words, Mask m, std::uint32_t bit) {
  vst1q_u32(words, vandq_u32(vld1q_u32(words), vorrq_u32(m, vdupq_n_u32(~bit))));
}
ATTEND_INLINE void take_bits(std::uint32_t* words, const std::uint8_t* bits, int shift) {
  const uint32x4_t taken = {bits[0], bits[1], bits[2], bits[3]};
  vst1q_u32(words, vbicq_u32(vld1q_u32(words), vshlq_u32(taken, vdupq_n_s32(shift))));
}
ATTEND_INLINE Mask both(Mask a, Mask b) { return vandq_u32(a, b); }
ATTEND_INLINE bool any(Mask a) { return vmaxvq_u32(a) != 0; }
ATTEND_INLINE Vector select(Mask m, Vector a, Vector b) { return vbslq_f32(m, a, b); }
ATTEND_INLINE Scalars load_scalars(const float* p) { return vld1q_f32(p); }
// An asm instruction, which stays in its place: around intrinsics compilers move loads to where in-order CPUs wait for them, and the loops
// take 40 to 53 % of a Cortex-A55's peak, not 61 to 68, g++'s projections 94 % of a Neoverse-N1's, not 100 (by llvm-mca).
ATTEND_INLINE Vector multiply_add_scalar(Scalars a, int index, Vector b, Vector c) {
  switch (index) {
    case 0: asm volatile("fmla %0.4s, %1.4s, %2.s[0]" : "+w"(c) : "w"(b), "w"(a)); return c;
    case 1: asm volatile("fmla %0.4s, %1.4s, %2.s[1]" : "+w"(c) : "w"(b), "w"(a)); return c;
    case 2: asm volatile("fmla %0.4s, %1.4s, %2.s[2]" : "+w"(c) : "w"(b), "w"(a)); return c;
    default: asm volatile("fmla %0.4s, %1.4s, %2.s[3]" : "+w"(c) : "w"(b), "w"(a)); return c;
  }
}
// Keeps a load between the multiply-adds before and after it.
ATTEND_INLINE void keep_order(Vector& x) { asm volatile("" : "+w"(x)); }
ATTEND_INLINE Vector load_once(const float* p) { return load(p); }  // operands are registers here
constexpr bool has_prefetch = true, has_prefetch_far = false;
ATTEND_INLINE void prefetch_far(const float*) {}
ATTEND_INLINE void prefetch(const float* p) { __builtin_prefetch(p); }

ATTEND_INLINE void transpose(Vector (&rows)[4]) {
  const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(rows[0], rows[1]));
  const float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(rows[0], rows[1]));
  const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(rows[2], rows[3]));
  const float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(rows[2], rows[3]));
  rows[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
  rows[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
  rows[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
  rows[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}

ATTEND_INLINE Vector sum_lanes(const Vector (&rows)[4]) {
  return vpaddq_f32(vpaddq_f32(rows[0], rows[1]), vpaddq_f32(rows[2], rows[3]));
}

ATTEND_INLINE void separate_pairs(Vector& a, Vector& b) {
  const Vector x = vuzp1q_f32(a, b);
  b = vuzp2q_f32(a, b);
  a = x;
}
ATTEND_INLINE void join_pairs(Vector& a, Vector& b) {
  const Vector first = vzip1q_f32(a, b);
  b = vzip2q_f32(a, b);
  a = first;
}

constexpr float exp2_coefficients[5] = {0x1.62e42ap-1f, 0x1.ebf9bap-3f, 0x1.c6b718p-5f,
                                        0x1.3ceaf4p-7f, 0x1.5bba2cp-10f};
ATTEND_INLINE Vector clamp_exponent(Vector x) { return vmaxq_f32(x, vdupq_n_f32(-127.0f)); }
constexpr float exponent_shift = 0x1.8p23f + 127.0f;
ATTEND_INLINE Vector round_bits(Vector x) { return vaddq_f32(x, vdupq_n_f32(exponent_shift)); }
ATTEND_INLINE Vector exponent_fraction(Vector x) { return vsubq_f32(x, vsubq_f32(round_bits(x), vdupq_n_f32(exponent_shift))); }
ATTEND_INLINE Vector scale_by_exponent(Vector p, Vector x) {
  return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(round_bits(x)), 23)));
}

}}}  // namespace attend::neon
