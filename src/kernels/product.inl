// The micro-kernel of projections and scores: accumulators[r][v] += a[r][k] * panel[k][v], k ascending.
//
// The inner loop stays in registers: rows * vectors accumulators, `vectors` panel vectors, and one scalar of a at a time, broadcast, or
// where the ISA takes scalars by lane, a vector of scalar_group of them for each row.

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

// Memory to fetch while a tile runs, up to `end`: two cache lines every gemm_fetch_steps steps, or one a group of half as many.
struct Ahead {
  const float *next, *end;
  ATTEND_INLINE void fetch(std::int64_t k) {
    if (k % gemm_fetch_steps != 0) return;
    if (next < end) {
      prefetch(next);
      prefetch(next + gemm_fetch_floats / 2);
    }
    next += gemm_fetch_floats;
  }
  ATTEND_INLINE void fetch_line() {
    static_assert(scalar_group == 1 || 2 * scalar_group == gemm_fetch_steps, "a line a group");
    if (next < end) prefetch(next);
    next += gemm_fetch_floats / 2;
  }
};

// The steps of a group from `step` on. Each loads the next row of the panel, and the last one the scalars of all rows, vector by vector
// right after the last use of the vector before: in-order CPUs wait for loads.
template <int rows, int vectors, int step, bool more>
ATTEND_INLINE void multiply_group(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows], std::int64_t next,
                                  const float* panel, Scalars (&scalars)[rows], Vector (&b)[vectors]) {
  constexpr bool last = step == scalar_group - 1;
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      accumulators[r][v] = multiply_add_scalar(scalars[r], step, b[v], accumulators[r][v]);
      if (more && last && v == vectors - 1) {
        scalars[r] = load_scalars(a[r] + next);
        keep_order(scalars[r]);
      }
    }
    if (more || !last) {
      b[v] = load(panel + ((step + 1) * vectors + v) * lanes);
      keep_order(b[v]);
    }
  }
  if constexpr (!last) multiply_group<rows, vectors, step + 1, more>(accumulators, a, next, panel, scalars, b);
}

// Runs whole groups of scalar_group steps, where a row's elements lie side by side: one load of scalars serves a group.
template <int rows, int vectors, bool fetches>
ATTEND_INLINE std::int64_t multiply_groups(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows],
                                           std::int64_t depth, const float* panel, Ahead& ahead) {
  constexpr int group_width = scalar_group * vectors * lanes;
  if (depth < scalar_group) return 0;
  const float* from[rows];  // clang has to keep them, or finds eight anew in each group (8x8 scores: 55 % of a Cortex-A55's peak, not 71)
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    from[r] = a[r];
    asm("" : "+r"(from[r]));
  }
  Scalars scalars[rows];
  Vector b[vectors];
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) b[v] = load(panel + v * lanes);
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) scalars[r] = load_scalars(from[r]);
  std::int64_t k = scalar_group;
  for (; k + scalar_group <= depth; k += scalar_group) {
    if constexpr (fetches) ahead.fetch_line();
    multiply_group<rows, vectors, 0, true>(accumulators, from, k, panel, scalars, b);
    panel += group_width;
  }
  multiply_group<rows, vectors, 0, false>(accumulators, from, k, panel, scalars, b);
  return k;
}

// Runs `steps` steps an iteration, at most gemm_fetch_steps.
template <int steps, bool fetches, int rows, int vectors>
ATTEND_INLINE void multiply_tile(Vector (&accumulators)[rows][vectors], const float* const (&a)[rows],
                                 std::int64_t stride, std::int64_t depth, const float* panel, Ahead ahead) {
  constexpr int width = vectors * lanes;
  std::int64_t offset = 0, k = 0;
  if constexpr (scalar_group > 1) {
    if (stride == 1) offset = k = multiply_groups<rows, vectors, fetches>(accumulators, a, depth, panel, ahead);
    panel += k * width;
  }
  if constexpr (steps > 1) {
    for (; stride == 1 && k + steps <= depth; k += steps) {
      if constexpr (fetches) ahead.fetch(k);
      ATTEND_UNROLL
      for (int step = 0; step < steps; ++step) multiply_step(accumulators, a, k + step, panel + step * width);
      panel += steps * width;
    }
    offset = k;
  }
  const float* const end = panel + (depth - k) * width;
  for (; panel != end; panel += width) {  // without a counter, which would take an issue slot
    if constexpr (fetches) ahead.fetch(k++);
    multiply_step(accumulators, a, offset, panel);
    offset += stride;
    // An index of all rows: g++ would step the first row's pointer and find the others by two more instructions, 2 to 4 % of a core.
    asm("" : "+r"(offset));
  }
}
