// 2^x, the exponential of every softmax here: a polynomial of degree 5 times a power of two.

ATTEND_INLINE Vector exp2(Vector x) {
  x = clamp_exponent(x);
  const Vector f = exponent_fraction(x);
  Vector p = broadcast(exp2_coefficients[4]);
  ATTEND_UNROLL
  for (int power = 3; power >= 0; --power) p = multiply_add(p, f, broadcast(exp2_coefficients[power]));
  return scale_by_exponent(multiply_add(p, f, broadcast(1.0f)), x);
}

[[maybe_unused]] void exp2_array(const float* source, float* destination, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(destination + i, exp2(load(source + i)));
  if (i < count) {
    store_partial(destination + i, exp2(load_partial(source + i, count - i)), count - i);
  }
}
