// The error bounds of every operation; each formula is explained in bounds.h.
#include "reference/bounds.h"

#include <algorithm>
#include <cmath>

#include "reference/low_precision.h"
#include "reference/operations.h"

namespace attend {
namespace reference {
namespace {

constexpr double u = unit_roundoff;

/// Roundings along a chain of n terms, in u: sqrt(n) where they are independent, n where not.
double chain(std::int64_t n, Data data) {
  const double terms = static_cast<double>(n);
  return data == Data::random ? std::sqrt(terms) : terms;
}

/// Roundings of a sum over S keys, in u, along the way of one of its terms.
double key_chain(std::int64_t S, Data data) {
  const std::int64_t most = 128;
  return data == Data::random ? std::sqrt(static_cast<double>(std::min(S, most))) : static_cast<double>(most);
}

/// The absolute error of a score.
double score_error(double score_magnitude, std::int64_t D, Data data) {
  return (chain(D, data) + 4.0) * u * score_magnitude;
}

/// The relative error of softmax and weighted sum themselves, given their scores.
double sum_error(std::int64_t S, Data data) { return (2.0 * key_chain(S, data) + 12.0) * u; }

/// Adds up errors: root of the sum of squares where they are independent, plain sum where not.
class ErrorSum {
 public:
  explicit ErrorSum(Data data) : data_(data) {}
  void add(double error) { total_ += data_ == Data::random ? error * error : std::abs(error); }
  double value() const { return data_ == Data::random ? std::sqrt(total_) : total_; }

 private:
  Data data_;
  double total_ = 0.0;
};

double finite_or_0(double x) { return std::isfinite(x) ? x : 0.0; }

Array absolute(Array x) {
  for (double& value : x.values) value = std::abs(value);
  return x;
}

}  // namespace

double core_bound(double max_value, double score_magnitude, std::int64_t D, std::int64_t S,
                  Data data) {
  return max_value * (2.0 * score_error(score_magnitude, D, data) + sum_error(S, data));
}

double lse_bound(double lse, double score_magnitude, std::int64_t D, std::int64_t S, Data data) {
  const double rounding = std::isfinite(lse) ? u * std::abs(lse) : 0.0;
  return score_error(score_magnitude, D, data) + (key_chain(S, data) + 8.0) * u + rounding;
}

double weight_bound(double weight, double score_magnitude, std::int64_t D, std::int64_t S,
                    Data data) {
  return weight * (2.0 * score_error(score_magnitude, D, data) + sum_error(S, data)) +
         std::exp2(-126.0);
}

double linear_bound(double magnitude, std::int64_t K, Data data) {
  const double roundings =
      data == Data::random ? 2.0 * (chain(K, data) + 4.0) : chain(K, data) + 4.0;
  return roundings * u * magnitude;
}

double rotary_bound(double magnitude) { return 4.0 * u * magnitude + std::exp2(-148.0); }

double rms_norm_bound(double y, std::int64_t D, Data data) {
  return (chain(D, data) / 2.0 + 6.0) * u * std::abs(y) + std::exp2(-148.0);
}

Array rotary_bounds(const RotaryResult& result) {
  Array bounds = result.magnitude;
  for (double& bound : bounds.values) bound = bound > 0.0 ? rotary_bound(bound) : 0.0;
  return bounds;
}

Array rms_norm_bounds(const Array& y, Data data) {
  Array bounds = y;
  for (double& bound : bounds.values) bound = rms_norm_bound(bound, y.shape.back(), data);
  return bounds;
}

Array core_bounds(const AttentionResult& result, std::int64_t D, Data data) {
  const std::int64_t S = result.weights.size(3);
  Array bounds = result.score_magnitude;
  for (std::size_t row = 0; row < bounds.values.size(); ++row) {
    bounds.values[row] = core_bound(result.value_magnitude.values[row],
                                    result.score_magnitude.values[row], D, S, data);
  }
  return bounds;
}

Array lse_bounds(const AttentionResult& result, std::int64_t D, Data data) {
  const std::int64_t S = result.weights.size(3);
  Array bounds = result.score_magnitude;
  for (std::size_t row = 0; row < bounds.values.size(); ++row) {
    bounds.values[row] = lse_bound(result.lse.values[row], bounds.values[row], D, S, data);
  }
  return bounds;
}

Array weight_bounds(const AttentionResult& result, std::int64_t D, Data data) {
  const std::int64_t S = result.weights.size(3);
  Array bounds = result.weights;
  for (std::size_t n = 0; n < bounds.values.size(); ++n) {
    const double of_row = result.score_magnitude.values[n / static_cast<std::size_t>(S)];
    const double magnitude = std::max(of_row, finite_or_0(result.key_magnitude.values[n]));
    bounds.values[n] = weight_bound(result.weights.values[n], magnitude, D, S, data);
  }
  return bounds;
}

Array matmul_bounds(const Array& a, const Array& b, bool b_transposed, const Array& bias,
                    Data data) {
  Array bounds = matmul(absolute(a), absolute(b), b_transposed, absolute(bias));  // sum|x w| + |b|
  for (double& value : bounds.values) value = linear_bound(value, a.shape.back(), data);
  return bounds;
}

Array linear_bounds(const Array& x, const Array& weight, const Array& bias, Data data) {
  Array bounds = linear(absolute(x), absolute(weight), absolute(bias));
  for (double& value : bounds.values) value = linear_bound(value, x.shape.back(), data);
  return bounds;
}

namespace {

/// Numbers of which one is right.
struct Interval {
  double low, high;

