// Packing: weights into panels, queries into the panel of a tile.

// A panel keeps, for each k, its columns side by side. Copied in squares of 16, so that both the
// source (contiguous along k in a weight matrix) and the panel are touched by whole cache lines.
void pack(const PackArguments* arguments) {
  const PackArguments& a = *arguments;
  constexpr std::int64_t square = 16;
  for (std::int64_t k0 = 0; k0 < a.depth; k0 += square) {
    const std::int64_t k1 = k0 + square < a.depth ? k0 + square : a.depth;
    for (std::int64_t n0 = 0; n0 < a.width; n0 += square) {
      const std::int64_t n1 = n0 + square < a.width ? n0 + square : a.width;
      for (std::int64_t k = k0; k < k1; ++k) {
        for (std::int64_t n = n0; n < n1; ++n) {
          a.panel[k * a.width + n] =
              n < a.columns ? a.source[k * a.k_stride + n * a.n_stride] : 0.0f;
        }
      }
    }
  }
}

void pack_queries(const PackQueriesArguments* arguments) {
  const PackQueriesArguments& a = *arguments;
  const Vector scale = broadcast(a.scale);
  float column[lanes];
  for (std::int64_t lane0 = 0; lane0 < a.width; lane0 += lanes) {
    std::int64_t count = a.count - lane0;
    if (count < 0) count = 0;
    if (count > lanes) count = lanes;
    for (int lane = 0; lane < lanes; ++lane) column[lane] = 0.0f;
    const float* const* queries = a.queries + lane0;
    float* panel = a.panel + lane0;
    for (std::int64_t d = 0; d < a.depth; ++d) {
      for (std::int64_t lane = 0; lane < count; ++lane) column[lane] = queries[lane][d * a.stride];
      store(panel + d * a.width, multiply(load(column), scale));
    }
  }
}
