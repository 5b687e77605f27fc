// Scores of a key block against the queries in lanes, and their exponentials: nothing horizontal anywhere.

constexpr float headroom = 24.0f, negative_headroom = 2.0f, biased_depth = 4.0f;
alignas(64) constexpr float zeros[32] = {};

enum class ScoreKind { plain, general };

// 1 - 2 / (e^2x + 1), and below 5/8 a polynomial (Moshier's tanhf of Cephes): a cap of 50 multiplies the digits that small scores lose.
ATTEND_INLINE Vector tanh(Vector x) {
  const Vector most = broadcast(10.0f), least = broadcast(-10.0f);  // 1 and -1 in float32; NaN stays
  x = select(less(most, x), most, x);
  x = select(less(x, least), least, x);
  const Vector power = exp2(multiply(x, broadcast(2.0f * log2_e)));
  const Vector far = subtract(broadcast(1.0f), divide(broadcast(2.0f), add(power, broadcast(1.0f))));
  const Vector square = multiply(x, x);
  Vector near = broadcast(-5.70498872745e-3f);
  constexpr float coefficients[] = {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f};
  for (const float coefficient : coefficients) near = multiply_add(near, square, broadcast(coefficient));
  return select(less(square, broadcast(0.390625f)), multiply_add(multiply(near, square), x, x), far);
}

// Turns chains in registers into weights. Sums and maxima wait in memory: in registers they would crowd the tile of the loop before.
template <int rows, int vectors>
ATTEND_INLINE void weigh_tile(const ScoreArguments& a, std::int64_t key, const Vector (&scores)[rows][vectors]) {
  float* const weights = a.weights + key * (vectors * lanes);
  float* const block_sum = a.block_sum;
  float* const block_maximum = a.block_maximum;
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    Vector sum = load(block_sum + v * lanes), top = load(block_maximum + v * lanes);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      top = maximum(scores[r][v], top);  // a NaN leaves it, and reaches the sum
      const Vector weight = stored_weight(exp2(scores[r][v]));
      sum = add(sum, weight);
      store(weights + r * (vectors * lanes) + v * lanes, weight);
    }
    store(block_sum + v * lanes, sum);
    store(block_maximum + v * lanes, top);
  }
}

// Fetches the keys of the next tile; or, where there are values, those of this one and the keys of the next but one, to the L2. A function
// of its own, 3.5 KB less: it is called before the tile has anything in registers.
ATTEND_NOINLINE void fetch_for_tile(const ScoreArguments& a, std::int64_t key, int rows) {
  asm volatile("");  // or g++ takes it for a function without effects, and leaves out the call
  const bool listed = a.key_rows != nullptr, far = has_prefetch_far && a.values != nullptr && !listed;
  if (listed && key + 2 * rows > a.key_count) return;
  for (int r = 0; r < rows; ++r) {
    if (far) {
      const float *const next = a.keys + (key + 2 * rows + r) * a.key_row_stride, *const values = a.values + (key + r) * a.value_row_stride;
      for (int d = 0; d < a.depth; d += 16) prefetch_far(next + d * a.key_stride);
      for (int c = 0; c < a.value_columns; c += 16) prefetch_far(values + c);
      continue;
    }
    const float* const next = listed ? a.key_rows[key + rows + r] : a.keys + (key + rows + r) * a.key_row_stride;
    for (int d = 0; d < a.depth; d += 16) prefetch(next + d * a.key_stride);
  }
}

// A plain tile takes its exponentials in registers, and so does a masked one of all rows: its hidden scores start at -inf and stay there,
// unless they become NaN. All other tiles leave chains in `weights`, for weigh_chains. Masked at the end of its chains rather than the
// start, a tile takes 7 % longer than plain, not 3 (Zen 3, D 64): the exponentials wait for it.
template <int rows, int vectors, ScoreKind kind, bool whole>
ATTEND_INLINE void score_tile(const ScoreArguments& a, std::int64_t key, const float* start, bool in_registers) {
  constexpr bool masked = kind != ScoreKind::plain && whole;
  const Vector none = broadcast(-__builtin_inff());
  const float* keys[rows];
  if (whole && a.fetches) fetch_for_tile(a, key, rows);
  Vector scores[rows][vectors];
  const bool listed = kind == ScoreKind::general && __builtin_expect(a.key_rows != nullptr, false);
  if (listed) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) keys[r] = a.key_rows[key + r];
  } else {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) keys[r] = a.keys + (key + r) * a.key_row_stride;
  }
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    const Vector first = subtract(zero(), load(start + v * lanes));
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) scores[r][v] = masked ? select(mask_of(a.visible[key + r], v), first, none) : first;
  }
  multiply_tile<1, false>(scores, keys, a.key_stride, a.depth, a.queries, {});
  if (kind == ScoreKind::plain || (masked && in_registers)) {
    weigh_tile<rows, vectors>(a, key, scores);
    return;
  }
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) store(a.weights + (key + r) * (vectors * lanes) + v * lanes, scores[r][v]);
  }
}

