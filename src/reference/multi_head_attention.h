// The seed's two modules on top: DotProductAttention, MultiHeadAttention.
#pragma once

#include "reference/array.h"
#include "reference/attention.h"
#include "reference/low_precision.h"
#include "reference/positions.h"

namespace attend {
namespace reference {

struct DotProductAttentionResult {
  Array output;   // (B, L, Dv)
  Array weights;  // (B, L, S), before dropout
};

/// D2L's DotProductAttention: masked_softmax(q k^T / sqrt(D), valid_lens), dropout, times v, with
/// the fill of -1e6, so that a row of length 0 gets uniform weights over all S.
///
/// queries (B, L, D), keys (B, S, D), values (B, S, Dv); valid_lens absent, (B,) or (B, L);
/// dropout_multipliers (B, L, S) or absent. Values past a length whose weight is 0 are left out.
DotProductAttentionResult dot_product_attention(const Array& queries, const Array& keys,
                                                const Array& values,
                                                const LengthsView& valid_lens = {},
                                                const Array& dropout_multipliers = {});

/// The projections of a layer, (out, in); a bias may be absent. What its config says of rows is here, too.
struct LayerWeights {
  Array query, key, value, output;
  Array query_bias, key_bias, value_bias, output_bias;
  Array query_norm, key_norm;  // (D,); absent: no norm
  double norm_epsilon = 0.0;
  Rotary rotary;               // without frequencies and tables: no rotation
  WeightType weight_type = WeightType::float32;  // how the matrices are stored; here they are not yet
  std::int64_t weight_group = 32;                // of int4
  Arithmetic arithmetic = Arithmetic::float32;   // what their projections compute with
  PairSum pair_sum = PairSum::fused;             // of bfloat16

  LayerWeights() = default;
  LayerWeights(const MultiHeadAttentionWeights& weights)
      : query(weights.query),
        key(weights.key),
        value(weights.value),
        output(weights.output),
        query_bias(weights.query_bias),
        key_bias(weights.key_bias),
        value_bias(weights.value_bias),
        output_bias(weights.output_bias) {}
  /// With the norms, the rotation and the precision that the config asks for.
  LayerWeights(const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights);
};

/// Projected queries or keys, on their way into the attention.
struct HeadRows {
  Array projected;      // (B, H or G, n, D)
  Array normed;         // `projected` where there is no norm
  RotaryResult rotated; // `normed`, of magnitude 0, where there is no rotation
};

/// The output of a layer, stage by stage.
struct LayerResult {
  HeadRows query_rows, key_rows;
  Array query;                // (B, H, L, D): projected, split into heads, normed, rotated
  Array key, value;           // (B, G, S, D)
  AttentionResult attention;  // of query, key and value; its weights (B, H, L, S) are the layer's
  Array heads;                // (B, L, H D): the heads side by side again, what W_o is applied to
  Array output;               // (B, L, E)
};

/// D2L's MultiHeadAttention: W_o concat(attention of each head) of the projected inputs.
///
/// queries (B, L, query_size), keys (B, S, key_size), values (B, S, value_size). The head width D
/// is weights.query's rows / num_heads; weights.key and .value with fewer rows have G = rows / D
/// heads. Each head's row of projected queries and keys is normed, then rotated, where the weights
/// say so: query i by its position i + offset, key j by j, or as options give them. Lengths, empty
/// rows and all else come in options; a row that sees no key gives W_o's bias. Each of the four projections is what project()
/// makes of the stage before it, in weights.arithmetic.
LayerResult multi_head_attention(const LayerWeights& weights, std::int64_t num_heads,
                                 const Array& queries, const Array& keys, const Array& values,
                                 const AttentionOptions& options = {});

}  // namespace reference
}  // namespace attend
