// The vector of AVX-512: 16 floats in a register.
#include <immintrin.h>

namespace attend { namespace avx512 { namespace {

using Vector = __m512;
using Mask = __mmask16;
constexpr int lanes = 16;
constexpr int scalar_group = 1;
using Scalars = __m512;

ATTEND_INLINE Vector zero() { return _mm512_setzero_ps(); }
ATTEND_INLINE Vector broadcast(float x) { return _mm512_set1_ps(x); }
ATTEND_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
ATTEND_INLINE void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
ATTEND_INLINE Mask first(std::int64_t count) {
  return count >= 16 ? static_cast<Mask>(0xffff) : static_cast<Mask>((1u << count) - 1u);
}
ATTEND_INLINE Vector load_partial(const float* p, std::int64_t count) {
  return _mm512_maskz_loadu_ps(first(count), p);
}
ATTEND_INLINE void store_partial(float* p, Vector x, std::int64_t count) {
  _mm512_mask_storeu_ps(p, first(count), x);
}
ATTEND_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
ATTEND_INLINE Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
ATTEND_INLINE Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
ATTEND_INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// Masked with all ones: g++ 12 warns of an undefined operand in the plain form.
ATTEND_INLINE Vector maximum(Vector a, Vector b) { return _mm512_maskz_max_ps(0xffff, a, b); }
ATTEND_INLINE Mask less(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
ATTEND_INLINE Mask both(Mask a, Mask b) { return a & b; }
ATTEND_INLINE bool any(Mask a) { return a != 0; }
ATTEND_INLINE Vector select(Mask m, Vector a, Vector b) { return _mm512_mask_blend_ps(m, b, a); }
// Keeps a loaded vector in a register, where the compiler would fold the load into each use.
ATTEND_INLINE Vector hold(Vector x) { asm("" : "+v"(x)); return x; }
ATTEND_INLINE Scalars load_scalars(const float* p, std::int64_t) { return _mm512_set1_ps(*p); }
ATTEND_INLINE Vector multiply_add_scalar(Scalars a, int, Vector b, Vector c) {
  return _mm512_fmadd_ps(a, b, c);
}
ATTEND_INLINE void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

// 2^f on [0, 1): minimax with 2^0 = 1 pinned.
constexpr float exp2_coefficients[5] = {0x1.62e4bap-1f, 0x1.ebdb66p-3f, 0x1.c91ca6p-5f,
                                        0x1.2778bcp-7f, 0x1.e974e2p-10f};
ATTEND_INLINE Vector exponent_fraction(Vector x) { return _mm512_reduce_ps(x, 1); }  // x - floor(x)
// p 2^floor(x); 0 where x < -126, so that no denormal arises.
ATTEND_INLINE Vector scale_by_exponent(Vector p, Vector x) {
  const Mask normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(normal, p, x);
}

}}}  // namespace attend::avx512
