// Decoding: a few rows, queries of heads that share keys. The width of a row stands in lanes: keys and values are read as they lie,
// once for all rows, in the order of their addresses.

// Elements d .. d + lanes - 1 of each key, `left` of which exist, times those of each query.
template <int rows, int keys, int at_once, bool partial, int vectors>
ATTEND_INLINE void decode_score_step(Vector (&sums)[vectors][lanes], int first, const float* const (&key)[at_once], const float* queries,
                                     std::int64_t query_stride, std::int64_t d, std::int64_t left) {
  Vector query[rows];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) query[r] = load_once(queries + r * query_stride + d);
  ATTEND_UNROLL
  for (int i = 0; i < at_once; ++i) {
    const Vector k = partial ? load_partial(key[i] + d, left) : rows > 1 ? load_once(key[i] + d) : load(key[i] + d);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      Vector& sum = sums[(r * keys + first + i) / lanes][(r * keys + first + i) % lanes];
      sum = multiply_add(query[r], k, sum);
    }
  }
}

// How many of `left` rows the next tile takes: there are tiles for 1 to `fewer` rows, and for four. The last takes fewer, too: it reads
// what lies behind the last row, and stores nothing of it.
ATTEND_INLINE int decode_tile_rows(std::int64_t left, int fewer) {
  if (fewer == 3 && (left == 5 || left == 6)) return 3;  // and two or three
  return left > fewer ? 4 : static_cast<int>(left);
}

// Keys of a tile: a vector of sums, one and a half for three rows.
constexpr int decode_tile_keys(int rows) { return rows == 3 ? lanes / 2 : lanes / rows; }

// `rows` rows by decode_tile_keys, `count` of which exist.
template <int rows>
ATTEND_INLINE void decode_score_tile(const DecodeScoresArguments& a, std::int64_t row, std::int64_t key,
                                     std::int64_t count, Stream& stream) {
  constexpr int keys = decode_tile_keys(rows), at_once = keys < 8 ? keys : 8, vectors = (rows * keys + lanes - 1) / lanes;
  const float* queries = a.queries + row * a.query_stride;
  constexpr bool gathers = rows == 4 || rows == 1;  // where the elements of a key do not lie side by side
  const std::int64_t whole = gathers && a.key_stride != 1 ? 0 : a.depth / lanes * lanes;
  Vector sums[vectors][lanes];  // [row][key]
  ATTEND_UNROLL
  for (int i = 0; i < vectors * lanes; ++i) sums[i / lanes][i % lanes] = zero();
  ATTEND_UNROLL
  for (int first = 0; first < keys; first += at_once) {
    const float* key_rows[at_once];
    if (__builtin_expect(a.key_rows != nullptr, false)) {
      for (int i = 0; i < at_once; ++i) key_rows[i] = a.key_rows[key + (first + i < count ? first + i : count - 1)];
    } else {
      ATTEND_UNROLL
      for (int i = 0; i < at_once; ++i) {  // the last key stands in for keys that do not exist
        key_rows[i] = a.keys + (key + (first + i < count ? first + i : count - 1)) * a.key_row_stride;
      }
    }
    std::int64_t d = 0;
    while (d < whole) {
      stream.fetch<false>(at_once * lanes / 16);
      decode_score_step<rows, keys, at_once, false>(sums, first, key_rows, queries, a.query_stride, d, lanes);
      d += lanes;
    }
    if (!gathers || a.key_stride == 1) {
      if (d < a.depth) decode_score_step<rows, keys, at_once, true>(sums, first, key_rows, queries, a.query_stride, d, a.depth - d);
      continue;
    }
    for (; d < a.depth; d += lanes) {
      alignas(64) float gathered[at_once * lanes];
      ATTEND_UNROLL_BY(1)
      for (int i = 0; i < at_once; ++i) gather(key_rows[i] + d * a.key_stride, a.depth - d, a.key_stride, 0.0f, gathered + i * lanes);
      const float* copies[at_once];
      ATTEND_UNROLL
      for (int i = 0; i < at_once; ++i) copies[i] = gathered + i * lanes - d;
      decode_score_step<rows, keys, at_once, false>(sums, first, copies, queries, a.query_stride, d, lanes);
    }
  }
  alignas(64) float scores[vectors * lanes];
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) store(scores + v * lanes, sum_lanes(sums[v]));
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    if (r >= a.rows - row) break;
    float* destination = a.scores + (row + r) * decode_block + key;
    if (count >= keys) __builtin_memcpy(destination, scores + r * keys, keys * sizeof(float));
    for (std::int64_t i = 0; i < count && count < keys; ++i) destination[i] = scores[r * keys + i];
  }
}

