// The projection GEMM of float32: packed panels times rows read in place, bias added.

struct Floats {
  static constexpr int tile_rows = gemm_rows, tile_vectors = gemm_vectors, least_vectors = 1, row_panels = 1;
  static constexpr int rest_rows(int rows) { return fewer(rows); }

  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void compute(const GemmArguments& arguments, std::int64_t row, const float* ahead, Vector (&results)[rows][vectors]) {
    const float* a[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      a[r] = arguments.rows[row + r];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) results[r][v] = zero();
    }
    multiply_tile<whole ? gemm_steps : 1, true>(results, a, arguments.k_stride, arguments.depth, arguments.panel,
                                                {ahead, arguments.ahead_end});
    if (arguments.bias != nullptr) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        const Vector bias = load(arguments.bias + v * lanes);
        ATTEND_UNROLL
        for (int r = 0; r < rows; ++r) results[r][v] = add(results[r][v], bias);
      }
    }
  }
};

void gemm(const GemmArguments* arguments) { gemm_of<Floats>(arguments); }
