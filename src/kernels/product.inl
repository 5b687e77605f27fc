// The micro-kernel of projections and scores: accumulators[r][v] += a[r][k] * panel[k][v], k ascending.
//
// The whole inner loop stays in registers: rows * vectors accumulators, `vectors` panel vectors, and
// one scalar of a, broadcast (or taken by lane where the ISA does that, scalar_group of them a load).

template <int rows, int vectors>
ATTEND_INLINE void multiply_step(Vector (&accumulators)[rows][vectors], const Scalars (&a)[rows],
                                 int index, const float* panel) {
  Vector b[vectors];
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) b[v] = hold(load(panel + v * lanes));
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      accumulators[r][v] = multiply_add_scalar(a[r], index, b[v], accumulators[r][v]);
    }
  }
}

template <int rows, int vectors>
ATTEND_INLINE void multiply_one(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows],
                                std::int64_t offset, const float* panel) {
  Vector b[vectors];
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) b[v] = hold(load(panel + v * lanes));
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    const Vector scalar = broadcast(a[r][offset]);
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      accumulators[r][v] = multiply_add(scalar, b[v], accumulators[r][v]);
    }
  }
}

// `ahead`: null, or memory to fetch, a cache line every four steps.
template <int rows, int vectors>
ATTEND_INLINE void multiply_tile(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows],
                                 std::int64_t stride, std::int64_t depth, const float* panel,
                                 const float* ahead) {
  constexpr int width = vectors * lanes;
  std::int64_t k = 0, offset = 0;
  for (; k + 4 <= depth; k += 4) {
    if (ahead) {
      prefetch(ahead);
      ahead += 16;
    }
    if constexpr (scalar_group == 4) {
      Scalars scalars[rows];
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) scalars[r] = load_scalars(a[r] + offset, stride);
      ATTEND_UNROLL
      for (int step = 0; step < 4; ++step) {
        multiply_step<rows, vectors>(accumulators, scalars, step, panel + step * width);
      }
      offset += 4 * stride;
    } else {
      ATTEND_UNROLL
      for (int step = 0; step < 4; ++step) {
        multiply_one<rows, vectors>(accumulators, a, offset, panel + step * width);
        offset += stride;
      }
    }
    panel += 4 * width;
  }
  for (; k < depth; ++k) {
    multiply_one<rows, vectors>(accumulators, a, offset, panel);
    offset += stride;
    panel += width;
  }
}
