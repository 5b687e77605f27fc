// Rows of a cache of low precision, over the operations that an ISA's file gives: floats to what is stored and back, and decoding.

#include "kernels/decode_rows.inl"

// What an element is: its bytes, whether it is an integer with a scale, a vector of them as floats, and a vector of floats as them.
template <int bytes_>
struct StoredElements {
  static constexpr bool scaled = false;
  static constexpr int bytes = bytes_;
  static ATTEND_INLINE const char* at(const float* row, std::int64_t n) { return reinterpret_cast<const char*>(row) + n * bytes; }
};

struct StoredBfloat16 : StoredElements<2> {
  static ATTEND_INLINE Vector widened(const float* row, std::int64_t n) { return widen_bfloat16(at(row, n)); }
  static ATTEND_INLINE void store_rounded(char* p, Vector x) { store_bfloat16(p, x); }
};

struct StoredFloat16 : StoredElements<2> {
  static ATTEND_INLINE Vector widened(const float* row, std::int64_t n) { return widen_float16(at(row, n)); }
  static ATTEND_INLINE void store_rounded(char* p, Vector x) { store_float16(p, x); }
};

struct StoredInt8 : StoredElements<1> {
  static constexpr bool scaled = true;
  static ATTEND_INLINE Vector widened(const float* row, std::int64_t n) { return widen_int8(at(row, n)); }
  static ATTEND_INLINE void store_rounded(char* p, Vector x) { store_int8(p, x); }
};

// The row to be stored, side by side and in whole vectors: 2.25 KiB of stack.
struct WholeRow {
  alignas(64) float elements[largest_stored];
  std::int64_t width;
};
ATTEND_NOINLINE void take_row(const StoreRowArguments& a, WholeRow* row) {
  row->width = (a.columns + stored_step - 1) / stored_step * stored_step;
  ATTEND_UNROLL_BY(1)
  for (std::int64_t d = 0; d < row->width; ++d) row->elements[d] = d < a.columns ? a.source[d * a.stride] : 0.0f;
}

// The largest |x| / 127; NaN for a row that is not finite.
ATTEND_INLINE float symmetric_scale(const WholeRow& row) {
  Vector largest = zero(), unlike_zero = zero();
  for (std::int64_t d = 0; d < row.width; d += lanes) {
    const Vector x = load(row.elements + d);
    largest = maximum(maximum(x, subtract(zero(), x)), largest);
    unlike_zero = multiply_add(x, zero(), unlike_zero);
  }
  if (any(unlike(unlike_zero, zero()))) return __builtin_nanf("");
  float all[lanes];
  store(all, largest);
  ATTEND_UNROLL_BY(1)
  for (int i = 1; i < lanes; ++i) all[0] = all[i] > all[0] ? all[i] : all[0];
  return all[0] / 127.0f;
}

template <class Elements>
ATTEND_INLINE void store_row_of(const StoreRowArguments& a) {
  WholeRow row;
  take_row(a, &row);
  float scale = 1.0f;
  if (Elements::scaled) *a.scale = scale = symmetric_scale(row);
  const bool empty = !(scale > 0.0f);
  const Vector divisor = broadcast(empty ? 1.0f : scale), magic = broadcast(integer_magic), most = broadcast(127.0f);
  for (std::int64_t d = 0; d < row.width; d += lanes) {
    Vector x = empty ? zero() : load(row.elements + d);
    if (Elements::scaled) {
      x = subtract(add(divide(x, divisor), magic), magic);
      x = minimum(maximum(x, subtract(zero(), most)), most);
    }
    Elements::store_rounded(reinterpret_cast<char*>(a.row) + d * Elements::bytes, x);
  }
}

template <class Elements>
ATTEND_INLINE void widen_rows_of(const WidenRowsArguments& a) {
  for (std::int64_t r = 0; r < a.row_count; ++r) {
    float* const destination = a.destination + r * a.destination_stride;
    const Vector scale = broadcast(Elements::scaled && a.scales != nullptr ? *a.scales[r] : 1.0f);
    for (std::int64_t c = 0; c < a.columns; c += lanes) {
      const Vector x = Elements::widened(a.rows[r], a.first + c);
      store(destination + c, Elements::scaled ? multiply(x, scale) : x);
    }
  }
}

void scale_numbers(float* numbers, const float* scales, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(numbers + i, multiply(load(numbers + i), load(scales + i)));
  const std::int64_t left = count - i;
  if (left > 0) store_partial(numbers + i, multiply(load_partial(numbers + i, left), load_partial(scales + i, left)), left);
}

