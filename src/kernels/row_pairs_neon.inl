// Two rows by two columns at a time, as NEON's matrix products multiply: smmla, bfmmla.
//
// They multiply 8 bytes of two rows by as many of two columns, and add to a sum (row 0 by column 0, row 0 by column 1, row 1 by column 0,
// row 1 by column 1). Rest has multiply_add, over the bytes as vectors of floats, and Base's finish.
template <class Rest, class Base>
struct RowPairs : Base {
  static constexpr int step_bytes = 8, pair_bytes = 2 * step_bytes, vector_bytes = 2 * pair_bytes;

  // A row that is alone takes both places of its pair.
  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void compute(const GemmArguments& arguments, std::int64_t row, const float* next, Vector (&results)[rows][vectors]) {
    static_assert(rows == 1 || rows % 2 == 0, "rows in pairs");
    constexpr int row_pairs = (rows + 1) / 2, column_pairs = 2 * vectors;
    const float* a[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) a[r] = arguments.rows[row + r];
    typename Base::Sum products[row_pairs][column_pairs];
    ATTEND_UNROLL
    for (int p = 0; p < row_pairs; ++p) {
      ATTEND_UNROLL
      for (int c = 0; c < column_pairs; ++c) products[p][c] = typename Base::Sum{};
    }
    const char* panel = reinterpret_cast<const char*>(arguments.panel);
    const std::int64_t depth = arguments.depth;
    Ahead ahead = {next, arguments.ahead_end};
    std::int64_t at = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      if constexpr (rows == 1) {
        fetch_stream<vectors * vector_bytes>(panel);
      } else {
        ahead.fetch(k);
      }
      // Loads keep their places: g++ would load all weights first, and spill sums for them.
      Vector both[row_pairs];
      ATTEND_UNROLL
      for (int p = 0; p < row_pairs; ++p) {
        both[p] = vcombine_f32(vld1_f32(a[2 * p] + at), vld1_f32(a[rows == 1 ? 0 : 2 * p + 1] + at));
        ATTEND_KEEP(both[p]);
      }
      ATTEND_UNROLL
      for (int c = 0; c < column_pairs; ++c) {
        Vector weights = load(reinterpret_cast<const float*>(panel + c * pair_bytes));
        ATTEND_KEEP(weights);
        ATTEND_UNROLL
        for (int p = 0; p < row_pairs; ++p) products[p][c] = Rest::multiply_add(both[p], weights, products[p][c]);
      }
      panel += vectors * vector_bytes;
      at += step_bytes / 4;
    }
    typename Base::Sum sums[rows][vectors];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        const auto left = reinterpret_cast<int64x2_t>(products[r / 2][2 * v]), right = reinterpret_cast<int64x2_t>(products[r / 2][2 * v + 1]);
        sums[r][v] = reinterpret_cast<typename Base::Sum>(r % 2 == 0 ? vzip1q_s64(left, right) : vzip2q_s64(left, right));
      }
    }
    Rest::finish(arguments, a, sums, results);
  }
};
