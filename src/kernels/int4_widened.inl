// The product of floats and weights of int4, which are widened; over the Int4 of an ISA's file.

// Floats times weights of int4: scale * (w - z), rounded once, goes through the chain of float32's projections.
struct WidenedInt4 : Format<WidenedInt4, FloatSums, gemm_rows, gemm_vectors> {
  static constexpr int middle_rows = 1;
  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void compute(const GemmArguments& arguments, std::int64_t row, const float* ahead_from, Vector (&results)[rows][vectors]) {
    constexpr std::int64_t width = vectors * lanes;
    const float* a[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) a[r] = arguments.rows[row + r];
    const std::int64_t depth = arguments.depth, group = arguments.group;
    const float* scales = arguments.panel + (depth + int4_step - 1) / int4_step * (int4_step / 8) * width;
    const std::int16_t* words = words_behind(scales, (depth + group - 1) / group, width);
    Ahead ahead = {ahead_from, arguments.ahead_end};
    Vector sums[rows][vectors];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = zero();
    }
    // Of the eight numbers of a word, number n is at bit n % 4 * 8 + n / 4 * 4; what lies above bit 16 is brought into the mantissa by one shift.
    constexpr int most_bit = 16, shift = 12;
    std::int64_t at = 0, k = 0;
    const float* numbers = arguments.panel;
    while (k < depth) {
      const std::int64_t end = depth - k < group ? depth : k + group;
      Vector zeros[most_bit / 4 + 1][vectors], scale[vectors];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        const Vector zero_point = to_floats(Int4::zeros_of(Int4::load_words(words + v * lanes)));
        ATTEND_UNROLL
        for (int bit = 0; bit <= most_bit; bit += 4) zeros[bit / 4][v] = add(zero_point, broadcast(static_cast<float>(1 << (23 - bit))));
        scale[v] = load(scales + v * lanes);
      }
      for (; k < end; k += 8) {
        if constexpr (rows == 1) {
          fetch_stream<4 * width>(reinterpret_cast<const char*>(numbers));
        } else {
          ahead.fetch(k);
        }
        ATTEND_UNROLL
        for (int n = 0; n < 8; ++n) {
          if (k + n == depth) break;
          const int place = n % 4 * 8 + n / 4 * 4, bit = place > most_bit ? place - shift : place;
          Vector weights[vectors];
          ATTEND_UNROLL
          for (int v = 0; v < vectors; ++v) {
            const Integers word = load_integers(numbers + v * lanes);
            weights[v] = multiply(subtract(four_bits(place > most_bit ? shift_right(word, shift) : word, bit), zeros[bit / 4][v]), scale[v]);
          }
          ATTEND_UNROLL
          for (int r = 0; r < rows; ++r) {
            const Scalars scalar = broadcast(a[r][at]);
            ATTEND_UNROLL
            for (int v = 0; v < vectors; ++v) sums[r][v] = multiply_add_scalar(scalar, 0, weights[v], sums[r][v]);
          }
          at += arguments.k_stride;
        }
        numbers += width;
      }
      scales += width;
      words += width;
    }
    finish_floats<true>(arguments, sums, results);
  }
};

void gemm_widened_int4(const GemmArguments* arguments) { gemm_of<WidenedInt4>(arguments); }

constexpr Product float32_product(const char* instructions) {
  return {WeightType::int4, Arithmetic::float32, 0, instructions, gemm_vectors * lanes, gemm_rows, 1, 0, 1, 0, 0, nullptr, gemm_widened_int4};
}
