// The vector of plain C++: one float.
namespace attend { namespace scalar { namespace {

using Vector = float;
using Mask = bool;
constexpr int lanes = 1;
constexpr int scalar_group = 1;
using Scalars = float;

ATTEND_INLINE Vector zero() { return 0.0f; }
ATTEND_INLINE Vector broadcast(float x) { return x; }
ATTEND_INLINE Vector load(const float* p) { return *p; }
ATTEND_INLINE void store(float* p, Vector x) { *p = x; }
ATTEND_INLINE Vector load_partial(const float* p, std::int64_t) { return *p; }
ATTEND_INLINE void store_partial(float* p, Vector x, std::int64_t) { *p = x; }
ATTEND_INLINE Vector add(Vector a, Vector b) { return a + b; }
ATTEND_INLINE Vector subtract(Vector a, Vector b) { return a - b; }
ATTEND_INLINE Vector multiply(Vector a, Vector b) { return a * b; }
ATTEND_INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }  // rounds twice
ATTEND_INLINE Vector maximum(Vector a, Vector b) { return a > b ? a : b; }
ATTEND_INLINE Mask less(Vector a, Vector b) { return a < b; }
ATTEND_INLINE Mask unlike(Vector a, Vector b) { return !(a == b); }
ATTEND_INLINE Mask both(Mask a, Mask b) { return a && b; }
ATTEND_INLINE bool any(Mask a) { return a; }
ATTEND_INLINE Vector select(Mask m, Vector a, Vector b) { return m ? a : b; }
ATTEND_INLINE Scalars load_scalars(const float* p, std::int64_t) { return *p; }
ATTEND_INLINE Vector multiply_add_scalar(Scalars a, int, Vector b, Vector c) { return a * b + c; }
ATTEND_INLINE void keep_order(Vector&) {}
ATTEND_INLINE void prefetch(const float*) {}

ATTEND_INLINE void transpose(Vector (&)[1]) {}

// 2^f on [-1/2, 1/2]: minimax with 2^0 = 1 pinned.
constexpr float exp2_coefficients[5] = {0x1.62e42ap-1f, 0x1.ebf9bap-3f, 0x1.c6b718p-5f,
                                        0x1.3ceaf4p-7f, 0x1.5bba2cp-10f};
// x rounded to the nearest integer stands in the low bits of x + 1.5 * 2^23, for |x| < 2^22.
ATTEND_INLINE Vector round_bits(Vector x) { return x + 0x1.8p23f; }
ATTEND_INLINE Vector exponent_fraction(Vector x) { return x - (round_bits(x) - 0x1.8p23f); }
// p 2^round(x); 0 where x < -126, so that no denormal arises.
ATTEND_INLINE Vector scale_by_exponent(Vector p, Vector x) {
  const float rounded = round_bits(x);
  std::uint32_t bits;
  __builtin_memcpy(&bits, &rounded, 4);
  bits = (bits << 23) + 0x3f800000u;
  float scale;
  __builtin_memcpy(&scale, &bits, 4);
  return x < -126.0f ? 0.0f : p * scale;
}

}}}  // namespace attend::scalar