// The stream is a local copy: read and written in memory, it would bound the speed.
template <int rows>
ATTEND_INLINE void decode_score_keys(const DecodeScoresArguments& a, std::int64_t row, std::int64_t begin,
                                     std::int64_t end, Stream& stream) {
  Stream ahead = stream;
  for (std::int64_t key = begin; key < end; key += decode_tile_keys(rows)) decode_score_tile<rows>(a, row, key, end - key, ahead);
  stream = ahead;
}

// Returns the row after those of the next tile.
ATTEND_INLINE std::int64_t decode_score_rows(const DecodeScoresArguments& a, std::int64_t row, std::int64_t begin,
                                             std::int64_t end, Stream& stream) {
  const int rows = decode_tile_rows(a.rows - row, a.key_stride == 1 ? decode_fewer : 1);
  if (rows == 4) decode_score_keys<4>(a, row, begin, end, stream);
  if constexpr (decode_fewer >= 3) {
    if (rows == 3) decode_score_keys<3>(a, row, begin, end, stream);
  }
  if constexpr (decode_fewer >= 2) {
    if (rows == 2) decode_score_keys<2>(a, row, begin, end, stream);
  }
  if (rows == 1) decode_score_keys<1>(a, row, begin, end, stream);
  return row + rows;
}

// Few keys at a time, so that the L1 has them for the rows after the first tile's; a tile or two where the second has four rows, or three
// twice, so that the passes that fetch and those that do not are short. (Five rows take 2 to 5 % longer so, AVX2, Zen 4.)
void decode_scores(const DecodeScoresArguments* arguments) {
  const DecodeScoresArguments& a = *arguments;
  const std::int64_t step = a.rows > 4 && a.rows % 4 != 1 ? lanes / 2 : 16;
  Stream here = stream_of(a.queries), ahead = a.key_rows != nullptr ? here : stream_from(a.keys, a.key_row_stride, a.depth, a.ahead);
  for (std::int64_t key = 0; key < a.key_count; key += step) {
    const std::int64_t end = key + step < a.key_count ? key + step : a.key_count;
    if (a.key_rows != nullptr) fetch_rows(a.key_rows, key, step, a.key_count, a.depth);
    std::int64_t row = 0;
    while (row < a.rows) row = decode_score_rows(a, row, key, end, row == 0 ? ahead : here);
  }
}

// Adds up by halves.
ATTEND_INLINE float sum_of(Vector x) {
  float all[lanes];
  store(all, x);
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) all[i] += all[i + half];
  }
  return all[0];
}
// Applies cap and bias to a vector of scores, `count` of which exist; hidden ones and the rest become -inf.
ATTEND_INLINE Vector decode_biased(const DecodeWeightsArguments& a, std::int64_t j, Vector s, std::int64_t count) {
  const Vector none = broadcast(-__builtin_inff());
  if (a.cap > 0.0f) s = multiply(tanh(s), broadcast(a.cap));
  if (a.bias != nullptr) {
    const Vector bias = load_partial(a.bias + j, count);
    s = select(unlike(bias, none), add(s, bias), none);  // even where it is NaN
  }
  return count < lanes ? select(less(load(ascending), broadcast(static_cast<float>(count))), s, none) : s;
}

