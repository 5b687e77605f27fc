// Tiles of rows through one panel, heads split on the way out: for every format that weights and rows are stored in.
//
// A Format has the size of its whole tile, tile_rows x tile_vectors, the least vectors of a panel, the rows of the tile that takes what
// others leave over, how many panels one row takes at once, and compute, which gives the results of a tile.

constexpr int most_vectors = 3;  // of a panel

// Where a panel's columns go. `by_vectors`: each vector is stored as it is, for no head begins or ends within one. Else tiles of all
// sizes pass through `tile`: rows side by side, then one vector more, for the columns of a head are read by whole vectors.
struct Columns {
  std::int64_t first_head, within;  // where the head of the first column begins in the output, and the column's place there
  bool by_vectors;
  std::int64_t destinations[most_vectors];
  float* tile;
};

// Stores the rows of a tile where they belong. One for all tiles: inlined into each, it was three quarters of their code.
ATTEND_NOINLINE void write_tile(const GemmArguments& arguments, std::int64_t row, std::int64_t rows, std::int64_t tile_stride,
                                const Columns& columns) {
  std::int64_t head = columns.first_head, within = columns.within;
  for (std::int64_t start = 0; start < arguments.columns; head += arguments.head_stride, within = 0) {
    const std::int64_t left = arguments.columns - start, in_head = arguments.head_size - within;
    const std::int64_t count = in_head < left ? in_head : left;
    for (std::int64_t c = 0; c < count; c += lanes) {
      const std::int64_t destination = head + (within + c) * arguments.element_stride;
      for (std::int64_t r = 0; r < rows; ++r) {
        copy_out(load(columns.tile + r * tile_stride + start + c), count - c, arguments.outputs[row + r] + destination, arguments.element_stride);
      }
    }
    start += count;
  }
}

template <class Format, int rows, int vectors>
ATTEND_INLINE void gemm_tile(const GemmArguments& arguments, std::int64_t row, const Columns& columns, const float* ahead) {
  constexpr bool whole = rows == Format::tile_rows && vectors + 1 >= Format::tile_vectors;  // a panel's two widths; others are too rare for their own code
  Vector results[rows][vectors];
  Format::template compute<whole>(arguments, row, ahead, results);
  if (whole && columns.by_vectors) {
    // Looked up before any store: after one a compiler would look again.
    std::int64_t destinations[vectors];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) destinations[v] = columns.destinations[v];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      float* const output = arguments.outputs[row + r];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) store(output + destinations[v], results[r][v]);
    }
    return;
  }
  float* const tile = columns.tile;
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) store(tile + (r * vectors + v) * lanes, results[r][v]);
  }
  store(tile + rows * vectors * lanes, zero());
  write_tile(arguments, row, rows, vectors * lanes, columns);
}

// A function for each size of tiles: inlined into gemm, their registers took 5.6 KiB of its frame (g++ -O1).
template <class Format, int rows, int vectors>
ATTEND_NOINLINE void gemm_tiles(const GemmArguments& a, std::int64_t row, const Columns& columns, const float* ahead) {
  for (; row + rows <= a.row_count; row += rows) {
    gemm_tile<Format, rows, vectors>(a, row, columns, ahead);
    ahead += fetched_by_tile(a.depth);
  }
}

// Runs tiles of `rows` rows, then tiles of fewer for what is left.
template <class Format, int rows, int vectors>
ATTEND_INLINE void gemm_rows_from(const GemmArguments& a, std::int64_t row, const Columns& columns, const float* ahead) {
  const std::int64_t tiles = (a.row_count - row) / rows;
  if (tiles > 0) gemm_tiles<Format, rows, vectors>(a, row, columns, ahead);
  if constexpr (rows > 1) {
    row += tiles * rows;
    if (row < a.row_count) gemm_rows_from<Format, Format::rest_rows(rows), vectors>(a, row, columns, ahead + tiles * fetched_by_tile(a.depth));
  }
}

template <class Format, int vectors>
ATTEND_INLINE void gemm_width_from(const GemmArguments& a, const Columns& columns) {
  if constexpr (Format::row_panels == 2 && vectors == Format::tile_vectors) {  // narrower ones are too rare for their own code
    if (a.next_panel != 0) return gemm_tiles<Format, 1, 2 * vectors>(a, 0, columns, a.ahead);
  }
  if (a.width == vectors * lanes) {
    gemm_rows_from<Format, Format::tile_rows, vectors>(a, 0, columns, a.ahead);
  } else if constexpr (vectors > Format::least_vectors) {
    gemm_width_from<Format, vectors - 1>(a, columns);
  }
}

// A function of its own: the same for all formats, it is 1.3 KB.
ATTEND_NOINLINE void place_columns(const GemmArguments& a, float* tile, Columns& columns) {
  columns.tile = tile;
  columns.first_head = a.first_column / a.head_size * a.head_stride;
  columns.within = a.first_column % a.head_size;
  columns.by_vectors = a.element_stride == 1 && a.columns == a.width && a.next_panel == 0;
  std::int64_t head = columns.first_head, within = columns.within;
  for (int start = 0; start < a.columns && columns.by_vectors; head += a.head_stride, within = 0) {
    const std::int64_t left = a.columns - start, in_head = a.head_size - within;
    const int count = static_cast<int>(in_head < left ? in_head : left);
    columns.by_vectors = count % lanes == 0;
    for (int c = 0; c < count && columns.by_vectors; c += lanes) columns.destinations[(start + c) / lanes] = head + within + c;
    start += count;
  }
}

template <class Format>
ATTEND_INLINE void gemm_of(const GemmArguments* arguments) {
  static_assert(Format::tile_vectors <= most_vectors);
  const GemmArguments& a = *arguments;
  alignas(64) float tile[(Format::tile_rows * Format::tile_vectors + 1) * lanes];
  Columns columns;
  place_columns(a, tile, columns);
  gemm_width_from<Format, Format::tile_vectors>(a, columns);
}
