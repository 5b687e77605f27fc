// Formats of low precision, over the operations that an ISA's file gives: one word of a row at a time, times vectors of the panel.
//
// A Format's load_row gives the word of a row at a step, load_weights a vector of the panel, in `halves` parts; multiply_add adds their
// product to a sum. Sums are copied to a tile of their own before they become results: else g++ keeps them in memory.

#include "kernels/strided.inl"
#include "kernels/product.inl"
#include "kernels/row_tiles.inl"
#include "kernels/convert.inl"

// One row reads the weights as one stream, and fetches this far ahead of it: what a CPU has in flight at once are few bytes of narrow weights.
// Emerald Rapids, 4096 x 4096 from memory, of its bandwidth: bfloat16 67 % without, 95 % with; int4 76 and 105 %; 2 KiB ahead lose 5 %.
constexpr int stream_bytes_ahead = 8192;

template <int bytes>
ATTEND_INLINE void fetch_stream(const char* weights) {
  ATTEND_UNROLL
  for (int byte = 0; byte < bytes; byte += 64) prefetch(reinterpret_cast<const float*>(weights + stream_bytes_ahead + byte));
}

// sums[r][v] = the products of row r with vector v of the panel, over ascending steps.
template <class Format, int rows, int vectors>
ATTEND_INLINE void multiply_words(typename Format::Sum (&sums)[rows][vectors], const float* const (&a)[rows], const GemmArguments& arguments,
                                  Ahead ahead) {
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) sums[r][v] = Format::nothing();
  }
  constexpr int panels = vectors > Format::tile_vectors ? 2 : 1, panel_vectors = vectors / panels;  // two: of one row
  const char* panel = reinterpret_cast<const char*>(arguments.panel);
  const std::int64_t next = arguments.next_panel * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t depth = arguments.depth, stride = Format::row_words * arguments.k_stride;
  std::int64_t at = 0;
  for (std::int64_t k = 0; k < depth; ++k) {
    if constexpr (rows == 1) {
      fetch_stream<panel_vectors * Format::vector_bytes>(panel);
      if constexpr (panels == 2) fetch_stream<panel_vectors * Format::vector_bytes>(panel + next);
    } else {
      ahead.fetch(k);
    }
    ATTEND_UNROLL
    for (int half = 0; half < Format::halves; ++half) {
      typename Format::Weights weights[vectors];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        weights[v] = Format::load_weights(panel + v / panel_vectors * next + v % panel_vectors * Format::vector_bytes, half);
      }
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) {
        const auto word = Format::load_row(a[r] + at, half);
        ATTEND_UNROLL
        for (int v = 0; v < vectors; ++v) sums[r][v] = Format::multiply_add(word, weights[v], sums[r][v]);
      }
    }
    panel += panel_vectors * Format::vector_bytes;
    at += stride;
  }
}

ATTEND_INLINE Vector bias_of(const GemmArguments& arguments, int v) {
  return arguments.bias != nullptr ? load(arguments.bias + v * lanes) : zero();
}

// Sums of floats are results, but for the bias. An absent one is 0, which makes a sum of -0 a 0, or `keeps` sums as they are.
template <bool keeps, int rows, int vectors>
ATTEND_INLINE void finish_floats(const GemmArguments& arguments, const Vector (&sums)[rows][vectors], Vector (&results)[rows][vectors]) {
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    const bool added = !keeps || arguments.bias != nullptr;
    const Vector bias = bias_of(arguments, v);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) results[r][v] = added ? add(sums[r][v], bias) : sums[r][v];
  }
}

struct FloatSums {
  using Sum = Vector;
};
struct IntegerSums {
  using Sum = Integers;
};

// What the tiles of all formats have in common; Rest has nothing, the sum to start from, load_row, load_weights, multiply_add, and finish.
template <class Rest, class Sums, int rows_, int vectors_>
struct Format : Sums {
  static constexpr int tile_rows = rows_, tile_vectors = vectors_, least_vectors = product_least_vectors;
  static constexpr int rest_rows(int rows) { return rows > Rest::middle_rows ? Rest::middle_rows : 1; }
  static constexpr int halves = 1, row_words = 1;
  static constexpr int middle_rows = 4;  // rows of the tile between the whole one and a single row; 1: there is none
  static constexpr int row_panels = 1;  // that one row takes at once
  static constexpr bool flushes = false;  // whether denormals become zeros by the thread's mode

  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void compute(const GemmArguments& arguments, std::int64_t row, const float* ahead, Vector (&results)[rows][vectors]) {
    const float* a[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) a[r] = arguments.rows[row + r];
    typename Sums::Sum sums[rows][vectors];
    if constexpr (Rest::flushes) {
      const FlushedDenormals mode;
      multiply_words<Rest, rows, vectors>(sums, a, arguments, {ahead, arguments.ahead_end});
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) {
        ATTEND_UNROLL
        for (int v = 0; v < vectors; ++v) ATTEND_KEEP(sums[r][v]);
      }
    } else {
      multiply_words<Rest, rows, vectors>(sums, a, arguments, {ahead, arguments.ahead_end});
    }
    Rest::finish(arguments, a, sums, results);
  }
};

// int8 weights times quantised rows: t = sum (q - z) w, y = fma(t, row's scale * column's, bias). Rows hold q - z where `has_zero` is
// false; else q, and z times the sum of a column's weights is taken off.
template <class Rest, int rows_, int vectors_, bool has_zero>
struct Int8Format : Format<Rest, IntegerSums, rows_, vectors_> {
  template <int rows, int vectors>
  static ATTEND_INLINE void finish(const GemmArguments& arguments, const float* const (&a)[rows], const Integers (&sums)[rows][vectors],
                                   Vector (&results)[rows][vectors]) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      const Vector scales = load(arguments.scales + v * lanes), bias = bias_of(arguments, v);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) {
        const float* const header = a[r] - row_header;
        Integers sum = sums[r][v];
        if constexpr (has_zero) sum = Rest::subtract_product(sum, header[1], arguments.sums + v * lanes);
        results[r][v] = fused_multiply_add(to_floats(sum), multiply(broadcast(header[0]), scales), bias);
#if defined(__clang__)  // it would take all products side by side: 2 KiB of stack
        ATTEND_KEEP(results[r][v]);
#endif
      }
    }
  }
};
