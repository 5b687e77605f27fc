// Projections of low precision: how numbers are rounded, weights stored, rows quantised, and in which order it all is summed.
//
// Float stands here for float32 arithmetic, one rounding for each operation as it is written: where
// results are exact to the bit, that is what they are made of.
#pragma once

#include <vector>

#include "reference/array.h"

namespace attend {
namespace reference {

/// The nearest bfloat16, 8 significant bits of a float, and of two the one whose last bit is 0.
///
/// NaN stays NaN, denormals are numbers like others, and what rounds to 2^128 is infinity.
float to_bfloat16(float x);

/// The nearest float16, 11 significant bits down to multiples of 2^-24, likewise: 65,520 and beyond are infinity.
float to_float16(float x);

/// The weights of a projection as they are stored.
struct StoredWeights {
  Array numbers;  // (N, K): what is stored, of int8 and int4 the integers
  Array scales;   // (N,), of int8: weight (n, k) is scales[n] numbers[n, k]; absent: it is numbers[n, k]
  /// Of int4 scales are (N, groups), k of group g = k / group: weight (n, k) is scales[n, g] (numbers[n, k] - zeros[n, g]).
  std::int64_t group = 0;  // 0: not int4
  Array zeros = {};        // (N, groups); absent: 8
};

/// weight (N, K), stored in a type; in float32 as it is.
///
/// int8: scale = max|w| / 127 of each row of the matrix, integers = w / scale, in float; to nearest, ties to even, and at
/// most 127 in size, which they may exceed where the scale is a denormal. A row of scale 0, all zeros or nearly so, has
/// integers 0. One with NaN or infinity has scale NaN and integers 0.
///
/// int4: of each group of a row, scale = its weight of the largest size, of several the first, / -8, in float; integers = w / scale in
/// float, to nearest, ties to even, + 8, from 0 to 15. A group of scale 0 has integers 8, one with NaN or infinity scale NaN and integers 8.
StoredWeights store(const Array& weight, WeightType type, std::int64_t group = 32);

/// The weights that stored ones stand for, (N, K); those of int4 rounded to float.
Array restore(const StoredWeights& stored);

/// A row as 8 bits: element k is scale (integers[k] - zero).
struct QuantisedRow {
  std::vector<int> integers;  // 0 to 255
  int zero = 0;               // what stands for 0
  float scale = 0.0f;
};

/// Quantises a row, in float:
///
///   lo = min(0, min x)   hi = max(0, max x)   r = 255 / (hi - lo)   s = (hi - lo) / 255
///   z = nearest(-lo r)   q = nearest(x r) + z, at least 0 and at most 255
///
/// With NaN or infinity in the row, or where hi - lo is infinite: s = NaN; where hi - lo < 2^-118: s = 0; q = z = 0 in both.
QuantisedRow quantise(const std::vector<float>& row);

/// How a sum of bfloat16 goes on over a pair of k.
enum class PairSum {
  fused,  // fma(x_k, w_k, sum), in float, the odd k first, as vdpbf16ps has it
  odd,    // sum + (x_k w_k + x_k+1 w_k+1), the products and both sums rounded to odd, as Arm's bfdot and bfmmla have it
};

/// That of the instructions which attend::product_instructions names.
PairSum pair_sum_of(const char* instructions);

/// PairSum::odd. Rounded to odd is toward zero, and where that cuts anything off the last bit is 1; what is below 2^-126 becomes a zero of
/// its sign, what is 2^128 or more infinity.
float add_pair(float sum, float x0, float w0, float x1, float w1);

/// x W^T + bias over the last axis as weights of a type and an arithmetic give it: x (..., K), weight (N, K), not yet stored,
/// bias (N,) or absent -> (..., N).
///
/// With Arithmetic::float32 it is linear() on the weights that are stored, in double, scales applied to the sums. The others
/// are exact to the bit, their x rounded to float first:
///
///   int8      t = sum (q - z) w over integers; y = fma(float(t), s scale, bias or 0), in float
///   int4      t = sum (q - z) (w - z_g) over the integers of a group; sum = fma(float(t), scale_g, sum), in float, over ascending groups,
///             from 0; y = fma(sum, s, bias or 0), in float; with Arithmetic::int8
///   bfloat16  x and w rounded, and what is a denormal then made a zero of its sign; a PairSum for each pair of k, the odd one of
///             which is 0 where K ends before it; y = sum + (bias or 0)
///
/// A fused sum that is below 2^-126 in size once it is rounded to 24 bits becomes a zero of its sign, as in vdpbf16ps; fma alone rounds
/// those that lie 2^-150 below to 2^-126, for denormals have fewer bits.
Array project(const Array& x, const Array& weight, const Array& bias, WeightType type, Arithmetic arithmetic,
              std::int64_t group = 32, PairSum pair_sum = PairSum::fused);

}  // namespace reference
}  // namespace attend
