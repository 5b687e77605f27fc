// The projection GEMM: packed panels times rows read in place, bias added, heads split on the way out.

// A run of a panel's columns that stay together in the output: those of one head.
struct Segment {
  int start, count;
  std::int64_t destination;
};
constexpr int gemm_width = gemm_vectors * lanes;

// Rows of a tile to where they belong. One for all tiles: inlined into each, it was three quarters of their code.
ATTEND_NOINLINE void write_tile(const GemmArguments& arguments, std::int64_t row, std::int64_t rows, const float* tile,
                                std::int64_t tile_stride, const Segment* segments, int segment_count) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (int s = 0; s < segment_count; ++s) {
      const float* source = tile + r * tile_stride + segments[s].start;
      float* destination = arguments.outputs[row + r] + segments[s].destination;
      for (std::int64_t c = 0; c < segments[s].count; c += lanes) {
        copy_out(load(source + c), segments[s].count - c, destination + c * arguments.element_stride,
                 arguments.element_stride);
      }
    }
  }
}

template <int rows, int vectors>
void gemm_tile(const GemmArguments& arguments, std::int64_t row, const Segment* segments,
               int segment_count, const float* ahead) {
  const float* a[rows];
  Vector accumulators[rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    a[r] = arguments.rows[row + r];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) accumulators[r][v] = zero();
  }
  multiply_tile<rows, vectors, true>(accumulators, a, arguments.k_stride, arguments.depth,
                                     arguments.panel, ahead);
  // One more vector, for a segment is read by whole vectors.
  alignas(64) float tile[rows][(vectors + 1) * lanes];
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    const Vector bias = arguments.bias ? load(arguments.bias + v * lanes) : zero();
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      store(&tile[r][v * lanes], arguments.bias ? add(accumulators[r][v], bias) : accumulators[r][v]);
    }
  }
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) store(&tile[r][vectors * lanes], zero());
  write_tile(arguments, row, rows, &tile[0][0], (vectors + 1) * lanes, segments, segment_count);
}

// Tiles of `rows` rows, then what is left by tiles of half as many.
template <int rows, int vectors>
void gemm_rows_from(const GemmArguments& a, std::int64_t row, const Segment* segments,
                    int segment_count, const float* ahead) {
  for (; row + rows <= a.row_count; row += rows) {
    gemm_tile<rows, vectors>(a, row, segments, segment_count, ahead);
    ahead += a.depth * 4;
  }
  if constexpr (rows > 1) {
    if (row < a.row_count) {
      gemm_rows_from<fewer(rows), vectors>(a, row, segments, segment_count, ahead);
    }
  }
}

template <int vectors>
ATTEND_INLINE void gemm_width_from(const GemmArguments& a, const Segment* segments,
                                   int segment_count) {
  if (a.width == vectors * lanes) {
    gemm_rows_from<gemm_rows, vectors>(a, 0, segments, segment_count, a.ahead);
  } else if constexpr (vectors > 1) {
    gemm_width_from<vectors - 1>(a, segments, segment_count);
  }
}

void gemm(const GemmArguments* arguments) {
  const GemmArguments& a = *arguments;
  Segment segments[gemm_width];
  int segment_count = 0;
  std::int64_t head = a.first_column / a.head_size, within = a.first_column % a.head_size;
  const int columns = static_cast<int>(a.columns);
  for (int start = 0; start < columns; ++segment_count) {
    const std::int64_t in_head = a.head_size - within;
    const int count = in_head < columns - start ? static_cast<int>(in_head) : columns - start;
    segments[segment_count] = {start, count, head * a.head_stride + within * a.element_stride};
    start += count;
    within = 0;
    ++head;
  }
  gemm_width_from<gemm_vectors>(a, segments, segment_count);
}