  static Interval around(double x, double error) { return {x - error, x + error}; }
  double farthest_from(double x) const { return std::max(high - x, x - low); }
};

/// Adds what errors of the rows x become: |weight x_errors|.
void add_row_errors(const Array& x_errors, const Array& weight, Data data, Array* bounds) {
  const std::int64_t N = weight.size(0), K = weight.size(1);
  for (std::int64_t at = 0; at < bounds->count(); ++at) {
    ErrorSum from_row(data);
    for (std::int64_t k = 0; k < K; ++k) {
      from_row.add(weight.at(at % N, k) * x_errors.values[static_cast<std::size_t>(at / N * K + k)]);
    }
    bounds->values[static_cast<std::size_t>(at)] += from_row.value();
  }
}

/// The bounds of one row of bfloat16 products: x, its errors.
std::vector<double> bfloat16_bounds(const std::vector<float>& x, const std::vector<double>& errors, const StoredWeights& weights,
                                    const Array& bias, Data data) {
  const auto rounded = [](double number) { return static_cast<double>(to_bfloat16(static_cast<float>(number))); };
  const std::int64_t N = weights.numbers.size(0), K = weights.numbers.size(1);
  std::vector<double> bounds;
  for (std::int64_t n = 0; n < N; ++n) {
    double from_row = 0.0, magnitude = bias.absent() ? 0.0 : std::abs(bias.at(n));
    for (std::int64_t k = 0; k < K; ++k) {
      const double number = static_cast<double>(x[static_cast<std::size_t>(k)]), error = errors[static_cast<std::size_t>(k)];
      const Interval ends = {rounded(number - error), rounded(number + error)};
      const double w = std::abs(weights.numbers.at(n, k));
      from_row += w * (ends.farthest_from(rounded(number)) + 0x1p-126);
      magnitude += w * std::abs(rounded(number));
    }
    bounds.push_back(from_row + 2.0 * linear_bound(magnitude + from_row, K, data) + static_cast<double>(K) * 0x1p-125);
  }
  return bounds;
}

/// The bounds of one row of products of int8 rows, `weights` int8 or int4 and `restored` what they stand for.
std::vector<double> int8_bounds(const std::vector<float>& x, const std::vector<double>& errors, const StoredWeights& weights,
                                const Array& restored, const Array& bias) {
  const std::int64_t N = weights.numbers.size(0), K = weights.numbers.size(1);
  const double roundings = weights.group == 0 ? 6.0 : 6.0 + static_cast<double>((K + weights.group - 1) / weights.group);
  Interval lo = {0.0, 0.0}, hi = {0.0, 0.0};
  for (std::size_t k = 0; k < x.size(); ++k) {
    const Interval element = Interval::around(static_cast<double>(x[k]), errors[k]);
    lo = {std::min(lo.low, element.low), std::min(lo.high, element.high)};
    hi = {std::max(hi.low, element.low), std::max(hi.high, element.high)};
  }
  const Interval range = {(hi.low - lo.high) * (1.0 - u), (hi.high - lo.low) * (1.0 + u)};
  const Interval r = {255.0 / range.high * (1.0 - u), 255.0 / range.low * (1.0 + u)};
  const Interval s = {range.low / 255.0 * (1.0 - u), range.high / 255.0 * (1.0 + u)};
  /// x r, rounded to a whole number.
  const auto steps = [&r](Interval number) {
    const Interval product = {number.low * (number.low < 0.0 ? r.high : r.low), number.high * (number.high < 0.0 ? r.low : r.high)};
    return Interval{std::nearbyint(product.low - u * std::abs(product.low)), std::nearbyint(product.high + u * std::abs(product.high))};
  };
  const QuantisedRow row = quantise(x);
  const bool resolved = range.low > 0x1p-118;
  const Interval zero = steps({-lo.high, -lo.low});
  std::vector<double> quantised, off;  // q - z, and how far that may be off
  for (std::size_t k = 0; k < x.size(); ++k) {
    const Interval element = steps(Interval::around(static_cast<double>(x[k]), errors[k]));
    const Interval between = {std::min(element.low, 255.0 - zero.high), std::min(element.high, 255.0 - zero.low)};
    quantised.push_back(static_cast<double>(row.integers[k] - row.zero));
    off.push_back(resolved ? between.farthest_from(quantised.back()) : 255.0);
  }
  const double scale = static_cast<double>(row.scale), scale_error = s.farthest_from(scale);
  std::vector<double> bounds;
  for (std::int64_t n = 0; n < N; ++n) {
    double sum = 0.0, size = 0.0, from_row = 0.0;
    for (std::int64_t k = 0; k < K; ++k) {
      const double term = quantised[static_cast<std::size_t>(k)] * restored.at(n, k);
      sum += term;
      size += std::abs(term);
      from_row += off[static_cast<std::size_t>(k)] * std::abs(restored.at(n, k));
    }
    const double b = bias.absent() ? 0.0 : std::abs(bias.at(n));
    const double error = s.high * from_row + scale_error * std::abs(sum);
    bounds.push_back(error + roundings * u * (scale * (weights.group == 0 ? std::abs(sum) : size) + error + b));
  }
  return bounds;
}

}  // namespace

Array project_bounds(const Array& x, const Array& x_errors, const Array& weight, const Array& bias, WeightType type,
                     Arithmetic arithmetic, Data data, std::int64_t group) {
  const StoredWeights stored = store(weight, type, group);
  if (arithmetic == Arithmetic::float32) {
    const Array restored = restore(stored);
    Array bounds = linear_bounds(x, restored, bias, data);
    if (!x_errors.absent()) add_row_errors(x_errors, restored, data, &bounds);
    return bounds;
  }
  const Array restored = arithmetic == Arithmetic::int8 ? restore(stored) : Array();
  const std::int64_t N = weight.size(0), K = weight.size(1);
  Shape shape = x.shape;
  shape.back() = N;
  Array bounds = Array::zeros(shape);
  for (std::int64_t i = 0; i < bounds.count() / N && !x_errors.absent(); ++i) {
    std::vector<float> row;
    std::vector<double> errors;
    for (std::int64_t at = i * K; at < (i + 1) * K; ++at) {
      row.push_back(static_cast<float>(x.values[static_cast<std::size_t>(at)]));
      errors.push_back(x_errors.values[static_cast<std::size_t>(at)] + u * std::abs(x.values[static_cast<std::size_t>(at)]));
    }
    const std::vector<double> of_row =
        arithmetic == Arithmetic::int8 ? int8_bounds(row, errors, stored, restored, bias) : bfloat16_bounds(row, errors, stored, bias, data);
    std::copy(of_row.begin(), of_row.end(), bounds.values.begin() + i * N);
  }
  return bounds;
}

Array masked_softmax_bounds(const Array& x, const LengthsView& valid_lens, Data data) {
  Array bounds = masked_softmax(x, valid_lens);
  const std::int64_t B = x.size(0), L = x.size(1), S = x.size(2);
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t i = 0; i < L; ++i) {
      double magnitude = 0.0;
      for (std::int64_t j = 0; j < valid_length(valid_lens, b, i, S); ++j) {
        if (std::isfinite(x.at(b, i, j))) magnitude = std::max(magnitude, std::abs(x.at(b, i, j)));
      }
      for (std::int64_t j = 0; j < S; ++j) {
        bounds.at(b, i, j) = weight_bound(bounds.at(b, i, j), magnitude, 0, S, data);
      }
    }
  }
  return bounds;
}

