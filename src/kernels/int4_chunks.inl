// Rows times weights of int4 that are widened a chunk at a time, into the L1, for all rows of a call; over int4_widened.inl.
//
// In a tile of 4 rows by 3 vectors the constants of the numbers leave AVX2 no registers for its sums: 42 % of the peak, by chunks 69
// (128 x 768 x 768, Zen 4). One row has no use for a chunk.

constexpr std::int64_t chunk_steps = 16;
constexpr std::int64_t chunk_rows = 12;  // at a time: their sums wait for the next chunk, and chunk and sums take 2.7 KiB of stack

// chunk[n][column] = number n of two rows of words, of one group. Those behind the last are there.
ATTEND_INLINE void widen_chunk(const float* numbers, const float* scales, const std::int16_t* words, std::int64_t width, float* chunk) {
  ATTEND_UNROLL_BY(1)
  for (std::int64_t column = 0; column < width; column += lanes) {
    const Int4Group<1> group(scales + column, words + column);
    ATTEND_UNROLL_BY(1)
    for (std::int64_t word = column; word < column + chunk_steps / 8 * width; word += width) {
      ATTEND_UNROLL
      for (int n = 0; n < 8; ++n) store(chunk + n * width + 8 * word - 7 * column, group.widened(numbers + word, n, 0));
    }
  }
}

// sums[r][column] += the products of a chunk, steps [k, k + steps), for rows [row, end) by tiles. Returns the row after the last tile's.
template <int rows, int vectors>
ATTEND_NOINLINE std::int64_t add_chunk(const GemmArguments& a, std::int64_t row, std::int64_t end, std::int64_t k, std::int64_t steps,
                                       const float* chunk, float* sums) {
  const float* ahead = a.ahead + row / gemm_rows * fetched_by_tile(a.depth) + fetched_by_tile(k);
  for (; row + rows <= end; row += rows) {
    const float* places[rows];
    Vector accumulators[rows][vectors];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      places[r] = a.rows[row + r] + k * a.k_stride;
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) accumulators[r][v] = load(sums + (r * vectors + v) * lanes);
    }
    multiply_tile<1, true>(accumulators, places, a.k_stride, steps, chunk, {ahead, a.ahead_end});
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) store(sums + (r * vectors + v) * lanes, accumulators[r][v]);
    }
    sums += rows * vectors * lanes;
    ahead += fetched_by_tile(a.depth);
  }
  return row;
}

template <int vectors>
ATTEND_NOINLINE void gemm_chunks(const GemmArguments& a) {
  constexpr std::int64_t width = vectors * lanes;
  alignas(64) float chunk[chunk_steps * width], sums[chunk_rows * width + lanes];
  Columns columns;
  place_columns(a, sums, columns);
  const float* const first_scales = scales_behind(a);
  for (std::int64_t first = 0; first < a.row_count; first += chunk_rows) {
    const std::int64_t end = a.row_count - first < chunk_rows ? a.row_count : first + chunk_rows;
    ATTEND_UNROLL_BY(1)
    for (std::int64_t i = 0; i <= (end - first) * width; i += lanes) store(sums + i, zero());  // and a vector that write_tile reads
    const float *numbers = a.panel, *scales = first_scales;
    const std::int16_t* words = words_behind(scales, (a.depth + a.group - 1) / a.group, width);
    for (std::int64_t k = 0; k < a.depth; k += chunk_steps) {
      const std::int64_t steps = a.depth - k < chunk_steps ? a.depth - k : chunk_steps;
      widen_chunk(numbers, scales, words, width, chunk);
      const std::int64_t row = add_chunk<gemm_rows, vectors>(a, first, end, k, steps, chunk, sums);
      add_chunk<1, vectors>(a, row, end, k, steps, chunk, sums + (row - first) * width);
      numbers += chunk_steps / 8 * width;
      if ((k + chunk_steps) % a.group == 0) {
        scales += width;
        words += width;
      }
    }
    if (a.bias != nullptr) {
      ATTEND_UNROLL_BY(1)
      for (std::int64_t i = 0; i < (end - first) * width; i += lanes) store(sums + i, add(load(sums + i), load(a.bias + i % width)));
    }
    write_tile(a, first, end - first, width, columns);
  }
}

void gemm_int4_by_chunks(const GemmArguments* arguments) {
  if (arguments->row_count == 1) return gemm_widened_int4(arguments);
  if (arguments->width == gemm_vectors * lanes) return gemm_chunks<gemm_vectors>(*arguments);
  gemm_chunks<product_least_vectors>(*arguments);
}
