// How far float32 results may be from the reference: the error bounds of every operation.
//
// All are in u = 2^-24, the largest relative error of one float32 rounding. A sum of n rounded
// terms is off by at most n u sum|terms|: every rounding at its worst, all in one direction. Where
// the roundings are independent they mostly cancel, and sqrt(n) stands for n. So there are two
// kinds of bounds: for random data, and for structured data (constants, spikes), where they may all
// agree.
#pragma once

#include "reference/array.h"
#include "reference/attention.h"
#include "reference/compare.h"
#include "reference/multi_head_attention.h"
#include "reference/positions.h"

namespace attend {
namespace reference {

inline constexpr double unit_roundoff = 1.0 / 16777216.0;  // u = 2^-24

enum class Data {
  random,      // rounding errors of different elements are independent: no two rows are alike
  structured,  // they may all be the same: constants, spikes, repeated rows, anything
};

/// The core, for each element of one output row:
///
///   max|v| (2 (sqrt(D) + 4) u S' + (2 sqrt(n) + 12) u), n = min(S, 128)
///
/// S' bounds every partial sum of every score of the row, so a score is off by sqrt(D) u S', and by
/// another 4 u S' for the scale, the biases, the shift and the exponential's argument. An error e
/// of a score is a relative error e of its weight, and again of the denominator: twice. The sum of
/// the weights and the sum of weights times values: sqrt(n) u, twice; 12 u are
/// for the exponential itself, the division and the rounding of the output. Structured: D for
/// sqrt(D), and 128 for sqrt(n). However long a row, a term meets 128 roundings at most: those of its block, 32 to 96 keys,
/// and of the blocks of its span, 32 of the largest ones; spans are summed in double. When decoding, groups of 64 keys, then
/// the 16 of a chunk, then chunks in double.
double core_bound(double max_value, double score_magnitude, std::int64_t D, std::int64_t S,
                  Data data);

/// The log of the sum of exponentials of one row: (sqrt(D) + 4) u S' + (sqrt(n) + 8) u + u |LSE|.
/// The core's errors, once: the log turns the relative error of the sum into an absolute one. Biases that all keys have are in the
/// LSE alone, and in its own rounding.
double lse_bound(double lse, double score_magnitude, std::int64_t D, std::int64_t S, Data data);

/// An attention weight: weight (2 (sqrt(D) + 4) u S' + (2 sqrt(n) + 12) u) + 2^-126.
/// The core's errors; the last term lets weights below the smallest normal number be 0. S' is at least the key's own magnitude, for
/// the weight may be too small to count in S'.
double weight_bound(double weight, double score_magnitude, std::int64_t D, std::int64_t S,
                    Data data);

/// An element of a product with K terms: 2 (sqrt(K) + 4) u (sum|x w| + |b|);
/// structured: (K + 4) u (sum|x w| + |b|), which holds for any data.
double linear_bound(double magnitude, std::int64_t K, Data data);

/// A rotated element x cos - y sin: 4 u (|x cos| + |y sin|) + 2^-148.
/// The angle is the same double as the reference's, so cosine and sine are off by their own rounding
/// alone: u. Two products and their sum: at most 3 u more. Products below the normal numbers are off by
/// 2^-150 each, as is what they add up to.
double rotary_bound(double magnitude);

/// An element y of rms_norm: (sqrt(D) / 2 + 6) u |y| + 2^-148; structured: (D / 2 + 6) u |y| + 2^-148.
/// The sum of D squares, as a relative error, is halved by the root; its factor, and the products with it
/// and the weight, are rounded once each. Products below the normal numbers: as above, while |weight| <= 1.
double rms_norm_bound(double y, std::int64_t D, Data data);

// The bounds of whole results, ready for compare().

/// (B, H, L), one for each row of result.output; D the head width of q and k.
Array core_bounds(const AttentionResult& result, std::int64_t D, Data data);
/// (B, H, L), for result.lse.
Array lse_bounds(const AttentionResult& result, std::int64_t D, Data data);
/// (B, H, L, S), for result.weights.
Array weight_bounds(const AttentionResult& result, std::int64_t D, Data data);
/// The shape of matmul(a, b, b_transposed, bias).
Array matmul_bounds(const Array& a, const Array& b, bool b_transposed, const Array& bias,
                    Data data);
/// The shape of linear(x, weight, bias).
Array linear_bounds(const Array& x, const Array& weight, const Array& bias, Data data);
/// The shape of project(x, weight, bias, type, arithmetic), where x itself may be off by x_errors, of its shape; absent: it is
/// exact, and floats.
///
/// Arithmetic::float32: linear_bound on the weights that are stored, + |W x_errors|. Exact rows give exact results in the others,
/// so 0. Else an element of a row may have been rounded to the next number, and it matters which elements can have been: with
/// w the stored weights, each x_k in x_k +- (x_errors_k + u |x_k|),
///
///   bfloat16  sum |w_k| (dx_k + 2^-126), dx_k how far the ends of that interval, rounded, are from x_k, rounded
///             + twice linear_bound, for all roundings may differ then, + K 2^-125: denormals become zeros
///   int8      scale (s' sum |w_k| dq_k + ds |t|) + 6 u (scale s |t| + |bias|), dq_k how far q_k - z may be off, ds how far s,
///             s' the largest s: each from the ends of the intervals of lo, hi, x_k r and z; of int4 with the scales within the sums,
///             (groups + 6) u for 6 u, and there the sum of all sizes for |t|
///
/// Most elements are far from where rounding jumps, so dq_k is 0 but for a few. A row that is no larger than its errors has dq_k 255.
Array project_bounds(const Array& x, const Array& x_errors, const Array& weight, const Array& bias, WeightType type,
                     Arithmetic arithmetic, Data data, std::int64_t group = 32);
/// (B, L, S), for masked_softmax(x, valid_lens): weight_bound with D = 0, S' = the row's max|x|.
Array masked_softmax_bounds(const Array& x, const LengthsView& valid_lens, Data data);
/// (B, H, L, D), for rotary_embedding; 0 where an element passes.
Array rotary_bounds(const RotaryResult& result);
/// The shape of y, what rms_norm gave.
Array rms_norm_bounds(const Array& y, Data data);
/// For dot_product_attention: the output's (B, L), the weights' (B, L, S).
struct DotProductAttentionBounds {
  Array output, weights;
};
DotProductAttentionBounds dot_product_attention_bounds(const Array& queries, const Array& keys,
                                                       const Array& values,
                                                       const LengthsView& valid_lens,
                                                       const Array& dropout_multipliers, Data data);

/// How far each stage of a whole layer may be off when each works on what the one before gave.
struct LayerBounds {
  Array query;       // (B, H, L, D): errors of the projections, normed and rotated where the rows are
  Array key, value;  // (B, G, S, D)
  Array weights;     // (B, H, L, S): errors of query and key -> of the scores -> of the weights
  Array lse;         // (B, H, L): the largest of the scores' errors, and that of the sum
  Array heads;       // (B, L, H D): errors of weights and value -> of the heads
  Array output;      // (B, L, E): errors of the heads, through W_o
};

/// Bounds for a layer, from the inputs of multi_head_attention and what it gave.
///
/// Norm and rotation first turn the projections' bounds dx into, for each row,
///
///   norm     abs(w_d) / r (dx_d + abs(x_d) |x dx| / (D r^2)) + the bound of rms_norm, r the root of the mean
///   rotation |cos| dx + |sin| dy + the bound of rotary_embedding
///
/// With dq, dk, dv these bounds, m the largest ds_j of the row, and |x| the root of the
/// sum of squares of x, as independent errors add up (structured: the plain sum of absolute values,
/// the triangle inequality), for each row:
///
///   scores   ds_j = |scale| (|dq k_j| + |q dk_j| + |dq dk_j|) + (sqrt(D) + 4) u S'
///   weights  w_j (e^(ds_j + m) - 1) + (2 sqrt(S) + 12) u w_j + 2^-126
///   lse      m + the bound of the log of the sum
///   heads    e^2m (|w_j (e^ds_j - 1) (v_j - o)| + |w_j dv_j|)
///              + (2 sqrt(S) + 12) u sum w_j abs(v_j)
///   output   |W_o dheads| + the bound of the linear layer W_o
///
/// Projections of low precision have the bounds of project_bounds, W_o's from dheads.
///
/// Scores that are off by d_j give o' - o = sum w_j (e^d_j - 1) (v_j - o) / sum w_j e^d_j, exactly:
/// the error of a score matters as far as its value is from the average o, and e^m bounds the
/// division. Dropout multiplies v_j. On random data the output's bound is 2e-5 to 6e-5 of the
/// largest output for E up to 768; structured, it grows to a quarter of it, and is of use for small
/// sizes and for constants.
LayerBounds multi_head_attention_bounds(const LayerWeights& weights, std::int64_t num_heads,
                                        const Array& queries, const Array& keys,
                                        const Array& values, const AttentionOptions& options,
                                        const LayerResult& result, Data data);

}  // namespace reference
}  // namespace attend
