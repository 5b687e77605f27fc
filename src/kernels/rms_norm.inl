// One row divided by the root of its mean square, times a weight for each element.

// Strides are arguments, so that the compiler knows a stride of 1.
ATTEND_INLINE void rms_norm_strided(const RmsNormArguments& a, std::int64_t source_stride, std::int64_t weight_stride,
                                    std::int64_t destination_stride) {
  Vector squares = zero();
  for (std::int64_t d = 0; d < a.columns; d += lanes) {
    const Vector x = copy_in(a.source + d * source_stride, a.columns - d, source_stride, 0.0f);
    squares = multiply_add(x, x, squares);
  }
  float buffer[lanes];
  store(buffer, squares);
  float sum = buffer[0];
  for (int i = 1; i < lanes; ++i) sum += buffer[i];

  // In double, which costs a row nothing: the factor is rounded once.
  const double mean = static_cast<double>(sum) / static_cast<double>(a.columns);
  const Vector factor = broadcast(static_cast<float>(1.0 / __builtin_sqrt(mean + static_cast<double>(a.epsilon))));
  for (std::int64_t d = 0; d < a.columns; d += lanes) {
    const std::int64_t left = a.columns - d;
    Vector x = multiply(copy_in(a.source + d * source_stride, left, source_stride, 0.0f), factor);
    if (a.weight != nullptr) x = multiply(x, copy_in(a.weight + d * weight_stride, left, weight_stride, 0.0f));
    copy_out(x, left, a.destination + d * destination_stride, destination_stride);
  }
}

void rms_norm(const RmsNormArguments* arguments) {
  const RmsNormArguments& a = *arguments;
  const bool adjacent = a.source_stride == 1 && a.destination_stride == 1 && (a.weight == nullptr || a.weight_stride == 1);
  if (adjacent) {
    rms_norm_strided(a, 1, 1, 1);
  } else {
    rms_norm_strided(a, a.source_stride, a.weight_stride, a.destination_stride);
  }
}
