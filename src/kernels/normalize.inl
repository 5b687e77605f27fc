// One row normalised: its sum with a residual, centred or not, divided by its root mean square, times a weight, plus a bias.

ATTEND_INLINE float sum_of(Vector x) {
  float all[lanes];
  store(all, x);
  for (int i = 1; i < lanes; ++i) all[0] += all[i];
  return all[0];
}

// What is left of a row's last vector would be -mean, were it not 0.
ATTEND_INLINE Vector zero_from(Vector x, std::int64_t count) {
  if (count >= lanes) return x;
  float all[lanes] = {};
  store_partial(all, x, count);
  return load(all);
}

// Three passes over a row, which is in the L1 after the first; sums are one chain for each lane, added up in order. Strides are arguments,
// so that the compiler knows a stride of 1.
ATTEND_INLINE void normalize_strided(const NormalizeArguments& a, std::int64_t source_stride, std::int64_t residual_stride,
                                     std::int64_t weight_stride, std::int64_t bias_stride, std::int64_t sum_stride,
                                     std::int64_t destination_stride) {
  const float* row = a.source;
  std::int64_t row_stride = source_stride;
  Vector total = zero(), squares = zero();
  if (a.residual != nullptr || a.sum != nullptr) {
    float* const kept = a.sum != nullptr ? a.sum : a.destination;
    const std::int64_t kept_stride = a.sum != nullptr ? sum_stride : destination_stride;
    for (std::int64_t c = 0; c < a.columns; c += lanes) {
      const std::int64_t left = a.columns - c;
      Vector x = copy_in(a.source + c * source_stride, left, source_stride, 0.0f);
      if (a.residual != nullptr) x = add(x, copy_in(a.residual + c * residual_stride, left, residual_stride, 0.0f));
      copy_out(x, left, kept + c * kept_stride, kept_stride);
    }
    row = kept;
    row_stride = kept_stride;
  }

  // In double, which costs a row nothing: mean and factor are rounded once.
  const double columns = static_cast<double>(a.columns);
  Vector mean = zero();
  if (a.centred) {
    for (std::int64_t c = 0; c < a.columns; c += lanes) total = add(total, copy_in(row + c * row_stride, a.columns - c, row_stride, 0.0f));
    mean = broadcast(static_cast<float>(static_cast<double>(sum_of(total)) / columns));
  }
  for (std::int64_t c = 0; c < a.columns; c += lanes) {
    const std::int64_t left = a.columns - c;
    const Vector x = zero_from(subtract(copy_in(row + c * row_stride, left, row_stride, 0.0f), mean), left);
    squares = multiply_add(x, x, squares);
  }
  const double mean_square = static_cast<double>(sum_of(squares)) / columns;
  const Vector factor = broadcast(static_cast<float>(1.0 / __builtin_sqrt(mean_square + static_cast<double>(a.epsilon))));
  for (std::int64_t c = 0; c < a.columns; c += lanes) {
    const std::int64_t left = a.columns - c;
    Vector x = multiply(subtract(copy_in(row + c * row_stride, left, row_stride, 0.0f), mean), factor);
    if (a.weight != nullptr) x = multiply(x, copy_in(a.weight + c * weight_stride, left, weight_stride, 0.0f));
    if (a.bias != nullptr) x = add(x, copy_in(a.bias + c * bias_stride, left, bias_stride, 0.0f));
    copy_out(x, left, a.destination + c * destination_stride, destination_stride);
  }
}

void normalize(const NormalizeArguments* arguments) {
  const NormalizeArguments& a = *arguments;
  const auto adjacent = [](const float* data, std::int64_t stride) { return data == nullptr || stride == 1; };
  if (adjacent(a.source, a.source_stride) && adjacent(a.residual, a.residual_stride) && adjacent(a.weight, a.weight_stride) &&
      adjacent(a.bias, a.bias_stride) && adjacent(a.sum, a.sum_stride) && adjacent(a.destination, a.destination_stride)) {
    normalize_strided(a, 1, 1, 1, 1, 1, 1);
  } else {
    normalize_strided(a, a.source_stride, a.residual_stride, a.weight_stride, a.bias_stride, a.sum_stride, a.destination_stride);
  }
}