void decode_weights(DecodeWeightsArguments* arguments) {
  DecodeWeightsArguments& a = *arguments;
  const Vector none = broadcast(-__builtin_inff());
  const bool plain = a.bias == nullptr && !(a.cap > 0.0f);
  const std::int64_t whole = plain ? a.key_count / lanes * lanes : 0;
  Vector tops = none;
  for (std::int64_t j = 0; j < whole; j += lanes) tops = maximum(load(a.weights + j), tops);  // NaN leaves it
  for (std::int64_t j = whole; j < a.key_count; j += lanes) {
    const std::int64_t count = a.key_count - j;
    const Vector s = decode_biased(a, j, load_partial(a.weights + j, count), count);
    tops = maximum(s, tops);
    store_partial(a.weights + j, s, count);
  }

  // An integer, so that a move is exact. Floats above 2^23 are integers.
  float up = largest_of(tops);
  up = up > a.maximum ? up : a.maximum;
  if (up < 0x1p23f && up > -0x1p23f) {
    const float whole = static_cast<float>(static_cast<std::int32_t>(up));
    up = whole < up ? whole + 1.0f : whole;
  }
  a.factor = 1.0f;
  if (up > a.maximum) {
    float moved[lanes];
    store(moved, exp2(broadcast(a.maximum - up)));
    a.factor = moved[0];
    a.maximum = up;
  }
  const Vector from = broadcast(a.maximum == -__builtin_inff() ? 0.0f : a.maximum);
  Vector sums = zero();
  std::int64_t j = 0;
  for (; j + lanes <= a.key_count; j += lanes) {
    const Vector weight = exp2(subtract(load(a.weights + j), from));
    sums = add(sums, weight);
    store(a.weights + j, weight);
  }
  if (j < a.key_count) {
    const std::int64_t count = a.key_count - j;
    const Vector s = select(less(load(ascending), broadcast(static_cast<float>(count))), load_partial(a.weights + j, count), none);
    const Vector weight = exp2(subtract(s, from));
    sums = add(sums, weight);
    store_partial(a.weights + j, weight, count);
  }
  a.sum = a.sum * a.factor + sum_of(sums);
}

// Rows [row, row + rows) of a call, with a step of keys: whether it begins a group, and whether it ends it.
struct ValueStep {
  std::int64_t row, rows;
  KeyRun keys;
  bool begins, completes;
};

// `rows` rows, of which step.rows exist, by `vectors` vectors of columns; `whole`: all columns exist, side by side; else the last vector may
// have fewer, or, where it is the only one, columns that lie apart.
template <int rows, int vectors, bool whole>
ATTEND_INLINE void decode_value_tile(const DecodeValuesArguments& a, const ValueStep& step, std::int64_t column, Stream& stream) {
  const float* weights = a.weights + step.row * decode_block + step.keys.begin;
  const float* values = step.keys.values + column * a.value_stride;
  const std::int64_t row_stride = step.keys.stride;
  std::int64_t last = a.columns - column - (vectors - 1) * lanes;  // columns in the last vector
  if (last > lanes) last = lanes;
  alignas(64) float gathered[lanes];
  Stream ahead = stream;  // a local copy, as in decode_scores
  float* partial = a.partial + step.row * a.output_stride + column;
  float* output = a.output + step.row * a.output_stride + column;
  Vector sums[rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) sums[r][v] = step.begins || r >= step.rows ? zero() : load(partial + r * a.output_stride + v * lanes);
  }
  for (const float* const stop = weights + (step.keys.end - step.keys.begin); weights != stop; ++weights, values += row_stride) {
    ahead.fetch<!whole>((vectors * lanes + 15) / 16);
    Vector weight[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) weight[r] = broadcast(weights[r * decode_block]);
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      Vector value;
      if (whole || v < vectors - 1) {
        value = rows > 1 ? load_once(values + v * lanes) : load(values + v * lanes);
      } else if (vectors > 1 || a.value_stride == 1) {
        value = load_partial(values + v * lanes, last);
      } else {
        gather(values, last, a.value_stride, 0.0f, gathered);
        value = load(gathered);
      }
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) sums[r][v] = multiply_add(weight[r], value, sums[r][v]);
    }
  }
  if (step.completes) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      if (r >= step.rows) break;
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = add(load(output + r * a.output_stride + v * lanes), sums[r][v]);
    }
  }
  float* const place = step.completes ? output : partial;
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    if (r >= step.rows) break;
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) store(place + r * a.output_stride + v * lanes, sums[r][v]);
  }
  stream = ahead;
}

// Vectors of columns that a tile takes. Three rows leave registers for four, whatever the sums.
constexpr int decode_vectors(int rows) { return rows == 3 ? 4 : decode_accumulators / rows < 8 ? decode_accumulators / rows : 8; }

