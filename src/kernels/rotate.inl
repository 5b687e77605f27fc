// Rotary embedding of one row: pairs of elements, each turned by an angle whose cosine and sine are given.

// (x, y) -> (x cos - y sin, y cos + x sin) for the pairs from n on, of which `left` are left.
ATTEND_INLINE void turn(const RotateArguments& a, std::int64_t n, std::int64_t left, Vector& x, Vector& y) {
  const Vector cosine = copy_in(a.cosines + n, left, 1, 0.0f), sine = copy_in(a.sines + n, left, 1, 0.0f);
  const Vector turned = multiply_add(x, cosine, multiply(y, subtract(zero(), sine)));
  y = multiply_add(y, cosine, multiply(x, sine));
  x = turned;
}

// Rotates whole vectors of pairs, in rows whose elements lie side by side. Returns how many pairs it has rotated.
ATTEND_INLINE std::int64_t rotate_vectors(const RotateArguments& a) {
  std::int64_t n = 0;
  for (; n + lanes <= a.pairs; n += lanes) {
    const std::int64_t first = a.interleaved ? 2 * n : n, second = a.interleaved ? 2 * n + lanes : n + a.pairs;
    Vector x = load(a.source + first), y = load(a.source + second);
    if (a.interleaved) separate_pairs(x, y);
    turn(a, n, lanes, x, y);
    if (a.interleaved) join_pairs(x, y);
    store(a.destination + first, x);
    store(a.destination + second, y);
  }
  return n;
}

void rotate(const RotateArguments* arguments) {
  const RotateArguments& a = *arguments;
  const std::int64_t rotated = 2 * a.pairs;
  // From pair to pair, and from the first of a pair to the second.
  const std::int64_t step = a.interleaved ? 2 : 1, partner = a.interleaved ? 1 : a.pairs;
  const bool adjacent = a.source_stride == 1 && a.destination_stride == 1;
  for (std::int64_t n = adjacent ? rotate_vectors(a) : 0; n < a.pairs; n += lanes) {
    const std::int64_t left = a.pairs - n, first = n * step, second = first + partner;
    Vector x = copy_in(a.source + first * a.source_stride, left, step * a.source_stride, 0.0f);
    Vector y = copy_in(a.source + second * a.source_stride, left, step * a.source_stride, 0.0f);
    turn(a, n, left, x, y);
    copy_out(x, left, a.destination + first * a.destination_stride, step * a.destination_stride);
    copy_out(y, left, a.destination + second * a.destination_stride, step * a.destination_stride);
  }
  if (a.source == a.destination || rotated == a.columns) return;
  const CopyArguments rest = {a.source + rotated * a.source_stride,           0, a.source_stride,
                              a.destination + rotated * a.destination_stride, 0, a.destination_stride,
                              1,                                              a.columns - rotated};
  copy(&rest);
}
