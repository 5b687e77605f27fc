// Converts rows to what a product takes: quantised to 8 bits, or rounded to bfloat16.

// Adding it rounds to an integer, to nearest with ties to even, what is smaller than 2^22.
constexpr float integer_magic = 0x1.8p+23f;

struct RowScale {
  float inverse, zero;  // q = clamp(round(x * inverse) + zero, 0, 255)
  float scale;          // NaN for a row that is not finite
};

// From the smaller of 0 and the smallest element to the larger of 0 and the largest. A range below 2^-118 would give an infinite inverse.
ATTEND_INLINE RowScale scale_of(const ConvertRowArguments& a) {
  Vector low = zero(), high = zero(), unlike_zero = zero(), before = zero();
  for (std::int64_t d = 0; d < a.depth; d += lanes) {
    const Vector x = copy_in(a.source + d * a.stride, a.depth - d, a.stride, 0.0f);
    low = minimum(x, low);
    high = maximum(x, high);
    const Vector next = multiply_add(x, zero(), before);  // NaN where an element is not finite; two chains, or they bound the speed
    before = unlike_zero;
    unlike_zero = next;
  }
  unlike_zero = add(unlike_zero, before);
  float lows[lanes], products[lanes];
  store(lows, low);
  store(products, unlike_zero);
  const float largest = largest_of(high);
  float smallest = 0.0f, product = 0.0f;
  for (int i = 0; i < lanes; ++i) {
    smallest = lows[i] < smallest ? lows[i] : smallest;
    product += products[i];
  }
  const float range = largest - smallest;
  if (product != product || !(range < infinity)) return {0.0f, 0.0f, __builtin_nanf("")};
  if (range < 0x1p-118f) return {0.0f, 0.0f, 0.0f};
  const float inverse = 255.0f / range, negative = -smallest * inverse;
  return {inverse, (negative + integer_magic) - integer_magic, range / 255.0f};
}

// store_integers stores a vector of integers from element d on. What follows the row's elements, up to a whole step, is 0.
template <bool has_zero, void (*store_integers)(float* row, std::int64_t d, Vector x), int step = depth_step>
ATTEND_INLINE void quantize_row(const ConvertRowArguments& a) {
  const RowScale scale = scale_of(a);
  float* const header = a.row - row_header;
  const std::int32_t zero_point = static_cast<std::int32_t>(scale.zero);
  header[0] = scale.scale;
  __builtin_memcpy(header + 1, &zero_point, sizeof zero_point);
  const bool empty = !(scale.scale > 0.0f);
  const Vector inverse = broadcast(scale.inverse), zero_of = broadcast(scale.zero), magic = broadcast(integer_magic);
  const Vector least = broadcast(has_zero ? 0.0f : -scale.zero), most = broadcast(has_zero ? 255.0f : 255.0f - scale.zero);
  const std::int64_t end = (a.depth + step - 1) / step * step;
  for (std::int64_t d = 0; d < end; d += lanes) {
    const Vector x = copy_in(a.source + d * a.stride, a.depth - d, a.stride, 0.0f);
    Vector q = subtract(add(multiply(x, inverse), magic), magic);
    if constexpr (has_zero) q = add(q, zero_of);
    q = minimum(maximum(q, least), most);
    store_integers(a.row, d, empty ? zero() : q);
  }
}

// store_rounded rounds to bfloat16, denormals to zero. A whole number of vectors, 0 from the depth on.
template <void (*store_rounded)(float* row, std::int64_t d, Vector x)>
ATTEND_INLINE void round_row(const ConvertRowArguments& a) {
  const std::int64_t end = (a.depth + depth_step - 1) / depth_step * depth_step;
  for (std::int64_t d = 0; d < end; d += lanes) {
    store_rounded(a.row, d, copy_in(a.source + d * a.stride, a.depth - d, a.stride, 0.0f));
  }
}
