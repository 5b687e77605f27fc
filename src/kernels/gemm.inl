// The projection GEMM of float32: packed panels times rows read in place, bias added.

// One row times two panels: the chains of one would wait for themselves.
template <int vectors>
ATTEND_INLINE void multiply_two_panels(Vector (&sums)[1][vectors], const float* a, const GemmArguments& arguments) {
  constexpr int half = vectors / 2;
  const float *panel = arguments.panel, *const end = panel + arguments.next_panel;
  const std::int64_t next = arguments.next_panel, stride = arguments.k_stride;
  for (; panel != end; panel += half * lanes, a += stride) {
    const Scalars scalar = broadcast(*a);
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) sums[0][v] = multiply_add_scalar(scalar, 0, load(panel + v / half * next + v % half * lanes), sums[0][v]);
  }
}

struct Floats {
  static constexpr int tile_rows = gemm_rows, tile_vectors = gemm_vectors, least_vectors = 1, row_panels = gemm_row_panels;
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
    if constexpr (vectors > tile_vectors) {
      multiply_two_panels(results, a[0], arguments);
    } else multiply_tile<whole ? gemm_steps : 1, true>(results, a, arguments.k_stride, arguments.depth, arguments.panel,
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
