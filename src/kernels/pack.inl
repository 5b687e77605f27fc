// Packing, by squares of vectors turned about: weights into panels, queries into the panel of a tile.

// panel[c * width + r] = scale * rows[r][c] for c < columns, r < lanes; rows from `count` on are zero. One function for weights and
// queries, for it is as large as two transpositions.
ATTEND_NOINLINE void pack_rows(const float* const* rows, std::int64_t count, std::int64_t columns, float scale,
                               float* panel, std::int64_t width) {
  std::int64_t c = 0;
  for (; c + lanes <= columns && count >= lanes; c += lanes) {
    Vector square[lanes];
    ATTEND_UNROLL
    for (int r = 0; r < lanes; ++r) square[r] = load(rows[r] + c);
    transpose(square);
    ATTEND_UNROLL
    for (int i = 0; i < lanes; ++i) store(panel + (c + i) * width, multiply(square[i], broadcast(scale)));
  }
  for (; c < columns; c += lanes) {
    const std::int64_t left = columns - c;
    Vector square[lanes];
    for (int r = 0; r < lanes; ++r) square[r] = r < count ? load_partial(rows[r] + c, left) : zero();
    transpose(square);
    for (int i = 0; i < lanes && i < left; ++i) store(panel + (c + i) * width, multiply(square[i], broadcast(scale)));
  }
}

// Does that where a row's elements lie apart.
ATTEND_NOINLINE void pack_strided_rows(const float* const* rows, std::int64_t stride, std::int64_t count,
                                       std::int64_t columns, float scale, float* panel, std::int64_t width) {
  float column[lanes] = {};
  for (std::int64_t c = 0; c < columns; ++c) {
    for (std::int64_t r = 0; r < lanes && r < count; ++r) column[r] = rows[r][c * stride];
    store(panel + c * width, multiply(load(column), broadcast(scale)));
  }
}

ATTEND_INLINE void pack_any_rows(const float* const* rows, std::int64_t stride, std::int64_t count,
                                 std::int64_t columns, float scale, float* panel, std::int64_t width) {
  if (stride == 1) {
    pack_rows(rows, count, columns, scale, panel, width);
  } else {
    pack_strided_rows(rows, stride, count, columns, scale, panel, width);
  }
}

// A panel's column is a row of the weight matrix (out, in), contiguous along k.
void pack(const PackArguments* arguments) {
  const PackArguments& a = *arguments;
  for (std::int64_t n = 0; n < a.width; n += lanes) {
    const float* rows[lanes];
    for (int r = 0; r < lanes; ++r) rows[r] = a.source + (n + r) * a.n_stride;
    pack_any_rows(rows, a.k_stride, a.columns - n, a.depth, 1.0f, a.panel + n, a.width);
  }
}

void pack_queries(const PackQueriesArguments* arguments) {
  const PackQueriesArguments& a = *arguments;
  for (std::int64_t lane = 0; lane < a.width; lane += lanes) {
    const float* rows[lanes];
    for (int r = 0; r < lanes; ++r) rows[r] = lane + r < a.count ? a.queries[lane + r] : nullptr;
    pack_any_rows(rows, a.stride, a.count - lane, a.depth, a.scale, a.panel + lane, a.width);
  }
}

// Writes the weights [key][lane] of a block into a row for each lane.
void write_weights(const WriteWeightsArguments* arguments) {
  const WriteWeightsArguments& a = *arguments;
  for (std::int64_t lane = 0; lane < a.lane_count; lane += lanes) {
    for (std::int64_t key = 0; key < a.key_count; key += lanes) {
      const std::int64_t left = a.key_count - key;
      Vector square[lanes];
      for (int i = 0; i < lanes; ++i) {
        square[i] = i < left ? load(a.weights + (key + i) * a.width + lane) : zero();
      }
      transpose(square);
      for (int r = 0; r < lanes && lane + r < a.lane_count; ++r) {
        float* destination = a.destinations[lane + r] + key * a.key_stride;
        Vector row = multiply(square[r], broadcast(a.factors[lane + r]));
        if (a.add) row = add(copy_in(destination, left, a.key_stride, 0.0f), row);
        copy_out(row, left, destination, a.key_stride);
      }
    }
  }
}
