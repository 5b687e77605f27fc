// The seed's two modules, composed of the functions beside them.
#include "reference/multi_head_attention.h"

#include <cmath>

#include "reference/operations.h"

namespace attend {
namespace reference {

DotProductAttentionResult dot_product_attention(const Array& queries, const Array& keys,
                                                const Array& values, const LengthsView& valid_lens,
                                                const Array& dropout_multipliers) {
  require(queries.rank() == 3 && keys.rank() == 3 && values.rank() == 3,
          "dot_product_attention: three axes each");
  require(keys.size(0) == queries.size(0) && values.size(0) == queries.size(0),
          "dot_product_attention: one B");
  require(values.size(1) == keys.size(1), "dot_product_attention: keys and values agree on S");
  const std::int64_t B = queries.size(0), L = queries.size(1), D = queries.size(2);
  const std::int64_t S = keys.size(1), Dv = values.size(2);

  Array scores = matmul(queries, keys, true);
  for (double& score : scores.values) score /= std::sqrt(static_cast<double>(D));

  DotProductAttentionResult result;
  result.weights = masked_softmax(scores, valid_lens);
  result.output = Array::zeros({B, L, Dv});
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t i = 0; i < L; ++i) {
      for (std::int64_t j = 0; j < S; ++j) {
        double weight = result.weights.at(b, i, j);
        // A hidden value of weight 0 is left out, so that 0 * NaN does not arise.
        if (j >= valid_length(valid_lens, b, i, S) && weight == 0.0) continue;
        if (!dropout_multipliers.absent()) weight *= dropout_multipliers.at(b, i, j);
        for (std::int64_t d = 0; d < Dv; ++d)
          result.output.at(b, i, d) += weight * values.at(b, j, d);
      }
    }
  }
  return result;
}

namespace {

/// (B, n, heads * width) -> (B, heads, n, width).
Array split_heads(const Array& x, std::int64_t heads) {
  return transpose_qkv(x, heads).reshaped({x.size(0), heads, x.size(1), x.size(2) / heads});
}

/// (B, heads, n, width) -> (B, n, heads * width).
Array join_heads(const Array& x) {
  return transpose_output(x.reshaped({x.size(0) * x.size(1), x.size(2), x.size(3)}), x.size(1));
}

HeadRows head_rows(const Array& projected, const Array& norm, const LayerWeights& weights,
                   const IndexView& positions, std::int64_t offset) {
  HeadRows rows;
  rows.projected = projected;
  rows.normed = norm.absent() ? projected : rms_norm(projected, norm, weights.norm_epsilon);
  const Rotary& rotary = weights.rotary;
  if (rotary.inverse_frequencies.absent() && rotary.cosines.absent()) {
    rows.rotated = {rows.normed, Array::zeros(projected.shape)};
  } else {
    rows.rotated = rotary_embedding(rows.normed, rotary, positions, positions.absent() ? offset : 0);
  }
  return rows;
}

}  // namespace

LayerWeights::LayerWeights(const MultiHeadAttentionConfig& config,
                           const MultiHeadAttentionWeights& weights)
    : LayerWeights(weights) {
  rotary = config.rotary;
  weight_type = config.weight_type;
  if (config.weight_group > 0) weight_group = config.weight_group;
  arithmetic = config.arithmetic;
  pair_sum = pair_sum_of(product_instructions(weight_type, arithmetic, config.isa));
  if (!config.qk_norm) return;
  const std::int64_t width = query.size(0) / config.num_heads;
  const auto norm = [width](const ConstTensorView& given) {
    return given.absent() ? Array::filled({width}, 1.0) : Array(given);
  };
  if (config.norm_queries) query_norm = norm(weights.query_norm);
  if (config.norm_keys) key_norm = norm(weights.key_norm);
  norm_epsilon = static_cast<double>(config.norm_epsilon);
}

LayerResult multi_head_attention(const LayerWeights& weights, std::int64_t num_heads,
                                 const Array& queries, const Array& keys, const Array& values,
                                 const AttentionOptions& options) {
  require(num_heads > 0 && weights.query.rank() == 2 && weights.query.size(0) % num_heads == 0,
          "multi_head_attention: num_heads divides the rows of the query weight");
  const std::int64_t width = weights.query.size(0) / num_heads;
  require(weights.key.rank() == 2 && weights.key.size(0) % width == 0 &&
              weights.value.rank() == 2 && weights.value.size(0) == weights.key.size(0),
          "multi_head_attention: key and value weights have rows for as many heads");
  const std::int64_t key_value_heads = weights.key.size(0) / width;

  const auto projected = [&weights](const Array& x, const Array& weight, const Array& bias) {
    return project(x, weight, bias, weights.weight_type, weights.arithmetic, weights.weight_group, weights.pair_sum);
  };
  LayerResult result;
  result.query_rows =
      head_rows(split_heads(projected(queries, weights.query, weights.query_bias), num_heads),
                weights.query_norm, weights, options.query_positions, options.offset);
  result.key_rows =
      head_rows(split_heads(projected(keys, weights.key, weights.key_bias), key_value_heads),
                weights.key_norm, weights, options.key_positions, 0);
  result.query = result.query_rows.rotated.output;
  result.key = result.key_rows.rotated.output;
  result.value = split_heads(projected(values, weights.value, weights.value_bias), key_value_heads);
  result.attention = attention(result.query, result.key, result.value, options);
  result.heads = join_heads(result.attention.output);
  result.output = projected(result.heads, weights.output, weights.output_bias);
  return result;
}

}  // namespace reference
}  // namespace attend
