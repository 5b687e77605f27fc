// Moving memory: copies of rows between strides, and fills.

void copy(const CopyArguments* arguments) {
  const CopyArguments& a = *arguments;
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const float* source = a.source_rows != nullptr ? a.source_rows[r] : a.source + r * a.source_row_stride;
    float* destination = a.destination + r * a.destination_row_stride;
    for (int ahead = 0; a.source_rows != nullptr && r + 8 < a.rows && ahead < a.columns; ahead += 16) {
      prefetch(a.source_rows[r + 8] + ahead);  // listed rows may lie anywhere
    }
    std::int64_t c = 0;
    if (a.source_stride == 1 && a.destination_stride == 1) {
      for (; c + lanes <= a.columns; c += lanes) store(destination + c, load(source + c));
    }
    for (; c < a.columns; ++c) destination[c * a.destination_stride] = source[c * a.source_stride];
  }
}

void fill(float* destination, std::int64_t stride, std::int64_t count, float value) {
  std::int64_t i = 0;
  if (stride == 1) {
    const Vector values = broadcast(value);
    for (; i + lanes <= count; i += lanes) store(destination + i, values);
  }
  for (; i < count; ++i) destination[i * stride] = value;
}
