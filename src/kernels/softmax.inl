// One row of masked_softmax: maximum, exponentials, division, with the hidden scores at -1e6.

ATTEND_INLINE Vector load_scores(const SoftmaxArguments& a, std::int64_t j) {
  return copy_in(a.source + j * a.source_stride, a.visible - j, a.source_stride, -__builtin_inff());
}

void softmax(const SoftmaxArguments* arguments) {
  constexpr float hidden_score = -1e6f;
  const SoftmaxArguments& a = *arguments;
  const std::int64_t hidden = a.total - a.visible;
  float buffer[lanes];

  Vector tops = broadcast(hidden > 0 ? hidden_score : -__builtin_inff());
  for (std::int64_t j = 0; j < a.visible; j += lanes) tops = maximum(load_scores(a, j), tops);
  store(buffer, tops);
  float top = buffer[0];
  for (int i = 1; i < lanes; ++i) top = buffer[i] > top ? buffer[i] : top;

  // Subtracts before it converts to log2, so that large scores lose nothing. A row of -inf alone gives -inf - -inf, NaN, as it should.
  const Vector maximum_score = broadcast(top), to_log2 = broadcast(log2_e);
  // Adds some vectors of exponentials by lanes, then all in double: one chain of a million terms would be off by 1e-3.
  constexpr std::int64_t group = 64 * lanes;
  double sum = 0.0;
  for (std::int64_t first = 0; first < a.visible; first += group) {
    Vector sums = zero();
    for (std::int64_t j = first; j < a.visible && j < first + group; j += lanes) {
      const Vector weight = exp2(multiply(subtract(load_scores(a, j), maximum_score), to_log2));
      sums = add(sums, weight);
      copy_out(weight, a.visible - j, a.destination + j * a.destination_stride, a.destination_stride);
    }
    store(buffer, sums);
    for (int i = 0; i < lanes; ++i) sum += static_cast<double>(buffer[i]);
  }
  float hidden_weight = 0.0f;
  if (hidden > 0) {
    store(buffer, exp2(broadcast((hidden_score - top) * log2_e)));
    hidden_weight = buffer[0];
    sum += static_cast<double>(hidden) * static_cast<double>(hidden_weight);
  }

  const float factor = static_cast<float>(1.0 / sum);
  for (std::int64_t j = 0; j < a.visible; j += lanes) {
    float* destination = a.destination + j * a.destination_stride;
    const Vector weight = copy_in(destination, a.visible - j, a.destination_stride, 0.0f);
    copy_out(multiply(weight, broadcast(factor)), a.visible - j, destination, a.destination_stride);
  }
  fill(a.destination + a.visible * a.destination_stride, a.destination_stride, hidden,
       hidden_weight * factor);
}
