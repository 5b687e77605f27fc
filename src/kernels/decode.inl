// Decoding: a few rows, queries of heads that share keys. The width of a row stands in lanes: keys and values are read as they lie,
// once for all rows, in the order of their addresses.

// Elements d .. d + lanes - 1 of each key, `left` of which exist, times those of each query.
template <int rows, int keys, int at_once, bool partial>
ATTEND_INLINE void decode_score_step(Vector (&sums)[lanes], int first, const float* const (&key)[at_once],
                                     const float* queries, std::int64_t query_stride, std::int64_t d, std::int64_t left) {
  ATTEND_UNROLL
  for (int i = 0; i < at_once; ++i) {
    const Vector k = partial ? load_partial(key[i] + d, left) : load(key[i] + d);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      Vector& sum = sums[r * keys + first + i];
      sum = multiply_add(load(queries + r * query_stride + d), k, sum);
    }
  }
}

// How few rows are taken as four: what lies behind the last one is read, and what comes of it is not stored.
constexpr std::int64_t least_of_four = decode_pairs ? 3 : 2;

// `rows` rows by lanes / rows keys, as many accumulators as a vector has lanes; `count` of the keys exist.
template <int rows>
ATTEND_INLINE void decode_score_tile(const DecodeScoresArguments& a, std::int64_t row, std::int64_t key,
                                     std::int64_t count, Stream& stream) {
  constexpr int keys = lanes / rows, at_once = keys < 8 ? keys : 8;
  const float* queries = a.queries + row * a.query_stride;
  const std::int64_t whole = a.key_stride == 1 ? a.depth / lanes * lanes : 0;
  Vector sums[lanes];  // [row][key]
  ATTEND_UNROLL
  for (int i = 0; i < lanes; ++i) sums[i] = zero();
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
    if (a.key_stride == 1) {
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
  alignas(64) float scores[lanes];
  store(scores, sum_lanes(sums));
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
  for (std::int64_t key = begin; key < end; key += lanes / rows) decode_score_tile<rows>(a, row, key, end - key, ahead);
  stream = ahead;
}

// Four rows, two or one, as many as are left or one more; returns the row after them.
ATTEND_INLINE std::int64_t decode_score_rows(const DecodeScoresArguments& a, std::int64_t row, std::int64_t begin,
                                             std::int64_t end, Stream& stream) {
  if (row + least_of_four <= a.rows) return decode_score_keys<4>(a, row, begin, end, stream), row + 4;
  if constexpr (decode_pairs) {
    if (row + 2 <= a.rows) return decode_score_keys<2>(a, row, begin, end, stream), row + 2;
  }
  return decode_score_keys<1>(a, row, begin, end, stream), row + 1;
}

// Few keys at a time, so that the L1 has them for the rows after the first four; a tile or two where no row is left over by itself, so that
// the passes that fetch and those that do not are short.
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

// Whether a step begins a group of keys, and whether it ends it.
struct GroupPart {
  bool begins, completes;
};

// `rows` rows by `vectors` vectors of columns; `whole`: all columns exist, side by side; else the last vector may have fewer, or, where it
// is the only one, columns that lie apart.
template <int rows, int vectors, bool whole>
ATTEND_INLINE void decode_value_tile(const DecodeValuesArguments& a, std::int64_t row, std::int64_t column,
                                     const KeyRun& keys, GroupPart part, Stream& stream) {
  const float* weights = a.weights + row * decode_block + keys.begin;
  const float* values = keys.values + column * a.value_stride;
  const std::int64_t row_stride = keys.stride, last = a.columns - column - (vectors - 1) * lanes;  // columns in the last vector
  alignas(64) float gathered[lanes];
  Stream ahead = stream;  // a local copy, as in decode_scores
  const std::int64_t left = a.rows - row;
  float* partial = a.partial + row * a.output_stride + column;
  float* output = a.output + row * a.output_stride + column;
  Vector sums[rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) sums[r][v] = part.begins || r >= left ? zero() : load(partial + r * a.output_stride + v * lanes);
  }
  for (const float* const stop = weights + (keys.end - keys.begin); weights != stop; ++weights, values += row_stride) {
    ahead.fetch<!whole>((vectors * lanes + 15) / 16);
    Vector value[vectors];
    ATTEND_UNROLL
    for (int v = 0; v < vectors - !whole; ++v) value[v] = load(values + v * lanes);
    if (!whole && (vectors > 1 || a.value_stride == 1)) {
      value[vectors - 1] = load_partial(values + (vectors - 1) * lanes, last);
    } else if (!whole) {
      gather(values, last, a.value_stride, 0.0f, gathered);
      value[0] = load(gathered);
    }
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      const Vector weight = broadcast(weights[r * decode_block]);
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = multiply_add(weight, value[v], sums[r][v]);
    }
  }
  if (part.completes) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      if (r >= left) break;
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = add(load(output + r * a.output_stride + v * lanes), sums[r][v]);
    }
  }
  float* const place = part.completes ? output : partial;
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    if (r >= left) break;
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) store(place + r * a.output_stride + v * lanes, sums[r][v]);
  }
  stream = ahead;
}

