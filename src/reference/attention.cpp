// The attention core, as plain loops over one row after the other.
#include "reference/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "reference/operations.h"

namespace attend {
namespace reference {
namespace {

/// mask[b, h, i, j] with the mask's axes aligned to the right; an axis that it lacks, or of size 1,
/// repeats.
double broadcast(const Array& mask, std::int64_t b, std::int64_t h, std::int64_t i,
                 std::int64_t j) {
  const std::int64_t index[4] = {b, h, i, j};
  std::int64_t element = 0;
  for (int axis = 0; axis < mask.rank(); ++axis) {
    const std::int64_t size = mask.size(axis);
    element = element * size + (size == 1 ? 0 : index[4 - mask.rank() + axis]);
  }
  return mask.values[static_cast<std::size_t>(element)];
}

bool broadcasts_to(const Array& mask, const Shape& shape) {
  if (mask.rank() > 4) return false;
  for (int axis = 0; axis < mask.rank(); ++axis) {
    const std::int64_t size = mask.size(axis);
    if (size != 1 && size != shape[static_cast<std::size_t>(4 - mask.rank() + axis)]) return false;
  }
  return true;
}

void check(const Array& q, const Array& k, const Array& v, const AttentionOptions& options) {
  require(q.rank() == 4 && k.rank() == 4 && v.rank() == 4, "attention: q, k and v have four axes");
  const std::int64_t B = q.size(0), H = q.size(1), L = q.size(2), G = k.size(1), S = k.size(2);
  require(k.size(0) == B && v.size(0) == B, "attention: q, k and v agree on B");
  require(v.size(1) == G && v.size(2) == S, "attention: k and v agree on G and S");
  require(k.size(3) == q.size(3), "attention: q and k agree on D");
  require(G > 0 && H % G == 0, "attention: G divides H");
  const LengthsView& lens = options.valid_lens;
  require(lens.absent() ||
              (lens.rank <= 2 && lens.sizes[0] == B && (lens.rank == 1 || lens.sizes[1] == L)),
          "attention: valid_lens is (B,) or (B, L)");
  const IndexView& starts = options.valid_starts;
  require(starts.absent() || (starts.rank == 1 && starts.sizes[0] == B), "attention: valid_starts is (B,)");
  require(options.key_padding_mask.absent() || options.key_padding_mask.shape == Shape{B, S}, "attention: key_padding_mask is (B, S)");
  const Shape scores = {B, H, L, S};
  require(broadcasts_to(options.mask, scores), "attention: mask broadcasts to (B, H, L, S)");
  require(broadcasts_to(options.additive_mask, scores),
          "attention: additive_mask broadcasts to (B, H, L, S)");
  require(options.position_bias.absent() || options.position_bias.shape == Shape{H, L, S},
          "attention: position_bias is (H, L, S)");
  require(options.alibi_slopes.absent() || options.alibi_slopes.shape == Shape{H},
          "attention: alibi_slopes is (H,)");
  require(options.sinks.absent() || options.sinks.shape == Shape{H}, "attention: sinks is (H,)");
  require(options.dropout_multipliers.absent() || options.dropout_multipliers.shape == scores,
          "attention: dropout_multipliers is (B, H, L, S)");
}

/// How far the sink of head h is above the bias of key j: source by source, the mask's first, for one may be as low as the other.
double sink_above(const AttentionOptions& options, std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
  double above = options.sinks.at(h);
  if (!options.additive_mask.absent()) above -= broadcast(options.additive_mask, b, h, i, j);
  if (!options.position_bias.absent()) above -= options.position_bias.at(h, i, j);
  if (!options.alibi_slopes.absent()) above += options.alibi_slopes.at(h) * static_cast<double>(std::abs(i + options.offset - j));
  return above;
}

}  // namespace

bool visible(const AttentionOptions& options, std::int64_t b, std::int64_t h, std::int64_t i,
             std::int64_t j) {
  const std::int64_t position = i + options.offset;
  if (j >= valid_length(options.valid_lens, b, i, INT64_MAX)) return false;
  if (options.causal && j > position) return false;
  if (options.window_left >= 0 && j < position - options.window_left) return false;
  if (options.window_right >= 0 && j > position + options.window_right) return false;
  if (!options.valid_starts.absent() && j < options.valid_starts.data[b * options.valid_starts.strides[0]]) return false;
  if (!options.mask.absent() && (broadcast(options.mask, b, h, i, j) != 0.0) == options.mask_hides) return false;
  if (!options.key_padding_mask.absent() && (options.key_padding_mask.at(b, j) != 0.0) == options.mask_hides) return false;
  const Array &added = options.additive_mask, &bias = options.position_bias;
  if (!added.absent() && broadcast(added, b, h, i, j) == -INFINITY) return false;
  if (!bias.absent() && bias.at(h, i, j) == -INFINITY) return false;
  return true;
}

double score_bias(const AttentionOptions& options, std::int64_t b, std::int64_t h, std::int64_t i,
                  std::int64_t j, std::int64_t reference) {
  double bias = 0.0;
  const auto add = [&](double of_key, double of_reference) { bias += reference < 0 ? of_key : of_key - of_reference; };
  const std::int64_t r = std::max<std::int64_t>(reference, 0);
  if (!options.additive_mask.absent()) add(broadcast(options.additive_mask, b, h, i, j), broadcast(options.additive_mask, b, h, i, r));
  if (!options.position_bias.absent()) add(options.position_bias.at(h, i, j), options.position_bias.at(h, i, r));
  if (!options.alibi_slopes.absent()) {
    const std::int64_t position = i + options.offset;
    const std::int64_t distance = std::abs(position - j) - (reference < 0 ? 0 : std::abs(position - r));
    bias -= options.alibi_slopes.at(h) * static_cast<double>(distance);
  }
  return bias;
}

AttentionResult attention(const Array& q, const Array& k, const Array& v,
                          const AttentionOptions& options) {
  check(q, k, v, options);
  const std::int64_t B = q.size(0), H = q.size(1), L = q.size(2), D = q.size(3);
  const std::int64_t G = k.size(1), S = k.size(2), Dv = v.size(3);
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(D)));

