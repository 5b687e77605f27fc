// Attention in bfloat16: queries, keys, weights and values in pairs, which one instruction multiplies.

ATTEND_INLINE Vector stored_weight(Vector weight) {
  const __m256i halves = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(weight));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, halves), 16));
}

constexpr int fewer(int) { return 1; }
#include "kernels/exp.inl"
#include "kernels/scores.inl"

// Words of (low, high), which are rounded.
ATTEND_INLINE Vector paired(Vector low, Vector high) {
  static constexpr std::uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                              8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
  return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xffffffffu, _mm512_loadu_si512(order), halves));
}

void pair_queries(float* panel, std::int64_t depth, std::int64_t width) {
  for (std::int64_t d = 0; d < depth; d += 2) {
    for (std::int64_t n = 0; n < width; n += lanes) {
      const Vector low = load(panel + d * width + n), high = d + 1 < depth ? load(panel + (d + 1) * width + n) : zero();
      store(panel + d / 2 * width + n, paired(low, high));
    }
  }
}

void round_keys(const CopyArguments* arguments) {
  const CopyArguments& a = *arguments;
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const float* const source = a.source + r * a.source_row_stride;
    float* const destination = a.destination + r * a.destination_row_stride;
    for (std::int64_t c = 0; c < a.columns; c += 2 * lanes) {
      const std::int64_t left = a.columns - c;
      const Vector low = copy_in(source + c * a.source_stride, left, a.source_stride, 0.0f);
      const Vector high = left > lanes ? copy_in(source + (c + lanes) * a.source_stride, left - lanes, a.source_stride, 0.0f) : zero();
      store(destination + c / 2, _mm512_castsi512_ps(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low))));
    }
  }
}

void pair_values(const PairValuesArguments* arguments) {
  const PairValuesArguments& a = *arguments;
  float* destination = a.destination;
  for (std::int64_t r = -static_cast<std::int64_t>(a.odd); r < a.rows; r += 2, destination += a.destination_row_stride) {
    for (std::int64_t c = 0; c < a.columns; c += lanes) {
      const float* const low = a.source + r * a.source_row_stride + c * a.source_stride;
      const Vector first = r >= 0 ? copy_in(low, a.columns - c, a.source_stride, 0.0f) : zero();
      const Vector second = r + 1 < a.rows ? copy_in(low + a.source_row_stride, a.columns - c, a.source_stride, 0.0f) : zero();
      store(destination + c, paired(first, second));
    }
  }
}

constexpr int core_rows = 8;               // lanes whose weights are paired together
constexpr std::int64_t most_pairs = 49;    // of a block of 96 keys, whose first may be the second of its pair

// Columns [column, column + vectors * lanes) of core_rows lanes, of which `stored` are wanted. A pair at an end may have one key alone:
// the other's values are not to be met, for 0 times NaN is NaN.
template <int vectors>
ATTEND_INLINE void accumulate_pairs(const AccumulateArguments& a, const float* words, std::int64_t pairs, std::int64_t lane, std::int64_t stored,
                                    std::int64_t column) {
  const std::int64_t pair_stride = 2 * a.value_row_stride;
  const float* values = a.values - (a.odd ? a.value_row_stride : 0) + column;
  float* const output = a.output + lane * a.output_stride + column;
  const bool single = (a.key_count + a.odd) % 2 != 0;  // the last pair
  Vector sums[core_rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < core_rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) sums[r][v] = a.accumulation == Accumulation::extend && r < stored ? load(output + r * a.output_stride + v * lanes) : zero();
  }
  for (std::int64_t p = 0; p < pairs; ++p) {
    const unsigned low = p == 0 && a.odd ? 0u : 0xffffu, high = p + 1 == pairs && single ? 0u : 0xffff0000u;
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(low | high));
    Vector value[vectors];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) value[v] = _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(load(values + v * lanes)), mask));
    ATTEND_UNROLL
    for (int r = 0; r < core_rows; ++r) {
      const Vector word = broadcast(words[p * core_rows + r]);
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = multiply_add_scalar(word, 0, value[v], sums[r][v]);
    }
    values += pair_stride;
  }
  ATTEND_UNROLL
  for (int r = 0; r < core_rows; ++r) {
    if (r >= stored) return;
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      float* const place = output + r * a.output_stride + v * lanes;
      store(place, a.accumulation == Accumulation::add ? add(load(place), sums[r][v]) : sums[r][v]);
    }
  }
}

void accumulate(const AccumulateArguments* arguments) {
  const AccumulateArguments& a = *arguments;
  alignas(64) float words[most_pairs * core_rows];
  const std::int64_t pairs = (a.key_count + a.odd + 1) / 2;
  for (std::int64_t lane = 0; lane < a.lane_count; lane += core_rows) {
    const std::int64_t left = a.lane_count - lane;
    const __mmask8 wanted = static_cast<__mmask8>(left >= core_rows ? 0xff : (1u << left) - 1u);
    for (std::int64_t p = 0; p < pairs; ++p) {
      const std::int64_t key = 2 * p - a.odd;
      const float* const weights = a.weights + key * a.width + lane;
      const __m256i low = key >= 0 ? _mm256_castps_si256(_mm256_maskz_loadu_ps(wanted, weights)) : _mm256_setzero_si256();
      const __m256i high = key + 1 < a.key_count ? _mm256_castps_si256(_mm256_maskz_loadu_ps(wanted, weights + a.width)) : _mm256_setzero_si256();
      _mm256_store_si256(reinterpret_cast<__m256i*>(words + p * core_rows), _mm256_or_si256(_mm256_srli_epi32(low, 16), high));
    }
    std::int64_t column = 0;
    for (; column + lanes < a.columns; column += 2 * lanes) accumulate_pairs<2>(a, words, pairs, lane, left, column);
    if (column < a.columns) accumulate_pairs<1>(a, words, pairs, lane, left, column);
  }
}