// Turns chains into weights, for the keys from `first` on: cap, bias, visibility, exponential.
void weigh_chains(const ScoreArguments& a, std::int64_t first) {
  const Vector none = broadcast(-__builtin_inff()), most = broadcast(headroom);
  for (std::int64_t lane = 0; lane < a.width; lane += lanes) {
    Vector sum = load(a.block_sum + lane), top = load(a.block_maximum + lane);
    for (std::int64_t key = first; key < a.key_count; ++key) {
      const std::int64_t at = key * a.width + lane;
      Vector s = load(a.weights + at);
      if (a.cap > 0.0f) s = multiply_add(tanh(s), broadcast(a.cap), subtract(zero(), load(a.start + lane)));
      if (a.bias != nullptr) s = add(s, load(a.bias + at));
      s = select(mask_of(a.visible[key], static_cast<int>(lane / lanes)), s, none);  // even where it is NaN
      top = maximum(s, top);
      // Scores above the headroom call for a move; after it rounding alone puts them there, far beyond 2^24. +inf makes its row NaN.
      s = select(both(less(most, s), less(s, broadcast(__builtin_inff()))), most, s);
      const Vector weight = stored_weight(exp2(s));
      sum = add(sum, weight);
      store(a.weights + at, weight);
    }
    store(a.block_sum + lane, sum);
    store(a.block_maximum + lane, top);
  }
}

template <int rows, int vectors, ScoreKind kind, bool whole>
ATTEND_INLINE void score_keys_from(const ScoreArguments& a, std::int64_t key, const float* start, bool in_registers) {
  for (; key + rows <= a.key_count; key += rows) score_tile<rows, vectors, kind, whole>(a, key, start, in_registers);
  if constexpr (rows > 1) {
    score_keys_from<fewer(rows), vectors, kind, false>(a, key, start, in_registers);
  }
}

// Masks alone leave scores in registers. If a sum is NaN then, a hidden key may be why: the block is scored again as with a bias, where
// hidden keys have no influence.
template <int rows, int vectors, ScoreKind kind>
ATTEND_INLINE void score_general(const ScoreArguments& a) {
  Vector sums[vectors], tops[vectors];
  for (int v = 0; v < vectors; ++v) {
    sums[v] = load(a.block_sum + v * lanes);
    tops[v] = load(a.block_maximum + v * lanes);
  }
  for (bool in_registers = a.bias == nullptr && a.cap <= 0.0f;; in_registers = false) {
    score_keys_from<rows, vectors, kind, true>(a, 0, a.cap > 0.0f ? zeros : a.start, in_registers);
    weigh_chains(a, in_registers ? a.key_count / rows * rows : 0);
    bool sound = true;
    for (int v = 0; v < vectors; ++v) sound &= !any(unlike(load(a.block_sum + v * lanes), load(a.block_sum + v * lanes)));
    if (!in_registers || sound) return;
    for (int v = 0; v < vectors; ++v) {
      store(a.block_sum + v * lanes, sums[v]);
      store(a.block_maximum + v * lanes, tops[v]);
    }
  }
}

// A function of its own: bench/neon_loops.py finds a tile's loop by its name.
template <int rows, int vectors, ScoreKind kind>
ATTEND_NOINLINE int score_block(const ScoreArguments& a) {
  if constexpr (kind == ScoreKind::plain) {
    score_keys_from<rows, vectors, kind, true>(a, 0, a.start, true);
  } else {
    score_general<rows, vectors, kind>(a);
  }
  bool moves = false, vanishes = false;
  const Vector none = broadcast(-__builtin_inff()), depth = broadcast(a.bias != nullptr ? -biased_depth : -headroom);
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    const Vector top = load(a.block_maximum + v * lanes);
    const Vector room = select(less(load(a.start + v * lanes), zero()), broadcast(negative_headroom), broadcast(headroom));
    const Mask far_below = both(less(none, top), less(top, depth));
    moves |= any(less(room, top)) || any(both(mask_of(a.unseen, v), far_below));
    vanishes |= any(less(load(a.block_sum + v * lanes), broadcast(static_cast<float>(smallest_sum))));
  }
  return (moves ? block_moves : 0) | (vanishes ? block_vanishes : 0);
}

template <ScoreKind kind>
int scores(const ScoreArguments* arguments) {
  if (arguments->width == narrow_vectors * lanes) return score_block<narrow_score_rows, narrow_vectors, kind>(*arguments);
  if constexpr (middle_vectors < wide_vectors) {
    if (arguments->width == middle_vectors * lanes) return score_block<middle_score_rows, middle_vectors, kind>(*arguments);
  }
  return score_block<score_rows, wide_vectors, kind>(*arguments);
}

[[maybe_unused]] int scores_plain(const ScoreArguments* arguments) { return scores<ScoreKind::plain>(arguments); }
int scores_general(const ScoreArguments* arguments) { return scores<ScoreKind::general>(arguments); }
