// The micro-kernel of projections and scores: accumulators[r][v] += a[r][k] * panel[k][v], k ascending.
//
// The inner loop stays in registers: rows * vectors accumulators, `vectors` panel vectors, and one scalar
// of a at a time, broadcast, or where the ISA takes scalars by lane, scalar_group of them a load.
// One step of k an iteration: its 12 to 24 multiply-adds cover the four instructions of the loop.

// The tile that takes the rows a tile of `rows` leaves over.
constexpr int fewer(int rows) { return rows > 4 ? 4 : rows / 2; }

// One step: the scalars of all rows times one row of the panel.
template <int rows, int vectors>
ATTEND_INLINE void multiply_step(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows],
                                 std::int64_t offset, const float* panel) {
  Vector b[vectors];
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) b[v] = load(panel + v * lanes);
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    const Scalars scalar = broadcast(a[r][offset]);
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      accumulators[r][v] = multiply_add_scalar(scalar, 0, b[v], accumulators[r][v]);
    }
    if constexpr (vectors > 2) keep_order(accumulators[r][vectors - 1]);
  }
}

// scalar_group steps, with one load of scalars for each row.
template <int rows, int vectors>
ATTEND_INLINE void multiply_group(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows],
                                  std::int64_t offset, std::int64_t stride, const float* panel) {
  Scalars scalars[rows];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) scalars[r] = load_scalars(a[r] + offset, stride);
  ATTEND_UNROLL
  for (int step = 0; step < scalar_group; ++step) {
    Vector b[vectors];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) b[v] = load(panel + (step * vectors + v) * lanes);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        accumulators[r][v] = multiply_add_scalar(scalars[r], step, b[v], accumulators[r][v]);
      }
    }
  }
}

// Memory to fetch while a tile runs: two cache lines every gemm_fetch_steps steps, up to `end`.
struct Ahead {
  const float *next, *end;
  ATTEND_INLINE void fetch(std::int64_t k) {
    if (k % gemm_fetch_steps != 0) return;
    if (next < end) {
      prefetch(next);
      prefetch(next + 16);
    }
    next += 32;
  }
};

template <int rows, int vectors, bool fetches>
ATTEND_INLINE void multiply_tile(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows],
                                 std::int64_t stride, std::int64_t depth, const float* panel, Ahead ahead) {
  constexpr int width = vectors * lanes;
  std::int64_t offset = 0, k = 0;
  if constexpr (scalar_group > 1) {
    for (; k + scalar_group <= depth; k += scalar_group) {
      if constexpr (fetches) ahead.fetch(k);
      multiply_group<rows, vectors>(accumulators, a, offset, stride, panel);
      offset += scalar_group * stride;
      panel += scalar_group * width;
    }
  }
  for (; k < depth; ++k) {
    if constexpr (fetches) ahead.fetch(k);
    multiply_step<rows, vectors>(accumulators, a, offset, panel);
    offset += stride;
    panel += width;
  }
}
