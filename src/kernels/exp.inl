// 2^x, the exponential of every softmax here: a polynomial of degree 5 times a power of two.
//
// For -126 <= x <= 127: worst relative error 1.6e-7 (AVX-512, AVX2) and 1.8e-7 (scalar); 2^0 is exactly 1; 0 below
// -126.5 (AVX-512: -126), and a denormal at most in between; NaN stays. +inf gives inf or NaN, and any other x > 127 anything:
// the scores never keep such an exponential. Degree 4 costs 2.7e-6 and saves nothing that shows.

ATTEND_INLINE Vector exp2(Vector x) {
  x = clamp_exponent(x);
  const Vector f = exponent_fraction(x);
  Vector p = broadcast(exp2_coefficients[4]);
  ATTEND_UNROLL
  for (int power = 3; power >= 0; --power) p = multiply_add(p, f, broadcast(exp2_coefficients[power]));
  return scale_by_exponent(multiply_add(p, f, broadcast(1.0f)), x);
}

void exp2_array(const float* source, float* destination, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(destination + i, exp2(load(source + i)));
  if (i < count) {
    store_partial(destination + i, exp2(load_partial(source + i, count - i)), count - i);
  }
}
