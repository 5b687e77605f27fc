// Scores of a key block against the queries in lanes, and their exponentials: nothing horizontal anywhere.
//
// In log2 units: the query panel holds q * scale * log2(e). Accumulators start at -maximum, an integer
// that moves only when a score exceeds it by more than `headroom`, or when a lane's first visible block
// lies that far below it; 2^24 leaves the sums exact enough and far from overflow, and moving is rare.

constexpr float headroom = 24.0f;

enum class ScoreKind { plain, general };

// 1 - 2 / (e^2x + 1): off by less than 2^-22, in units of 1, which is what a cap leaves to be told apart.
ATTEND_INLINE Vector tanh(Vector x) {
  const Vector most = broadcast(10.0f), least = broadcast(-10.0f);  // 1 and -1 in float32; NaN stays
  x = select(less(most, x), most, x);
  x = select(less(x, least), least, x);
  const Vector power = exp2(multiply(x, broadcast(2.0f * 0x1.715476p+0f)));
  return subtract(broadcast(1.0f), divide(broadcast(2.0f), add(power, broadcast(1.0f))));
}

// The plain kernel takes exponentials in registers; the others leave the chains in `weights`, for the loop
// over all that follows is as long as it is, and in each tile's registers it would be 75 KB in all.
template <int rows, int vectors, ScoreKind kind>
ATTEND_INLINE void score_tile(const ScoreArguments& a, std::int64_t key) {
  constexpr int width = vectors * lanes;
  const float* keys[rows];
  Vector scores[rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) keys[r] = a.keys + (key + r) * a.key_row_stride;
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    const Vector start = kind != ScoreKind::plain && a.cap > 0.0f ? zero() : subtract(zero(), load(a.maximum + v * lanes));
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) scores[r][v] = start;
  }
  multiply_tile<rows, vectors, false>(scores, keys, a.key_stride, a.depth, a.queries, nullptr);
  if constexpr (kind != ScoreKind::plain) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) store(a.weights + (key + r) * width + v * lanes, scores[r][v]);
    }
    return;
  }
  // Sums and maxima wait in memory: kept in registers over the loop above, they would crowd its tile.
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    Vector sum = load(a.block_sum + v * lanes), top = load(a.block_maximum + v * lanes);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      top = maximum(scores[r][v], top);  // a NaN leaves it, and reaches the sum
      const Vector weight = exp2(scores[r][v]);
      sum = add(sum, weight);
      store(a.weights + (key + r) * width + v * lanes, weight);
    }
    store(a.block_sum + v * lanes, sum);
    store(a.block_maximum + v * lanes, top);
  }
}

// From chains to weights: cap, bias, exponential.
void weigh_scores(const ScoreArguments& a) {
  const Vector none = broadcast(-__builtin_inff()), most = broadcast(headroom);
  for (std::int64_t lane = 0; lane < a.width; lane += lanes) {
    Vector sum = load(a.block_sum + lane), top = load(a.block_maximum + lane);
    for (std::int64_t key = 0; key < a.key_count; ++key) {
      const std::int64_t at = key * a.width + lane;
      Vector s = load(a.weights + at);
      if (a.cap > 0.0f) s = multiply_add(tanh(s), broadcast(a.cap), subtract(zero(), load(a.maximum + lane)));
      const Vector bias = load(a.bias + at);
      s = select(unlike(bias, none), add(s, bias), none);  // hidden even where the score is NaN
      top = maximum(s, top);
      // Above the headroom are scores that call for a move, and after it those that rounding alone put
      // there, far beyond 2^24. +inf stays what it is, and makes its row NaN.
      s = select(both(less(most, s), less(s, broadcast(__builtin_inff()))), most, s);
      const Vector weight = exp2(s);
      sum = add(sum, weight);
      store(a.weights + at, weight);
    }
    store(a.block_sum + lane, sum);
    store(a.block_maximum + lane, top);
  }
}

template <int rows, int vectors, ScoreKind kind>
ATTEND_INLINE void score_keys_from(const ScoreArguments& a, std::int64_t key) {
  for (; key + rows <= a.key_count; key += rows) score_tile<rows, vectors, kind>(a, key);
  if constexpr (rows > 1) {
    score_keys_from<fewer(rows), vectors, kind>(a, key);
  }
}

template <int rows, int vectors, ScoreKind kind>
bool score_block(const ScoreArguments& a) {
  score_keys_from<rows, vectors, kind>(a, 0);
  if constexpr (kind != ScoreKind::plain) weigh_scores(a);
  bool move = false;
  const Vector none = broadcast(-__builtin_inff());
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    const Vector top = load(a.block_maximum + v * lanes);
    const Mask unseen = both(less(load(a.sum + v * lanes), broadcast(0x1p-126f)), less(none, top));
    move |= any(less(broadcast(headroom), top)) || any(both(unseen, less(top, broadcast(-headroom))));
  }
  return move;
}

template <ScoreKind kind>
bool scores(const ScoreArguments* arguments) {
  if (arguments->width == narrow_vectors * lanes) {
    return score_block<narrow_score_rows, narrow_vectors, kind>(*arguments);
  }
  return score_block<score_rows, wide_vectors, kind>(*arguments);
}

void move_maximum(const MoveArguments* arguments) {
  const MoveArguments& a = *arguments;
  for (std::int64_t lane = 0; lane < a.width; ++lane) {
    float top = a.block_maximum[lane];
    const bool unseen = a.sum[lane] < 0x1p-126f;
    if (!(top > headroom || (unseen && top < -headroom && top > -__builtin_inff()))) continue;
    if (top > 0x1p127f * 1.9999999f) top = 0x1p120f;  // +inf: the row is NaN whatever the maximum
    float up = static_cast<float>(top < 0x1p23f && top > -0x1p23f ? static_cast<std::int32_t>(top) : top);
    if (up < top) up += 1.0f;
    const float before = a.maximum[lane];
    float after = before + up;
    // Beyond 2^24 the sum rounds: downwards, so that the largest weight does not vanish.
    while (after - before > up) after = __builtin_nextafterf(after, -__builtin_inff());
    a.maximum[lane] = after;
    if (unseen) continue;  // sum and output are zero, and 2^-up may overflow
    const Vector factor = exp2(broadcast(before - after));  // not -up, which is not what it moved by
    float factors[lanes];
    store(factors, factor);
    a.sum[lane] *= factors[0];
    float* output = a.output + lane * a.output_stride;
    for (std::int64_t c = 0; c < a.columns; c += lanes) {
      store(output + c, multiply(load(output + c), factor));
    }
  }
}
