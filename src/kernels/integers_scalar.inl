// 4 integers of plain C++, and fewer bits of them. A multiply-add rounds once, by libm.

using Integers = std::int32_t __attribute__((vector_size(16)));
ATTEND_INLINE Vector to_floats(Integers x) { return __builtin_convertvector(x, Vector); }
ATTEND_INLINE Vector fused_multiply_add(Vector a, Vector b, Vector c) {
  for (int i = 0; i < lanes; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
}
template <class Elements>
ATTEND_INLINE Elements load_elements(const void* p) {
  Elements x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
using Bytes = std::int8_t __attribute__((vector_size(4)));
using Shorts = std::int16_t __attribute__((vector_size(8)));
ATTEND_INLINE void store_int8(char* p, Vector x) {
  const Bytes bytes = __builtin_convertvector(x, Bytes);
  __builtin_memcpy(p, &bytes, sizeof bytes);
}
