// The products that every ISA has: int8 rows as 16 bits, bfloat16 by multiply-adds, weights widened to floats.

// Floats times weights that are widened: the chain of float32's projections.
template <class Rest>
struct WidenedFormat : Format<Rest, FloatSums, gemm_rows, gemm_vectors> {
  static constexpr int middle_rows = 1, row_panels = chained_panels;
  using Weights = Vector;
  static ATTEND_INLINE Vector nothing() { return zero(); }
  static ATTEND_INLINE Scalars load_row(const float* word, int) { return broadcast(*word); }
  static ATTEND_INLINE Vector multiply_add(Scalars word, Vector weights, Vector sum) { return multiply_add_scalar(word, 0, weights, sum); }
  template <int rows, int vectors>
  static ATTEND_INLINE void finish(const GemmArguments& arguments, const float* const (&)[rows], const Vector (&sums)[rows][vectors],
                                   Vector (&results)[rows][vectors]) {
    finish_floats<true>(arguments, sums, results);
  }
};

struct WidenedBfloat16 : WidenedFormat<WidenedBfloat16> {
  static constexpr int vector_bytes = 2 * lanes;
  static ATTEND_INLINE Vector load_weights(const char* panel, int) { return widen_bfloat16(panel); }
};

struct WidenedFloat16 : WidenedFormat<WidenedFloat16> {
  static constexpr int vector_bytes = 2 * lanes;
  static ATTEND_INLINE Vector load_weights(const char* panel, int) { return widen_float16(panel); }
};

// y = fma(sum, scale, bias).
struct WidenedInt8 : WidenedFormat<WidenedInt8> {
  static constexpr int vector_bytes = lanes;
  static ATTEND_INLINE Vector load_weights(const char* panel, int) { return widen_int8(panel); }
  template <int rows, int vectors>
  static ATTEND_INLINE void finish(const GemmArguments& arguments, const float* const (&)[rows], const Vector (&sums)[rows][vectors],
                                   Vector (&results)[rows][vectors]) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      const Vector scales = load(arguments.scales + v * lanes), bias = bias_of(arguments, v);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) results[r][v] = fused_multiply_add(sums[r][v], scales, bias);
    }
  }
};

// bfloat16 weights, in pairs, times rows that are rounded to bfloat16 and held as floats: the odd element of a pair, then the even one.
struct RoundedBfloat16 : Format<RoundedBfloat16, FloatSums, gemm_rows, gemm_vectors> {
  static constexpr int middle_rows = 1, row_panels = chained_panels;
  static constexpr int halves = 2, row_words = 2, vector_bytes = 4 * lanes;
  static constexpr bool flushes = true;
  using Weights = Vector;
  static ATTEND_INLINE Vector nothing() { return zero(); }
  static ATTEND_INLINE Vector load_row(const float* word, int half) { return broadcast(word[1 - half]); }
  static ATTEND_INLINE Vector load_weights(const char* panel, int half) { return half == 0 ? odd_bfloat16(panel) : even_bfloat16(panel); }
  static ATTEND_INLINE Vector multiply_add(Vector word, Vector weights, Vector sum) { return flushed_multiply_add(word, weights, sum); }
  template <int rows, int vectors>
  static ATTEND_INLINE void finish(const GemmArguments& arguments, const float* const (&)[rows], const Vector (&sums)[rows][vectors],
                                   Vector (&results)[rows][vectors]) {
    finish_floats<false>(arguments, sums, results);
  }
};

void gemm_int8(const GemmArguments* arguments) { gemm_of<Int8>(arguments); }
void gemm_bfloat16(const GemmArguments* arguments) { gemm_of<RoundedBfloat16>(arguments); }
void gemm_widened_int8(const GemmArguments* arguments) { gemm_of<WidenedInt8>(arguments); }
void gemm_widened_bfloat16(const GemmArguments* arguments) { gemm_of<WidenedBfloat16>(arguments); }
void gemm_widened_float16(const GemmArguments* arguments) { gemm_of<WidenedFloat16>(arguments); }

void convert_to_shorts(const ConvertRowArguments* arguments) { quantize_row<false, store_shorts>(*arguments); }
ATTEND_INLINE void store_rounded(float* row, std::int64_t d, Vector x) { store(row + d, round_to_bfloat16(x)); }
void convert_to_rounded(const ConvertRowArguments* arguments) { round_row<store_rounded>(*arguments); }

constexpr int widest = gemm_vectors * lanes;
constexpr Product every_product[] = {
    {WeightType::int8, Arithmetic::int8, 0, int8_instructions, Int8::tile_vectors * lanes, Int8::tile_rows, Int8::middle_rows, 1, 2, 2, 0, convert_to_shorts, gemm_int8},
    {WeightType::bfloat16, Arithmetic::bfloat16, 0, float_instructions, widest, gemm_rows, 1, 2, 2, 4, 0, convert_to_rounded, gemm_bfloat16, chained_panels},
    {WeightType::int8, Arithmetic::float32, 0, float_instructions, widest, gemm_rows, 1, 1, 1, 0, 0, nullptr, gemm_widened_int8, chained_panels},
    {WeightType::bfloat16, Arithmetic::float32, 0, float_instructions, widest, gemm_rows, 1, 2, 1, 0, 0, nullptr, gemm_widened_bfloat16, chained_panels},
    {WeightType::float16, Arithmetic::float32, float16_features, float_instructions, widest, gemm_rows, 1, 2, 1, 0, 0, nullptr, gemm_widened_float16, chained_panels},
};