// The only loops that know what elements are: scores of some rows with as many keys as a vector has lanes, and sums of values over
// ascending keys.
struct ScoreBlock {
  const float* queries;
  std::int64_t width;        // of queries, in whole vectors
  const float* const* keys;  // [lanes]
  std::int64_t count;        // of keys that exist
  float* scores;             // [rows][lanes]
};
struct ValueBlock {
  const float* weights;   // [rows][decode_block]
  std::int64_t key_count;
  const float* values;    // in the first column
  std::int64_t row_stride;
  const float* from[stored_rows];  // what sums start at, of each row, in the first column
  float* to[stored_rows];  // where they go
  bool adds;              // whether they are added to what is there
};
struct Chains {
  int bytes;  // of an element
  // [0]: of one row; [1]: of stored_rows.
  void (*scores[2])(const ScoreBlock&);
  void (*values[2])(const ValueBlock&);   // vectors_of(rows) vectors of columns
  void (*columns[2])(const ValueBlock&);  // one
};
constexpr int vectors_of(int rows) { return rows == 1 ? 4 : stored_vectors; }

// Chains of `rows` rows with `keys` keys, lane by lane.
template <class Elements, int rows, int keys>
ATTEND_INLINE void score_chains(const ScoreBlock& a, const float* const* key, Vector (&sums)[rows * keys]) {
  const float* places[keys];
  ATTEND_UNROLL
  for (int i = 0; i < keys; ++i) places[i] = key[i];
  ATTEND_UNROLL
  for (int i = 0; i < rows * keys; ++i) sums[i] = zero();
  const std::int64_t width = a.width;
  std::int64_t d = 0;
  do {  // at least once
    Vector query[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) query[r] = load_once(a.queries + r * width + d);
    ATTEND_UNROLL
    for (int i = 0; i < keys; ++i) {
      const Vector k = Elements::widened(places[i], d);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) sums[r * keys + i] = multiply_add(query[r], k, sums[r * keys + i]);
    }
    d += lanes;
  } while (d < width);
}

[[maybe_unused]] ATTEND_NOINLINE void add_lanes(const Vector (&sums)[lanes], float* scores) { store(scores, sum_lanes(sums)); }

// Tiles of all keys that make a vector of sums; one row has them by four, whose sums wait in memory.
template <class Elements, int rows>
void score_rows_of(const ScoreBlock& a) {
  constexpr int tile_keys = lanes / rows, at_once = rows == 1 ? 4 : tile_keys;
  ATTEND_UNROLL_BY(1)
  for (std::int64_t first = 0; first < a.count; first += tile_keys) {
    Vector sums[lanes];
    alignas(64) float tile[lanes];
    if constexpr (at_once == tile_keys) {
      score_chains<Elements, rows, tile_keys>(a, a.keys + first, sums);
      store(tile, sum_lanes(sums));
    } else {
      ATTEND_UNROLL_BY(1)
      for (int i = 0; i < tile_keys; i += at_once) {
        Vector some[at_once];
        score_chains<Elements, 1, at_once>(a, a.keys + i, some);
        ATTEND_UNROLL
        for (int k = 0; k < at_once; ++k) sums[i + k] = some[k];
      }
      add_lanes(sums, tile);
    }
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) __builtin_memcpy(a.scores + r * lanes + first, tile + r * tile_keys, tile_keys * sizeof(float));
  }
}

template <class Elements, int rows, int vectors>
void value_chains(const ValueBlock& a) {
  Vector sums[rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    const float* const from = a.from[r];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) sums[r][v] = load(from + v * lanes);
  }
  const float *values = a.values, *weights = a.weights;
  const std::int64_t row_stride = a.row_stride;
  const float* const stop = weights + a.key_count;
  do {  // at least one key
    Vector value[vectors];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) value[v] = Elements::widened(values, v * lanes);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      const Vector weight = broadcast(weights[r * decode_block]);
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = multiply_add(weight, value[v], sums[r][v]);
    }
    values += row_stride;
  } while (++weights != stop);
  if (a.adds) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      const float* const to = a.to[r];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = add(load(to + v * lanes), sums[r][v]);
    }
  }
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    float* const to = a.to[r];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) store(to + v * lanes, sums[r][v]);
  }
}

// How many rows a tile takes: stored_rows, of which some may not exist, or one.
ATTEND_INLINE int tile_of(std::int64_t rows) { return rows > 1 ? stored_rows : 1; }
ATTEND_INLINE std::int64_t words_of(const Chains& chains, std::int64_t elements) { return (elements * chains.bytes + 3) / 4; }