  AttentionResult result;
  result.output = Array::zeros({B, H, L, Dv});
  result.weights = Array::zeros({B, H, L, S});
  result.lse = Array::zeros({B, H, L});
  result.score_magnitude = Array::zeros({B, H, L});
  result.key_magnitude = Array::zeros({B, H, L, S});
  result.value_magnitude = Array::zeros({B, H, L});
  result.visible_keys = Array::zeros({B, H, L});

  std::vector<std::int64_t> keys;  // the keys that the row sees
  std::vector<double> scores;      // their scores: at first without biases
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      const std::int64_t g = h / (H / G);  // the key/value head of query head h
      for (std::int64_t i = 0; i < L; ++i) {
        const double* query = q.row(b, h, i);
        double* weights = result.weights.row(b, h, i);
        double* output = result.output.row(b, h, i);

        keys.clear();
        for (std::int64_t j = 0; j < S; ++j) {
          if (visible(options, b, h, i, j)) keys.push_back(j);
        }
        result.visible_keys.at(b, h, i) = static_cast<double>(keys.size());

        // Scores of the visible keys.
        scores.clear();
        double* magnitudes = result.key_magnitude.row(b, h, i);
        for (std::int64_t j : keys) {
          const double* key = k.row(b, g, j);
          double product = 0.0, product_magnitude = 0.0;
          for (std::int64_t d = 0; d < D; ++d) {
            product += query[d] * key[d];
            product_magnitude += std::abs(query[d] * key[d]);
          }
          double score = scale * product;
          if (options.softcap > 0.0) score = options.softcap * std::tanh(score / options.softcap);
          scores.push_back(score);
          magnitudes[j] = std::abs(scale) * product_magnitude + options.softcap;
        }
        // The key with the largest score is the reference of biases. Where they are large, only those relative to a key near
        // it tell it from others: hence twice.
        std::int64_t reference = -1;
        for (int round = 0; round < 2; ++round) {
          const std::int64_t before = reference;
          double top = -INFINITY;
          for (std::size_t n = 0; n < keys.size(); ++n) {
            const double score = scores[n] + score_bias(options, b, h, i, keys[n], before);
            if (score > top || reference < 0) reference = keys[n];  // NaN is never larger
            if (score > top) top = score;
          }
        }
        for (std::size_t n = 0; n < keys.size(); ++n) {
          const double bias = score_bias(options, b, h, i, keys[n], reference);
          scores[n] += bias;
          magnitudes[keys[n]] += std::abs(bias);
        }
        const double reference_bias = keys.empty() ? 0.0 : score_bias(options, b, h, i, reference);

        // Softmax: exp(score - largest) / their sum. A sink is a score whose weight goes nowhere.
        double largest = -INFINITY;
        for (double score : scores) {
          if (score > largest) largest = score;  // a NaN is never larger, and shows up in the sum
        }
        double sum = 0.0, score_magnitude = 0.0;
        const double least = -24.0 * std::log(2.0);  // how far below the largest a score still counts
        double sink = options.sinks.absent() ? -INFINITY : options.sinks.at(h);  // beside scores that lack the reference's bias
        if (sink != -INFINITY && !keys.empty()) sink = sink_above(options, b, h, i, reference);
        if (sink != -INFINITY) {
          if (sink > largest) largest = sink;
          sum += std::exp(sink - largest);
        }
        for (std::size_t n = 0; n < keys.size(); ++n) {
          sum += std::exp(scores[n] - largest);
          const double magnitude = magnitudes[keys[n]];
          if (std::isfinite(magnitude) && scores[n] >= largest + least) score_magnitude = std::max(score_magnitude, magnitude);
        }
        for (std::size_t n = 0; n < keys.size(); ++n) {
          weights[keys[n]] = std::exp(scores[n] - largest) / sum;
        }
        // In the sink's own terms where the sink is largest: beside a low bias it would be lost.
        const double anchor = sink != -INFINITY && sink == largest ? options.sinks.at(h) : reference_bias + largest;
        result.lse.at(b, h, i) = anchor + std::log(sum);  // -inf + log(0) = -inf for no scores
        result.score_magnitude.at(b, h, i) = score_magnitude;

        // A row that sees no key.
        if (keys.empty() && options.empty_rows == EmptyRows::uniform) {
          for (std::int64_t j = 0; j < S; ++j) {
            keys.push_back(j);
            weights[j] = 1.0 / static_cast<double>(S);
          }
        }

        // Dropout, then the weighted sum of the values.
        double value_magnitude = 0.0;
        for (std::int64_t j : keys) {
          const double multiplier = options.dropout_multipliers.absent()
                                        ? 1.0
                                        : options.dropout_multipliers.at(b, h, i, j);
          const double* value = v.row(b, g, j);
          for (std::int64_t d = 0; d < Dv; ++d) {
            output[d] += weights[j] * multiplier * value[d];
            const double magnitude = std::abs(multiplier * value[d]);
            if (std::isfinite(magnitude)) value_magnitude = std::max(value_magnitude, magnitude);
          }
        }
        result.value_magnitude.at(b, h, i) = value_magnitude;
      }
    }
  }
  return result;
}

}  // namespace reference
}  // namespace attend