// Takes whole vectors from `column` on by `vectors` and, where that is more than four, by four; returns the column after them. (Heads of 64 by
// two and two vectors made AVX-512 15 % slower than AVX2.)
template <int rows, int vectors = decode_vectors(rows)>
ATTEND_INLINE std::int64_t decode_value_columns(const DecodeValuesArguments& a, const ValueStep& step, std::int64_t column, Turns& turns) {
  const std::int64_t whole = a.value_stride == 1 ? a.columns : 0;
  for (; column + vectors * lanes <= whole; column += vectors * lanes) {
    decode_value_tile<rows, vectors, true>(a, step, column, turns.next());
  }
  if constexpr (vectors > 4) column = decode_value_columns<rows, 4>(a, step, column, turns);
  return column;
}

// Takes up to `vectors` vectors of the columns that are left together: each tile's chains wait for the multiply-adds of all keys.
template <int rows, int vectors>
ATTEND_INLINE void decode_value_rest(const DecodeValuesArguments& a, const ValueStep& step, std::int64_t column, Stream& stream) {
  if (a.columns - column > (vectors - 1) * lanes) {
    decode_value_tile<rows, vectors, false>(a, step, column, stream);
  } else if constexpr (vectors > 1) {
    decode_value_rest<rows, vectors - 1>(a, step, column, stream);
  }
}

// Takes the columns that are left, and all where they lie apart.
template <int rows>
ATTEND_INLINE void decode_value_ends(const DecodeValuesArguments& a, const ValueStep& step, std::int64_t column, Turns& turns) {
  constexpr int most = decode_vectors(rows) < 4 ? decode_vectors(rows) : 4;
  const bool together = decode_rest && a.value_stride == 1;
  while (column < a.columns) {
    if (together) {
      decode_value_rest<rows, most>(a, step, column, turns.next());
    } else {
      decode_value_tile<rows, 1, false>(a, step, column, turns.next());
    }
    column += together ? most * lanes : lanes;
  }
}

// Rows as decode_tile_rows has them; columns that are left over, and rare, go by four rows or one.
ATTEND_INLINE void decode_value_rows(const DecodeValuesArguments& a, const ValueStep& step, int rows, Turns& turns) {
  std::int64_t column = 0;
  if (rows == 4) column = decode_value_columns<4>(a, step, column, turns);
  if constexpr (decode_fewer >= 3) {
    if (rows == 3) column = decode_value_columns<3>(a, step, column, turns);
  }
  if constexpr (decode_fewer >= 2) {
    if (rows == 2) column = decode_value_columns<2>(a, step, column, turns);
  }
  if (rows > 1) return decode_value_ends<4>(a, step, column, turns);
  column = decode_value_columns<1>(a, step, column, turns);
  decode_value_ends<1>(a, step, column, turns);
}

// As many keys at a time as the L1 has values of for the tiles after the first one: 16 KiB of rows side by side, others may share its
// sets. A whole group where one tile takes them. (8 keys of 64 at a time took 10 % longer than 64.)
void decode_values(const DecodeValuesArguments* arguments) {
  const DecodeValuesArguments& a = *arguments;
  const bool one_tile = a.rows == 1 && a.columns <= decode_vectors(1) * lanes;
  std::int64_t step = one_tile ? decode_group : a.value_row_stride - a.columns < 16 ? 4096 / a.columns : 0;
  step = step < 8 ? 8 : step < decode_group ? step : decode_group;
  const Stream here = stream_of(a.output);
  Turns turns = {here, here, (a.rows + 3) / 4, 1};
  if (a.value_rows == nullptr) turns.ahead = stream_from(a.values, a.value_row_stride, a.columns, a.ahead);
  std::int64_t left = a.left;
  bool begins = !a.continues;
  for (std::int64_t key = 0; key < a.key_count;) {
    std::int64_t count = step < left ? step : left;
    if (count > a.key_count - key) count = a.key_count - key;
    KeyRun keys;
    if (a.value_rows != nullptr) {
      keys = run_of(a.value_rows, key, count);
      count = keys.end - key;
      fetch_rows(a.value_rows, key, count, a.key_count, a.columns);
    } else {
      keys = {key, key + count, a.values + key * a.value_row_stride, a.value_row_stride};
    }
    left -= count;
    if (a.ends && key + count == a.key_count) left = 0;
    for (std::int64_t row = 0; row < a.rows;) {
      const std::int64_t still = a.rows - row;
      const int rows = decode_tile_rows(still, decode_fewer);
      decode_value_rows(a, {row, rows < still ? rows : still, keys, begins, left == 0}, rows, turns);
      row += rows;
    }
    begins = left == 0;
    if (begins) left = decode_group;
    key += count;
  }
}
