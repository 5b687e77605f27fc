// Weights of int4, over the operations that an ISA's file gives: products.h has their format. Included after formats.inl.

// What a group's 16 bits hold, for each column of a vector: 16 times the sum of its z - w, plus z.
ATTEND_INLINE const std::int16_t* words_behind(const float* scales, std::int64_t groups, std::int64_t width) {
  return reinterpret_cast<const std::int16_t*>(scales + groups * width);
}

// int4 weights times quantised rows: t = sum (q - z) (w - z of the group), exact; a sum over groups of t * scale of the group, one chain;
// then y = fma(sum, row's scale, bias). With p = q - 128, which rows hold, t is sum p w, and what a group's pair of a row adds:
// (z - 128) sum (z - w) - z sum p.
//
// Rest has load_words (pairs of the sum of z - w, and z), load_weights (4 elements of each column, of the lower or the upper half of their
// bytes), load_row (4 elements of a row), nothing, and multiply_add to a Narrow, which holds the sums of a step, or of a group where
// `holds_groups`; widen makes it Integers, to which add_pairs adds the products of words and a row's pair. Or it has a multiply_word of its own.
template <class Rest, int rows_, int vectors_>
struct Int4Format : Format<Rest, IntegerSums, rows_, vectors_> {
  static constexpr int words = 1;  // of each column, that multiply_word takes

  // The products of 8 elements: a row of words of the panel.
  template <int rows, int vectors, class Narrow>
  static ATTEND_INLINE void multiply_word(Narrow (&narrow)[rows][vectors], const float* const (&a)[rows], std::int64_t at, const char* numbers) {
    if constexpr (rows == 1) fetch_stream<4 * vectors * lanes>(numbers);
    ATTEND_UNROLL
    for (int half = 0; half < 2; ++half) {
      typename Rest::Weights weights[vectors];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) weights[v] = Rest::load_weights(numbers + v * 4 * lanes, half);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) {
        const auto word = Rest::load_row(a[r] + at + half);
        ATTEND_UNROLL
        for (int v = 0; v < vectors; ++v) narrow[r][v] = Rest::multiply_add(word, weights[v], narrow[r][v]);
      }
    }
  }

  // blocks[r][v] = the products of `count` steps.
  template <int rows, int vectors>
  static ATTEND_INLINE void multiply_step(Integers (&blocks)[rows][vectors], const float* const (&a)[rows], std::int64_t at, const char* numbers,
                                         std::int64_t count) {
    typename Rest::Narrow narrow[rows][vectors];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) narrow[r][v] = Rest::nothing();
    }
    if constexpr (Rest::holds_groups) {
      for (std::int64_t word = 0; word < int4_step / 8 * count; word += Rest::words) {
        Rest::multiply_word(narrow, a, at, numbers);
        at += 2 * Rest::words;
        numbers += 4 * Rest::words * vectors * lanes;
      }
    } else {
      ATTEND_UNROLL
      for (int word = 0; word < int4_step / 8; ++word) multiply_word(narrow, a, at + 2 * word, numbers + word * 4 * vectors * lanes);
    }
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) blocks[r][v] = Rest::widen(narrow[r][v]);
    }
  }

  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void compute(const GemmArguments& arguments, std::int64_t row, const float* ahead_from, Vector (&results)[rows][vectors]) {
    constexpr std::int64_t width = vectors * lanes, step_floats = int4_step / 8 * width;
    const float* a[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) a[r] = arguments.rows[row + r];
    const std::int64_t steps = arguments.depth, steps_of_group = arguments.group / int4_step;
    const char* numbers = reinterpret_cast<const char*>(arguments.panel);
    const float* scales = arguments.panel + steps * step_floats;
    const std::int16_t* words = words_behind(scales, (steps + steps_of_group - 1) / steps_of_group, width);
    Ahead ahead = {ahead_from, arguments.ahead_end};
    Integers sums[Rest::holds_groups ? 1 : rows][vectors];  // of the steps before the last one of a group; in memory, for there are no registers left
    Integers(*before)[vectors] = sums;
    ATTEND_KEEP_IN_MEMORY(before);
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        results[r][v] = zero();
        if constexpr (!Rest::holds_groups) before[r][v] = no_integers();
      }
    }
    std::int64_t at = 0, pair = int4_step / 4 * steps, left = steps_of_group;
    std::int64_t step = 0;
    while (step < steps) {
      ahead.fetch(step);
      const std::int64_t count = !Rest::holds_groups ? 1 : steps - step < steps_of_group ? steps - step : steps_of_group;
      Integers blocks[rows][vectors];
      multiply_step(blocks, a, at, numbers, count);
      at += int4_step / 4 * count;
      numbers += 4 * step_floats * count;
      step += count;
      if (!Rest::holds_groups && --left != 0 && step != steps) {
        ATTEND_UNROLL
        for (int r = 0; r < rows; ++r) {
          ATTEND_UNROLL
          for (int v = 0; v < vectors; ++v) before[r][v] = add_integers(before[r][v], blocks[r][v]);
        }
        continue;
      }
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        const Vector scale = load(scales + v * lanes);
        const auto word = Rest::load_words(words + v * lanes);
        ATTEND_UNROLL
        for (int r = 0; r < rows; ++r) {
          Integers sum = Rest::add_pairs(word, a[r] + pair, blocks[r][v]);
          if constexpr (!Rest::holds_groups) sum = add_integers(sum, before[r][v]);
          results[r][v] = fused_multiply_add(to_floats(sum), scale, results[r][v]);
        }
      }
      if (!Rest::holds_groups && steps_of_group > 1) {
        ATTEND_UNROLL
        for (int r = 0; r < rows; ++r) {
          ATTEND_UNROLL
          for (int v = 0; v < vectors; ++v) before[r][v] = no_integers();
        }
      }
      left = steps_of_group;
      ++pair;
      scales += width;
      words += width;
    }
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      const Vector bias = bias_of(arguments, v);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) results[r][v] = fused_multiply_add(results[r][v], broadcast(*(a[r] - row_header)), bias);
    }
  }
};
