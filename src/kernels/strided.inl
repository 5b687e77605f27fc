// Vectors to and from memory whose elements may lie apart, and may be fewer than a vector.

alignas(64) constexpr float ascending[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Functions of their own move elements that lie apart, one by one: inlined wherever a vector may be strided, they were a fifth of all code.
ATTEND_NOINLINE void scatter(const float* row, std::int64_t count, float* destination, std::int64_t stride) {
  for (std::int64_t i = 0; i < lanes && i < count; ++i) destination[i * stride] = row[i];
}
ATTEND_NOINLINE void gather(const float* source, std::int64_t count, std::int64_t stride, float rest, float* row) {
  for (std::int64_t i = 0; i < lanes; ++i) row[i] = i < count ? source[i * stride] : rest;
}

// destination[i * stride] = x[i] for i < count; count may be more than a vector.
ATTEND_INLINE void copy_out(Vector x, std::int64_t count, float* destination, std::int64_t stride) {
  if (stride == 1) {
    if (count >= lanes) {
      store(destination, x);
    } else {
      store_partial(destination, x, count);
    }
    return;
  }
  float row[lanes];
  store(row, x);
  scatter(row, count, destination, stride);
}

// source[i * stride] for i < count, `rest` beyond.
ATTEND_INLINE Vector copy_in(const float* source, std::int64_t count, std::int64_t stride, float rest) {
  if (stride == 1 && count >= lanes) return load(source);
  if (stride == 1 && rest == 0.0f) return load_partial(source, count);
  float row[lanes];
  gather(source, count, stride, rest, row);
  return load(row);
}

ATTEND_INLINE float largest_of(Vector x) {
  float all[lanes];
  store(all, x);
  for (int i = 1; i < lanes; ++i) all[0] = all[i] > all[0] ? all[i] : all[0];
  return all[0];
}
