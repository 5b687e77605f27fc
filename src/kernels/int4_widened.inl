// The product of floats and weights of int4, which are widened; over the Int4 of an ISA's file.

// What the numbers of a group have in common.
template <int vectors>
struct Int4Group {
  static constexpr int places = 5;  // of four bits in a mantissa
  Vector zeros[places][vectors], scale[vectors];

  ATTEND_INLINE Int4Group(const float* scales, const std::int16_t* words) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      const Vector zero_point = to_floats(Int4::zeros_of(Int4::load_words(words + v * lanes)));
      ATTEND_UNROLL
      for (int place = 0; place < places; ++place) zeros[place][v] = add(zero_point, broadcast(static_cast<float>(1 << (23 - 4 * place))));
      scale[v] = load(scales + v * lanes);
    }
  }

  // Number n of the eight that a word has of each column: it is at bit n % 4 * 8 + n / 4 * 4. Four bits, with the exponent that gives them
  // their value where they are, are the float 2^(23 - bit) + number, and less zeros[bit / 4], 2^(23 - bit) + zero, it is number - zero. A shift
  // and a conversion for each took Emerald Rapids 2.3 times as long for one row. Numbers above the mantissa come into it by one shift.
  ATTEND_INLINE Vector widened(const float* numbers, int n, int v) const {
    constexpr int shift = 12;
    const int place = n % 4 * 8 + n / 4 * 4, bit = place < 4 * places ? place : place - shift;
    const Integers word = load_integers(numbers + v * lanes);
    return multiply(subtract(four_bits(bit == place ? word : shift_right(word, shift), bit), zeros[bit / 4][v]), scale[v]);
  }
};

// The first scales of a panel, behind its numbers.
ATTEND_INLINE const float* scales_behind(const GemmArguments& a) {
  return a.panel + (a.depth + int4_step - 1) / int4_step * (int4_step / 8) * a.width;
}

// Floats times weights of int4, which are widened: scale * (w - z), rounded once, goes through the chain of float32's projections.
struct WidenedInt4 : Format<WidenedInt4, FloatSums, widened_rows, gemm_vectors> {
  static constexpr int middle_rows = 1;

  // The products of the first `count` of the eight numbers that a word has of each column.
  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void multiply_word(Vector (&sums)[rows][vectors], const float* const (&a)[rows], std::int64_t at, std::int64_t stride,
                                         const float* numbers, const Int4Group<vectors>& group, std::int64_t count) {
    ATTEND_UNROLL
    for (int n = 0; n < 8; ++n) {
      if (!whole && n >= count) continue;
      Vector weights[vectors];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) weights[v] = group.widened(numbers, n, v);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) {
        const Scalars scalar = broadcast(a[r][at]);
        ATTEND_UNROLL
        for (int v = 0; v < vectors; ++v) sums[r][v] = multiply_add_scalar(scalar, 0, weights[v], sums[r][v]);
      }
      at += stride;
    }
  }

  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void compute(const GemmArguments& arguments, std::int64_t row, const float* ahead_from, Vector (&results)[rows][vectors]) {
    constexpr std::int64_t width = vectors * lanes;
    const float* a[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) a[r] = arguments.rows[row + r];
    const std::int64_t depth = arguments.depth;
    const float* scales = scales_behind(arguments);
    const std::int16_t* words = words_behind(scales, (depth + arguments.group - 1) / arguments.group, width);
    Ahead ahead = {ahead_from, arguments.ahead_end};
    Vector sums[rows][vectors];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = zero();
    }
    std::int64_t at = 0, k = 0;
    const float* numbers = arguments.panel;
    while (k < depth) {
      const std::int64_t end = depth - k < arguments.group ? depth : k + arguments.group;
      const Int4Group<vectors> group(scales, words);
      for (; k < end; k += 8) {
        if constexpr (rows == 1) {
          fetch_stream<4 * width>(reinterpret_cast<const char*>(numbers));
        } else {
          ahead.fetch(k);
        }
        if (depth - k >= 8) {
          multiply_word<true>(sums, a, at, arguments.k_stride, numbers, group, 8);
        } else {
          multiply_word<false>(sums, a, at, arguments.k_stride, numbers, group, depth - k);
        }
        at += 8 * arguments.k_stride;
        numbers += width;
      }
      scales += width;
      words += width;
    }
    finish_floats<true>(arguments, sums, results);
  }
};

// Never a part of its caller, whose stack would hold both tiles.
ATTEND_NOINLINE void gemm_widened_int4(const GemmArguments* arguments) { gemm_of<WidenedInt4>(arguments); }

constexpr Product float32_product(const char* instructions, void (*gemm)(const GemmArguments*) = gemm_widened_int4) {
  return {WeightType::int4, Arithmetic::float32, 0, instructions, gemm_vectors * lanes, gemm_rows, 1, 0, 1, 0, 0, nullptr, gemm};
}
