// One row of masked_softmax: maximum, exponentials, division, with the hidden scores at -1e6.

ATTEND_INLINE Vector load_strided(const float* p, std::int64_t stride, std::int64_t count, float rest) {
  float buffer[lanes];
  for (int i = 0; i < lanes; ++i) buffer[i] = i < count ? p[i * stride] : rest;
  return load(buffer);
}

ATTEND_INLINE Vector load_scores(const SoftmaxArguments& a, std::int64_t j) {
  const std::int64_t left = a.visible - j;
  if (a.source_stride == 1 && left >= lanes) return load(a.source + j);
  return load_strided(a.source + j * a.source_stride, a.source_stride, left, -__builtin_inff());
}

ATTEND_INLINE void store_weights(const SoftmaxArguments& a, std::int64_t j, Vector x, std::int64_t left) {
  if (a.destination_stride == 1) {
    store_partial(a.destination + j, x, left);
    return;
  }
  float buffer[lanes];
  store(buffer, x);
  for (int i = 0; i < lanes && i < left; ++i) a.destination[(j + i) * a.destination_stride] = buffer[i];
}

void softmax(const SoftmaxArguments* arguments) {
  constexpr float hidden_score = -1e6f, log2_e = 0x1.715476p+0f;
  const SoftmaxArguments& a = *arguments;
  const std::int64_t hidden = a.total - a.visible;
  float buffer[lanes];

  Vector tops = broadcast(hidden > 0 ? hidden_score : -__builtin_inff());
  for (std::int64_t j = 0; j < a.visible; j += lanes) tops = maximum(load_scores(a, j), tops);
  store(buffer, tops);
  float top = buffer[0];
  for (int i = 1; i < lanes; ++i) top = buffer[i] > top ? buffer[i] : top;

  // Subtracted before the conversion to log2, so that large scores lose nothing. A row of -inf alone
  // gives -inf - -inf, NaN, as it should.
  const Vector maximum_score = broadcast(top), to_log2 = broadcast(log2_e);
  Vector sums = zero();
  for (std::int64_t j = 0; j < a.visible; j += lanes) {
    const Vector weight = exp2(multiply(subtract(load_scores(a, j), maximum_score), to_log2));
    sums = add(sums, weight);
    store_weights(a, j, weight, a.visible - j);
  }
  store(buffer, sums);
  float sum = buffer[0];
  for (int i = 1; i < lanes; ++i) sum += buffer[i];
  float hidden_weight = 0.0f;
  if (hidden > 0) {
    store(buffer, exp2(broadcast((hidden_score - top) * log2_e)));
    hidden_weight = buffer[0];
    sum += static_cast<float>(hidden) * hidden_weight;
  }

  const float factor = 1.0f / sum;
  for (std::int64_t j = 0; j < a.visible; j += lanes) {
    const std::int64_t left = a.visible - j;
    const Vector weight = a.destination_stride == 1
                              ? load_partial(a.destination + j, left)
                              : load_strided(a.destination + j * a.destination_stride,
                                             a.destination_stride, left, 0.0f);
    store_weights(a, j, multiply(weight, broadcast(factor)), left);
  }
  fill(a.destination + a.visible * a.destination_stride, a.destination_stride, hidden,
       hidden_weight * factor);
}
