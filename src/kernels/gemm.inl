// The projection GEMM: packed panels times rows read in place, bias added, heads split on the way out.

// A run of a panel's columns that stay together in the output: those of one head.
struct Segment {
  int start, count;
  std::int64_t destination;
};
constexpr int gemm_width = gemm_vectors * lanes;

// Where a panel's columns go. `by_vectors`: each vector is stored as it is, for no run begins or ends within one.
struct Columns {
  Segment segments[gemm_width];
  int count;
  bool by_vectors;
  std::int64_t destinations[gemm_vectors];
};

// Rows of a tile to where they belong. One for all tiles: inlined into each, it was three quarters of their code.
ATTEND_NOINLINE void write_tile(const GemmArguments& arguments, std::int64_t row, std::int64_t rows, const float* tile,
                                std::int64_t tile_stride, const Columns& columns) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (int s = 0; s < columns.count; ++s) {
      const Segment& segment = columns.segments[s];
      const float* source = tile + r * tile_stride + segment.start;
      float* destination = arguments.outputs[row + r] + segment.destination;
      for (std::int64_t c = 0; c < segment.count; c += lanes) {
        copy_out(load(source + c), segment.count - c, destination + c * arguments.element_stride,
                 arguments.element_stride);
      }
    }
  }
}

template <int rows, int vectors>
void gemm_tile(const GemmArguments& arguments, std::int64_t row, const Columns& columns, const float* ahead) {
  constexpr bool whole = rows == gemm_rows && vectors + 1 >= gemm_vectors;  // a panel's two widths: others are too rare for code of their own
  const float* a[rows];
  Vector accumulators[rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    a[r] = arguments.rows[row + r];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) accumulators[r][v] = zero();
  }
  multiply_tile<rows, vectors, true>(accumulators, a, arguments.k_stride, arguments.depth, arguments.panel,
                                     {ahead, arguments.ahead_end});
  if (arguments.bias != nullptr) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      const Vector bias = load(arguments.bias + v * lanes);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) accumulators[r][v] = add(accumulators[r][v], bias);
    }
  }
  if (whole && columns.by_vectors) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        store(arguments.outputs[row + r] + columns.destinations[v], accumulators[r][v]);
      }
    }
    return;
  }
  // One more vector, for a segment is read by whole vectors.
  alignas(64) float tile[rows][(vectors + 1) * lanes];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) store(&tile[r][v * lanes], accumulators[r][v]);
    store(&tile[r][vectors * lanes], zero());
  }
  write_tile(arguments, row, rows, &tile[0][0], (vectors + 1) * lanes, columns);
}

// Tiles of `rows` rows, then what is left by tiles of half as many.
template <int rows, int vectors>
void gemm_rows_from(const GemmArguments& a, std::int64_t row, const Columns& columns, const float* ahead) {
  for (; row + rows <= a.row_count; row += rows) {
    gemm_tile<rows, vectors>(a, row, columns, ahead);
    ahead += fetched_by_tile(a.depth);
  }
  if constexpr (rows > 1) {
    if (row < a.row_count) gemm_rows_from<fewer(rows), vectors>(a, row, columns, ahead);
  }
}

template <int vectors>
ATTEND_INLINE void gemm_width_from(const GemmArguments& a, const Columns& columns) {
  if (a.width == vectors * lanes) {
    gemm_rows_from<gemm_rows, vectors>(a, 0, columns, a.ahead);
  } else if constexpr (vectors > 1) {
    gemm_width_from<vectors - 1>(a, columns);
  }
}

void gemm(const GemmArguments* arguments) {
  const GemmArguments& a = *arguments;
  Columns columns;
  columns.by_vectors = a.element_stride == 1 && a.columns == a.width;
  columns.count = 0;
  std::int64_t head = a.first_column / a.head_size, within = a.first_column % a.head_size;
  for (int start = 0; start < a.columns; ++columns.count) {
    const std::int64_t left = a.columns - start, in_head = a.head_size - within;
    const int count = static_cast<int>(in_head < left ? in_head : left);
    const std::int64_t destination = head * a.head_stride + within * a.element_stride;
    columns.segments[columns.count] = {start, count, destination};
    columns.by_vectors &= count % lanes == 0;
    for (int c = 0; c < count && columns.by_vectors; c += lanes) columns.destinations[(start + c) / lanes] = destination + c;
    start += count;
    within = 0;
    ++head;
  }
  gemm_width_from<gemm_vectors>(a, columns);
}