// Takes the columns that are left, at most `vectors` vectors, together: each tile's chains wait for the multiply-adds of all keys.
template <int rows, int vectors>
ATTEND_INLINE void decode_value_rest(const DecodeValuesArguments& a, std::int64_t row, std::int64_t column,
                                     const KeyRun& keys, GroupPart part, Stream& stream) {
  if (a.columns - column > (vectors - 1) * lanes) {
    decode_value_tile<rows, vectors, false>(a, row, column, keys, part, stream);
  } else if constexpr (vectors > 1) {
    decode_value_rest<rows, vectors - 1>(a, row, column, keys, part, stream);
  }
}

// Takes columns from `column` on by `vectors` vectors, four of what is left by four. (Heads of 64 by two and two vectors made AVX-512 15 %
// slower than AVX2.)
template <int rows, int vectors>
ATTEND_INLINE void decode_value_columns(const DecodeValuesArguments& a, std::int64_t row, std::int64_t column,
                                        const KeyRun& keys, GroupPart part, Turns& turns) {
  const std::int64_t whole = a.value_stride == 1 ? a.columns : 0;
  for (; column + vectors * lanes <= whole; column += vectors * lanes) {
    decode_value_tile<rows, vectors, true>(a, row, column, keys, part, turns.next());
  }
  if constexpr (vectors > 4) {
    decode_value_columns<rows, 4>(a, row, column, keys, part, turns);
  } else {
    constexpr bool together = rows != 2 && decode_rest;  // pairs are too rare for their own code
    if constexpr (together) {
      if (a.value_stride == 1 && column < a.columns) return decode_value_rest<rows, vectors>(a, row, column, keys, part, turns.next());
    }
    for (; column < a.columns; column += lanes) decode_value_tile<rows, 1, false>(a, row, column, keys, part, turns.next());
  }
}

constexpr int decode_vectors(int rows) { return decode_accumulators / rows < 8 ? decode_accumulators / rows : 8; }

// Rows as decode_score_rows takes them.
ATTEND_INLINE std::int64_t decode_value_rows(const DecodeValuesArguments& a, std::int64_t row, const KeyRun& keys,
                                             GroupPart part, Turns& turns) {
  if (row + least_of_four <= a.rows) return decode_value_columns<4, decode_vectors(4)>(a, row, 0, keys, part, turns), row + 4;
  if constexpr (decode_pairs) {
    if (row + 2 <= a.rows) return decode_value_columns<2, decode_vectors(2)>(a, row, 0, keys, part, turns), row + 2;
  }
  return decode_value_columns<1, decode_vectors(1)>(a, row, 0, keys, part, turns), row + 1;
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
    std::int64_t row = 0;
    while (row < a.rows) row = decode_value_rows(a, row, keys, {begins, left == 0}, turns);
    begins = left == 0;
    if (begins) left = decode_group;
    key += count;
  }
}