// As decode_scores, over rows of other elements.
ATTEND_NOINLINE void decode_scores_by(const DecodeScoresArguments& a, const Chains& chains) {
  const std::int64_t words = words_of(chains, a.depth);
  const bool listed = a.key_rows != nullptr;
  PacedStream ahead = listed ? paced_of(a.queries) : paced_from(a.keys, a.key_row_stride, words, a.ahead, a.rows);
  for (std::int64_t key = 0; key < a.key_count; key += lanes) {
    const std::int64_t count = a.key_count - key < lanes ? a.key_count - key : lanes;
    if (listed) fetch_rows(a.key_rows, key, lanes, a.key_count, words);
    const float* keys[lanes];
    ATTEND_UNROLL_BY(1)
    for (std::int64_t i = 0; i < lanes; ++i) {  // the last key stands in for keys that do not exist
      const std::int64_t j = key + (i < count ? i : count - 1);
      keys[i] = listed ? a.key_rows[j] : a.keys + j * a.key_row_stride;
    }
    int rows = 0;
    for (std::int64_t row = 0; row < a.rows; row += rows) {
      rows = tile_of(a.rows - row);
      const std::int64_t existing = a.rows - row < rows ? a.rows - row : rows;
      ahead.fetch(lanes, existing);
      alignas(64) float scores[stored_rows * lanes];
      chains.scores[rows > 1]({a.queries + row * a.query_stride, a.query_stride, keys, count, scores});
      for (int r = 0; r < existing; ++r) store_partial(a.scores + (row + r) * decode_block + key, load(scores + r * lanes), count);
    }
  }
}

alignas(64) constexpr float zeros[4 * lanes] = {};  // what the sums of a group start from

// As decode_values, over rows of other elements.
ATTEND_NOINLINE void decode_values_by(const DecodeValuesArguments& a, const Chains& chains) {
  const std::int64_t words = words_of(chains, a.columns), most = 4096 / words;
  const std::int64_t step = most < 8 ? 8 : most < decode_group ? most : decode_group;
  const bool listed = a.value_rows != nullptr;
  PacedStream ahead = listed ? paced_of(a.output) : paced_from(a.values, a.value_row_stride, words, a.ahead, a.rows * a.output_stride);
  std::int64_t left = a.left;
  bool begins = !a.continues;
  for (std::int64_t key = 0; key < a.key_count;) {
    std::int64_t count = step < left ? step : left;
    if (count > a.key_count - key) count = a.key_count - key;
    KeyRun keys;
    if (listed) {
      keys = run_of(a.value_rows, key, count);
      count = keys.end - key;
      fetch_rows(a.value_rows, key, count, a.key_count, words);
    } else {
      keys = {key, key + count, a.values + key * a.value_row_stride, a.value_row_stride};
    }
    left -= count;
    if (a.ends && key + count == a.key_count) left = 0;
    int rows = 0;
    for (std::int64_t row = 0; row < a.rows; row += rows) {
      rows = tile_of(a.rows - row);
      float spare[stored_vectors * lanes] = {};  // where rows go that do not exist
      const std::int64_t wide = vectors_of(rows) * lanes;
      std::int64_t columns = 0;
      for (std::int64_t column = 0; column < a.output_stride; column += columns) {
        columns = column + wide <= a.output_stride ? wide : lanes;
        ValueBlock block;
        block.weights = a.weights + row * decode_block + key;
        block.key_count = count;
        block.values = keys.values + column * chains.bytes / 4;
        block.row_stride = keys.stride;
        block.adds = left == 0;
        for (int r = 0; r < rows; ++r) {
          const std::int64_t at = (row + r) * a.output_stride + column;
          const bool exists = row + r < a.rows;
          block.from[r] = begins || !exists ? zeros : a.partial + at;
          block.to[r] = !exists ? spare : left == 0 ? a.output + at : a.partial + at;
        }
        ahead.fetch(count, (a.rows - row < rows ? a.rows - row : rows) * columns);
        (columns > lanes ? chains.values : chains.columns)[rows > 1](block);
      }
    }
    begins = left == 0;
    if (begins) left = decode_group;
    key += count;
  }
}

template <class Elements>
constexpr Chains chains = {
    Elements::bytes,
    {score_rows_of<Elements, 1>, score_rows_of<Elements, stored_rows>},
    {value_chains<Elements, 1, vectors_of(1)>, value_chains<Elements, stored_rows, vectors_of(stored_rows)>},
    {value_chains<Elements, 1, 1>, value_chains<Elements, stored_rows, 1>},
};

template <class Elements>
void store_row(const StoreRowArguments* arguments) { store_row_of<Elements>(*arguments); }
template <class Elements>
void widen_rows(const WidenRowsArguments* arguments) { widen_rows_of<Elements>(*arguments); }
template <class Elements>
void decode_stored_scores(const DecodeScoresArguments* arguments) { decode_scores_by(*arguments, chains<Elements>); }
template <class Elements>
void decode_stored_values(const DecodeValuesArguments* arguments) { decode_values_by(*arguments, chains<Elements>); }

template <class Elements>
constexpr CacheKernels cache_kernels(CacheType type, unsigned features) {
  return {type, features, Elements::bytes, store_row<Elements>, widen_rows<Elements>, decode_stored_scores<Elements>, decode_stored_values<Elements>,
          Elements::scaled ? scale_numbers : nullptr};
}

constexpr CacheKernels every_cache[] = {
    cache_kernels<StoredBfloat16>(CacheType::bfloat16, 0),
    cache_kernels<StoredFloat16>(CacheType::float16, float16_features),
    cache_kernels<StoredInt8>(CacheType::int8, 0),
};