DotProductAttentionBounds dot_product_attention_bounds(const Array& queries, const Array& keys,
                                                       const Array& values,
                                                       const LengthsView& valid_lens,
                                                       const Array& dropout_multipliers,
                                                       Data data) {
  const std::int64_t B = queries.size(0), L = queries.size(1), S = keys.size(1),
                     D = queries.size(2);
  const auto one_head = [](const Array& x) {
    return x.absent() ? Array() : x.reshaped({x.size(0), 1, x.size(1), x.size(2)});
  };
  AttentionOptions options;
  options.valid_lens = valid_lens;
  options.empty_rows = EmptyRows::uniform;
  options.dropout_multipliers = one_head(dropout_multipliers);
  const AttentionResult result =
      attention(one_head(queries), one_head(keys), one_head(values), options);
  return {core_bounds(result, D, data).reshaped({B, L}),
          weight_bounds(result, D, data).reshaped({B, L, S})};
}

namespace {

/// Bounds of projected rows -> of what norm and rotation make of them. Positions as for the rows.
Array head_rows_bounds(Array bounds, const HeadRows& rows, const Array& norm, const LayerWeights& weights,
                       const IndexView& positions, std::int64_t offset, Data data) {
  const std::int64_t D = bounds.size(3);
  if (!norm.absent()) {
    const Array own = rms_norm_bounds(rows.normed, data);
    for (std::int64_t first = 0; first < bounds.count(); first += D) {
      const double* x = rows.projected.values.data() + first;
      double* bound = bounds.values.data() + first;
      double squares = 0.0;
      ErrorSum product(data);
      for (std::int64_t d = 0; d < D; ++d) {
        squares += x[d] * x[d];
        product.add(x[d] * bound[d]);
      }
      const double mean = squares / static_cast<double>(D) + weights.norm_epsilon;
      const double from_root = product.value() / (static_cast<double>(D) * mean);
      for (std::int64_t d = 0; d < D; ++d) {
        bound[d] = std::abs(norm.at(d)) / std::sqrt(mean) * (bound[d] + std::abs(x[d]) * from_root) +
                   own.values[static_cast<std::size_t>(first + d)];
      }
    }
  }
  const Rotary& rotary = weights.rotary;
  if (rotary.inverse_frequencies.absent() && rotary.cosines.absent()) return bounds;
  const RotaryResult turned = rotary_embedding(bounds, rotary, positions, positions.absent() ? offset : 0);
  const std::int64_t half =
      rotary.inverse_frequencies.absent() ? rotary.cosines.size(1) : rotary.inverse_frequencies.size(0);
  for (std::int64_t n = 0; n < bounds.count(); ++n) {
    const std::size_t at = static_cast<std::size_t>(n);
    if (n % D < 2 * half) bounds.values[at] = turned.magnitude.values[at] + rotary_bound(rows.rotated.magnitude.values[at]);
  }
  return bounds;
}

}  // namespace

