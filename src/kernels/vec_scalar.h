// The vector of plain C++: four floats by the compilers' portable vectors, which any CPU has. Not one, for g++ turns plain loops over
// columns into SSE by itself: with one float a vector, projections took 2.4 times their time.
namespace attend { namespace scalar { namespace {

using Vector = float __attribute__((vector_size(16)));
using Mask = std::int32_t __attribute__((vector_size(16)));
constexpr int lanes = 4;
constexpr int scalar_group = 1;  // scalars that load_scalars loads at once and multiply_add_scalar takes by lane: 1 or 4
using Scalars = Vector;

ATTEND_INLINE Vector broadcast(float x) { return Vector{x, x, x, x}; }
ATTEND_INLINE Vector zero() { return broadcast(0.0f); }
ATTEND_INLINE Vector load(const float* p) {
  Vector x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
ATTEND_INLINE void store(float* p, Vector x) { __builtin_memcpy(p, &x, sizeof x); }
ATTEND_INLINE Vector load_partial(const float* p, std::int64_t count) {
  if (count >= 4) return load(p);
  return Vector{count > 0 ? p[0] : 0.0f, count > 1 ? p[1] : 0.0f, count > 2 ? p[2] : 0.0f, 0.0f};
}
ATTEND_INLINE void store_partial(float* p, Vector x, std::int64_t count) {
  if (count >= 4) {
    store(p, x);
    return;
  }
  if (count > 0) p[0] = x[0];
  if (count > 1) p[1] = x[1];
  if (count > 2) p[2] = x[2];
}
ATTEND_INLINE Vector add(Vector a, Vector b) { return a + b; }
ATTEND_INLINE Vector subtract(Vector a, Vector b) { return a - b; }
ATTEND_INLINE Vector multiply(Vector a, Vector b) { return a * b; }
ATTEND_INLINE Vector divide(Vector a, Vector b) { return a / b; }
ATTEND_INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }  // rounds twice
ATTEND_INLINE Mask less(Vector a, Vector b) { return a < b; }
ATTEND_INLINE Mask unlike(Vector a, Vector b) { return a != b; }
ATTEND_INLINE Mask nonzero_bytes(const std::uint8_t* p) { return Mask{p[0], p[1], p[2], p[3]} != 0; }
ATTEND_INLINE Mask mask_of(std::uint32_t bits, int vector) {
  const std::int32_t own = static_cast<std::int32_t>(bits >> (4 * vector));
  return (Mask{own, own, own, own} & Mask{1, 2, 4, 8}) != 0;
}
ATTEND_INLINE void keep_bit(std::uint32_t* words, Mask m, std::uint32_t bit) {
  for (int i = 0; i < 4; ++i) words[i] &= static_cast<std::uint32_t>(m[i]) | ~bit;
}
ATTEND_INLINE void take_bits(std::uint32_t* words, const std::uint8_t* bits, int shift) {
  for (int i = 0; i < 4; ++i) words[i] &= ~(std::uint32_t{bits[i]} << shift);
}
ATTEND_INLINE Mask both(Mask a, Mask b) { return a & b; }
ATTEND_INLINE bool any(Mask a) { return (a[0] | a[1] | a[2] | a[3]) != 0; }
ATTEND_INLINE Vector select(Mask m, Vector a, Vector b) {
  return reinterpret_cast<Vector>((m & reinterpret_cast<Mask>(a)) | (~m & reinterpret_cast<Mask>(b)));
}
ATTEND_INLINE Vector maximum(Vector a, Vector b) { return select(a > b, a, b); }
ATTEND_INLINE Vector minimum(Vector a, Vector b) { return select(a < b, a, b); }
ATTEND_INLINE Scalars load_scalars(const float* p) { return broadcast(*p); }
ATTEND_INLINE Vector multiply_add_scalar(Scalars a, int, Vector b, Vector c) { return a * b + c; }
[[maybe_unused]] ATTEND_INLINE void keep_order(Vector&) {}  // keeps loads where they stand, where a compiler would move them
ATTEND_INLINE Vector load_once(const float* p) { return load(p); }  // where a compiler would load anew for each use
constexpr bool has_prefetch = false, has_prefetch_far = false;
ATTEND_INLINE void prefetch_far(const float*) {}
ATTEND_INLINE void prefetch(const float*) {}

// Exchanges rows[i][j] and rows[j][i].
ATTEND_INLINE void transpose(Vector (&rows)[4]) {
  const Vector t[4] = {rows[0], rows[1], rows[2], rows[3]};
  ATTEND_UNROLL
  for (int i = 0; i < 4; ++i) rows[i] = Vector{t[0][i], t[1][i], t[2][i], t[3][i]};
}

// Element i is the sum of rows[i]'s elements, by one tree.
ATTEND_INLINE Vector sum_lanes(const Vector (&rows)[4]) {
  Vector t[4] = {rows[0], rows[1], rows[2], rows[3]};
  transpose(t);
  return (t[0] + t[1]) + (t[2] + t[3]);
}

// Turns x0 y0 x1 y1 .., in a and then b, into the x in a, the y in b; join_pairs is the way back.
ATTEND_INLINE void separate_pairs(Vector& a, Vector& b) {
  const Vector x = {a[0], a[2], b[0], b[2]};
  b = Vector{a[1], a[3], b[1], b[3]};
  a = x;
}
ATTEND_INLINE void join_pairs(Vector& a, Vector& b) {
  const Vector first = {a[0], b[0], a[1], b[1]};
  b = Vector{a[2], b[2], a[3], b[3]};
  a = first;
}

// 2^f on [-1/2, 1/2]: minimax with 2^0 = 1 pinned.
constexpr float exp2_coefficients[5] = {0x1.62e42ap-1f, 0x1.ebf9bap-3f, 0x1.c6b718p-5f,
                                        0x1.3ceaf4p-7f, 0x1.5bba2cp-10f};
// From -126.5 down, 2^x is 0. NaN stays.
ATTEND_INLINE Vector clamp_exponent(Vector x) { return maximum(broadcast(-127.0f), x); }
// x + 1.5 * 2^23 + 127, for -127 <= x <= 127: its low bits are x rounded to the nearest integer, with the bias of exponents.
constexpr float exponent_shift = 0x1.8p23f + 127.0f;
ATTEND_INLINE Vector round_bits(Vector x) { return x + broadcast(exponent_shift); }
ATTEND_INLINE Vector exponent_fraction(Vector x) { return x - (round_bits(x) - broadcast(exponent_shift)); }
// p 2^round(x), 0 for x = -127
ATTEND_INLINE Vector scale_by_exponent(Vector p, Vector x) {
  using Bits = std::uint32_t __attribute__((vector_size(16)));
  return p * reinterpret_cast<Vector>(reinterpret_cast<Bits>(round_bits(x)) << 23);
}

}}}  // namespace attend::scalar
