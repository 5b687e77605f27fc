// How far float32 results may be from the reference: the error bounds of every operation.
//
// All are in u = 2^-24, the largest relative error of one float32 rounding. A sum of n rounded terms
// is off by at most n u sum|terms| (every rounding at its worst, all in one direction), but when the
// roundings are independent by about sqrt(n) u sum|terms| / 3: so bounds for random data have
// 2 sqrt(n), or sqrt(n) where the magnitude is a maximum already, and those for structured data
// (constants, spikes, where the same rounding repeats) have n.
#pragma once

#include "reference/array.h"
#include "reference/attention.h"
#include "reference/compare.h"
#include "reference/multi_head_attention.h"

namespace attend {
namespace reference {

inline constexpr double unit_roundoff = 1.0 / 16777216.0;  // u = 2^-24

enum class Data {
  random,      // rounding errors of different elements are independent
  structured,  // they may all be the same: constants, spikes, anything
};

/// The core, for each element of one output row:
///
///   max|v| (2 (sqrt(D) + 4) u S' + (2 sqrt(S) + 12) u)
///
/// S' bounds every partial sum of every score of the row, so a score is off by sqrt(D) u S', and by
/// another 4 u S' for the scale, the biases, the shift and the exponential's argument. An error e of
/// a score is a relative error e of its weight, and again of the denominator: twice. The sum of the
/// weights and the sum of weights times values have S terms each: sqrt(S) u, twice; 12 u are for
/// the exponential itself, the division and the rounding of the output.
/// Structured: D for sqrt(D), and 128 + S/128 for sqrt(S) (the sums go key block by key block).
double core_bound(double max_value, double score_magnitude, std::int64_t D, std::int64_t S, Data data);

/// The log of the sum of exponentials of one row: (sqrt(D) + 4) u S' + (sqrt(S) + 8) u.
/// As above, once: the log turns the relative error of the sum into an absolute one.
double lse_bound(double score_magnitude, std::int64_t D, std::int64_t S, Data data);

/// An attention weight: weight (2 (sqrt(D) + 4) u S' + (2 sqrt(S) + 12) u) + 2^-126.
/// As the core; the last term lets weights below the smallest normal number be 0.
double weight_bound(double weight, double score_magnitude, std::int64_t D, std::int64_t S, Data data);

/// An element of a product with K terms: 2 (sqrt(K) + 4) u (sum|x w| + |b|);
/// structured: (K + 4) u (sum|x w| + |b|), which holds for any data.
double linear_bound(double magnitude, std::int64_t K, Data data);

// The same for whole results, ready for compare().

/// (B, H, L), one for each row of result.output; D the head width of q and k.
Array core_bounds(const AttentionResult& result, std::int64_t D, Data data);
/// (B, H, L), for result.lse.
Array lse_bounds(const AttentionResult& result, std::int64_t D, Data data);
/// (B, H, L, S), for result.weights.
Array weight_bounds(const AttentionResult& result, std::int64_t D, Data data);
/// The shape of matmul(a, b, b_transposed, bias).
Array matmul_bounds(const Array& a, const Array& b, bool b_transposed, const Array& bias, Data data);
/// The shape of linear(x, weight, bias).
Array linear_bounds(const Array& x, const Array& weight, const Array& bias, Data data);
/// (B, L, S), for masked_softmax(x, valid_lens): weight_bound with D = 0 and S' = max|x| of the row.
Array masked_softmax_bounds(const Array& x, const LengthsView& valid_lens, Data data);
/// For dot_product_attention: the output's (B, L), the weights' (B, L, S).
struct DotProductAttentionBounds {
  Array output, weights;
};
DotProductAttentionBounds dot_product_attention_bounds(const Array& queries, const Array& keys, const Array& values,
                                                       const LengthsView& valid_lens,
                                                       const Array& dropout_multipliers, Data data);

/// How far each stage of a whole layer may be off when each works on what the one before gave.
struct LayerBounds {
  Array query;       // (B, H, L, D): the projections' own errors
  Array key, value;  // (B, G, S, D)
  Array weights;     // (B, H, L, S): errors of query and key -> of the scores -> of the weights
  Array heads;       // (B, L, H D): errors of weights and value -> of the heads
  Array output;      // (B, L, E): errors of the heads, through W_o
};

/// Bounds for a layer, from the inputs of multi_head_attention and what it gave.
///
/// With dq, dk, dv the projections' bounds and |x|_2 the root of the sum of squares of independent
/// errors (structured: their plain sum |x|_1, the triangle inequality), for each row:
///   scores   ds_j = |scale| (|dq k_j|_2 + |q dk_j|_2 + |dq dk_j|_2) + (sqrt(D) + 4) u S'
///   weights  w_j (e^(ds_j + max ds) - 1)  + weight's own sums  (2 sqrt(S) + 12) u w_j
///   heads    e^(max ds) |w_j (e^ds_j - 1) (v_j - o)|_2  + |w_j dv_j|_2 + (2 sqrt(S) + 12) u sum w_j |v_j|
///   output   |W_o dheads|_2 + linear_bound
/// The heads' first term is exact: weights w_j e^d_j / sum(w e^d) give o' - o =
/// sum w_j (e^d_j - 1) (v_j - o) / sum(w e^d): an error of a score matters as far as its value is
/// from the average, o. Dropout multiplies v_j. On typical data some 1e-5 of the largest output.
LayerBounds multi_head_attention_bounds(const LayerWeights& weights, std::int64_t num_heads, const Array& queries,
                                        const Array& keys, const Array& values, const AttentionOptions& options,
                                        const LayerResult& result, Data data);

}  // namespace reference
}  // namespace attend