LayerBounds multi_head_attention_bounds(const LayerWeights& weights, std::int64_t num_heads,
                                        const Array& queries, const Array& keys,
                                        const Array& values, const AttentionOptions& options,
                                        const LayerResult& result, Data data) {
  const Array &q = result.query, &k = result.key, &v = result.value;
  const std::int64_t B = q.size(0), H = num_heads, L = q.size(2), D = q.size(3);
  const std::int64_t G = k.size(1), S = k.size(2);
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(D)));

  LayerBounds bounds;
  const auto split_heads = [](const Array& x, const Shape& shape) {
    return transpose_qkv(x, shape[1]).reshaped(shape);
  };
  const auto projected = [&](const Array& x, const Array& x_errors, const Array& weight, const Array& bias) {
    return project_bounds(x, x_errors, weight, bias, weights.weight_type, weights.arithmetic, data, weights.weight_group);
  };
  bounds.query = head_rows_bounds(split_heads(projected(queries, {}, weights.query, weights.query_bias), q.shape),
                                  result.query_rows, weights.query_norm, weights, options.query_positions, options.offset, data);
  bounds.key = head_rows_bounds(split_heads(projected(keys, {}, weights.key, weights.key_bias), k.shape), result.key_rows,
                                weights.key_norm, weights, options.key_positions, 0, data);
  bounds.value = split_heads(projected(values, {}, weights.value, weights.value_bias), v.shape);
  bounds.weights = Array::zeros({B, H, L, S});
  bounds.lse = Array::zeros({B, H, L});
  bounds.heads = Array::zeros({B, L, H * D});

  std::vector<double> score_errors(static_cast<std::size_t>(S));
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      const std::int64_t g = h / (H / G);
      for (std::int64_t i = 0; i < L; ++i) {
        const double* row_weights = result.attention.weights.row(b, h, i);
        const double rounding = score_error(result.attention.score_magnitude.at(b, h, i), D, data);
        const bool sees_a_key = result.attention.visible_keys.at(b, h, i) > 0.0;

        // Errors of the scores. Keys of weight 0 have no influence, and NaN there must not either.
        double largest = 0.0;
        for (std::int64_t j = 0; j < S; ++j) {
          double& error = score_errors[static_cast<std::size_t>(j)];
          error = 0.0;
          if (row_weights[j] == 0.0 || !sees_a_key) continue;
          const double *query = q.row(b, h, i), *key = k.row(b, g, j);
          const double *query_error = bounds.query.row(b, h, i),
                       *key_error = bounds.key.row(b, g, j);
          ErrorSum from_query(data), from_key(data), from_both(data);
          for (std::int64_t d = 0; d < D; ++d) {
            from_query.add(query_error[d] * key[d]);
            from_key.add(query[d] * key_error[d]);
            from_both.add(query_error[d] * key_error[d]);
          }
          const double from_rows = std::abs(scale) * (from_query.value() + from_key.value() + from_both.value());
          const double own = score_error(finite_or_0(result.attention.key_magnitude.at(b, h, i, j)), D, data);
          error = from_rows + std::max(rounding, own);
          if (own <= rounding) largest = std::max(largest, error);  // else its weight is too small to count
        }

        bounds.lse.at(b, h, i) =
            std::max(largest, rounding) + lse_bound(result.attention.lse.at(b, h, i), 0.0, D, S, data);

        // Errors of the weights.
        double total_weight = 0.0;
        for (std::int64_t j = 0; j < S; ++j) {
          const double error =
              std::expm1(score_errors[static_cast<std::size_t>(j)] + largest) + sum_error(S, data);
          bounds.weights.at(b, h, i, j) = row_weights[j] * error + std::exp2(-126.0);
          total_weight += row_weights[j];
        }

        // Errors of the head's output.
        for (std::int64_t d = 0; d < D; ++d) {
          const double output = result.attention.output.at(b, h, i, d);
          ErrorSum from_scores(data), from_values(data);
          double magnitude = 0.0;
          for (std::int64_t j = 0; j < S; ++j) {
            if (row_weights[j] == 0.0) continue;
            const double multiplier = options.dropout_multipliers.absent()
                                          ? 1.0
                                          : options.dropout_multipliers.at(b, h, i, j);
            const double value = multiplier * v.at(b, g, j, d);
            const double value_error = multiplier * bounds.value.at(b, g, j, d);
            const double score_effect = std::expm1(score_errors[static_cast<std::size_t>(j)]);
            from_scores.add(row_weights[j] * score_effect * (value - output));
            from_values.add(row_weights[j] * value_error);
            magnitude += row_weights[j] * std::abs(value);
          }
          if (!options.sinks.absent()) {  // a key whose value is 0
            from_scores.add((1.0 - total_weight) * std::expm1(rounding) * output);
          }
          bounds.heads.at(b, i, h * D + d) =
              std::exp(2.0 * largest) * (from_scores.value() + from_values.value()) +
              sum_error(S, data) * magnitude;
        }
      }
    }
  }

  bounds.output = projected(result.heads, bounds.heads, weights.output, weights.output_bias);
  return bounds;
}

}  // namespace reference
}  // namespace attend
