// Shapes at random, and the contracts in double precision.
#include "decode.h"

#include <algorithm>

#include "exp.h"

namespace attend::checks {

Matrix readable_matrix(ArgumentMemory& memory, Random& random, const char* name, std::int64_t rows, std::int64_t columns,
                       std::int64_t row_stride, std::size_t alignment) {
  const Matrix matrix = input_matrix(memory, random, name, decode_readable(rows), columns, row_stride, 1, alignment);
  for (std::int64_t r = rows; r < decode_readable(rows); ++r) std::fill(matrix.at(r, 0), matrix.at(r, 0) + columns, not_a_number);
  return matrix;
}

DecodeScoresShape draw_decode_scores(const Kernels& kernels, Random& random) {
  DecodeScoresShape shape;
  shape.rows = random.between(1, decode_rows);
  shape.keys = draw_size(random, 0, 2 * kernels.lanes);
  shape.depth = draw_width(random, 1, kernels.lanes);
  shape.stride = draw_stride(random, 0);
  shape.gap = shape.stride == 0 ? 0 : random.between(0, 2);
  return shape;
}

DecodeWeightsShape draw_decode_weights(const Kernels& kernels, Random& random) {
  DecodeWeightsShape shape;
  shape.keys = draw_size(random, 0, kernels.lanes);
  shape.capped = random.one_in(3);
  shape.biased = random.one_in(2);
  shape.level = random.one_in(2) ? 0.0f : random.uniform(-1000.0f, 1000.0f);
  return shape;
}

DecodeValuesShape draw_decode_values(const Kernels& kernels, Random& random) {
  DecodeValuesShape shape;
  shape.rows = random.between(1, decode_rows);
  shape.keys = draw_size(random, 0, 8);
  shape.columns = draw_width(random, 1, 3 * kernels.lanes);
  shape.stride = draw_stride(random, 0);
  shape.gap = random.between(0, 2);
  shape.left = random.between(1, decode_group);
  shape.continues = shape.left < decode_group && random.one_in(2);
  shape.ends = random.one_in(2);
  return shape;
}

Result check_decode_scores(const Kernels& kernels, const DecodeScoresShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_scores",
                {{"rows", shape.rows}, {"keys", shape.keys}, {"depth", shape.depth}, {"stride", shape.stride}, {"gap", shape.gap}},
                seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.depth, kernels.lanes);
  const Matrix queries = readable_matrix(memory, random, "queries", shape.rows, padded, padded, cache_line);
  const Matrix keys = input_matrix(memory, random, "keys", shape.keys, shape.depth, shape.depth * shape.stride + shape.gap, shape.stride);
  const Matrix scores = output_matrix(memory, "scores", shape.rows, shape.keys, decode_block, 1);
  for (std::int64_t r = 0; r < shape.rows; ++r) std::fill(queries.at(r, shape.depth), queries.at(r, padded), 0.0f);
  DecodeScoresArguments arguments = {};
  arguments.queries = queries.data;
  arguments.query_stride = padded;
  arguments.rows = shape.rows;
  arguments.depth = shape.depth;
  const std::vector<const float*> places = draw_places(random, keys, shape.keys);
  arguments.keys = places.empty() ? keys.data : nullptr;
  arguments.key_rows = places.empty() ? nullptr : places.data();
  arguments.key_row_stride = keys.row_stride;
  arguments.key_stride = keys.stride;
  arguments.key_count = shape.keys;
  arguments.scores = scores.data;
  arguments.ahead = fetched_ahead(kernels, shape.rows);
  kernels.decode_scores(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      double score = 0.0, magnitude = 0.0;
      for (std::int64_t d = 0; d < shape.depth; ++d) {
        const double term = static_cast<double>(*queries.at(r, d)) * *keys.at(j, d);
        score += term;
        magnitude += std::abs(term);
      }
      report.close("scores", r, j, scores.at(r, j), score, linear_bound(magnitude, shape.depth, Data::random));
    }
  }
  return report.result();
}

Result check_decode_weights(const Kernels& kernels, const DecodeWeightsShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_weights",
                {{"keys", shape.keys}, {"capped", shape.capped}, {"biased", shape.biased}, {"special_score", shape.special_score}},
                seed, memory);
  Random random(seed);
  float* weights = memory.output("weights", shape.keys);
  float* bias = memory.input<float>("bias", shape.biased ? shape.keys : 0);
  std::vector<double> scores;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    weights[j] = (shape.capped ? 1.0f : 8.0f) * random.value() + (shape.capped ? 0.0f : shape.level);
    if (j == shape.special_score) weights[j] = shape.special;
    if (shape.biased) bias[j] = random.one_in(4) ? -infinity : random.one_in(4) ? std::numeric_limits<float>::lowest() : 9.0f * random.value();
    scores.push_back(weights[j]);
  }
  DecodeWeightsArguments arguments = {};
  arguments.weights = weights;
  arguments.key_count = shape.keys;
  arguments.cap = shape.capped ? 11.0f : 0.0f;
  arguments.bias = shape.biased ? bias : nullptr;
  const bool before = random.one_in(2);
  // Not an integer where the reference of biases has moved.
  const float first_maximum = before ? (random.one_in(2) ? static_cast<float>(random.between(-9, 9)) : 9.0f * random.value()) : -infinity;
  const float first_sum = before ? random.uniform(0.5f, 2.0f) : 0.0f;
  arguments.maximum = first_maximum;
  arguments.sum = first_sum;
  kernels.decode_weights(&arguments);

  double top = std::ceil(static_cast<double>(first_maximum)), magnitude = 0.0;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    double& score = scores[static_cast<std::size_t>(j)];
    if (shape.capped) score = 11.0 * std::tanh(score);
    magnitude = std::max(magnitude, std::isfinite(score) ? std::abs(score) + (shape.capped ? 11.0 : 0.0) : 0.0);
    if (!shape.biased) {
    } else if (bias[j] == -infinity) {
      score = -infinity;
    } else {
      score += bias[j];
      magnitude = std::max(magnitude, std::abs(bias[j]) < 1e30f ? magnitude + std::abs(bias[j]) : 0.0);
    }
    if (score > top) top = score;
  }
  // The integer at or above the largest score, where rounding may be on either side of one.
  const double error = top < -1e30 && top > -infinity ? 1e33 : 8.0 * magnitude * 0x1p-24;  // beside the lowest float a score is nothing
  float maximum = arguments.maximum;
  const bool right = maximum == first_maximum ? !(top > static_cast<double>(first_maximum) + error)
                                              : maximum >= top - error && (maximum == top || maximum < top + 1.0 + error);
  report.returned(right && maximum == std::ceil(maximum), true);
  const double factor = maximum == first_maximum ? 1.0 : std::exp2(static_cast<double>(first_maximum) - maximum);
  const bool exact = first_maximum == std::ceil(first_maximum) || factor == 0.0;
  const double factor_error = exact ? 0.0 : (exp2_error(kernels.isa) + 0x1p-24 * std::abs(static_cast<double>(first_maximum) - maximum)) * factor;
  report.returned(std::abs(arguments.factor - factor) <= smallest_normal + factor_error, true);
  double sum = first_sum * factor;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    const double score = scores[static_cast<std::size_t>(j)];
    const double weight = std::exp2(score - (maximum == -infinity ? 0.0 : static_cast<double>(maximum)));
    const double relative = std::expm1((error + magnitude * 0x1p-24) * std::log(2.0)) + exp2_error(kernels.isa);
    sum += static_cast<double>(weights[j]);
    report.close("weights", 0, j, weights + j, weight, score == -infinity ? 0.0 : weight * relative + smallest_normal);
  }
  float total = arguments.sum;
  const bool same = std::isnan(sum) ? std::isnan(total) : std::abs(static_cast<double>(total) - sum) <= sum * 0x1p-20 + first_sum * factor_error + smallest_normal;
  report.returned(same, true);
  return report.result();
}

Result check_decode_values(const Kernels& kernels, const DecodeValuesShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_values",
                {{"rows", shape.rows}, {"keys", shape.keys}, {"columns", shape.columns}, {"stride", shape.stride}, {"gap", shape.gap}, {"ends", shape.ends}},
                seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.columns, kernels.lanes);
  const Matrix weights = readable_matrix(memory, random, "weights", shape.rows, shape.keys, decode_block);
  const Matrix values = input_matrix(memory, random, "values", shape.keys, shape.columns, shape.columns * shape.stride + shape.gap, shape.stride);
  const Matrix output = output_matrix(memory, "output", shape.rows, padded, padded, 1, cache_line);
  const Matrix partial = output_matrix(memory, "partial", shape.rows, padded, padded, 1, cache_line);
  std::vector<float> before, begun;
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < padded; ++c) {
      *output.at(r, c) = before.emplace_back(c < shape.columns ? random.value() : 0.0f);
      begun.push_back(c < shape.columns && shape.continues ? random.value() : 0.0f);
      *partial.at(r, c) = shape.continues ? begun.back() : not_a_number;
    }
  }
  DecodeValuesArguments arguments = {};
  arguments.weights = weights.data;
  arguments.rows = shape.rows;
  arguments.columns = shape.columns;
  const std::vector<const float*> places = draw_places(random, values, shape.keys);
  arguments.values = places.empty() ? values.data : nullptr;
  arguments.value_rows = places.empty() ? nullptr : places.data();
  arguments.value_row_stride = values.row_stride;
  arguments.value_stride = values.stride;
  arguments.key_count = shape.keys;
  arguments.left = shape.left;
  arguments.continues = shape.continues;
  arguments.ends = shape.ends;
  arguments.ahead = fetched_ahead(kernels, shape.rows);
  arguments.partial = partial.data;
  arguments.output = output.data;
  arguments.output_stride = padded;
  kernels.decode_values(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < padded; ++c) {  // past the columns: 0 as before
      const auto index = static_cast<std::size_t>(r * padded + c);
      double sum = before[index], group = begun[index], magnitude = std::abs(sum) + std::abs(group);
      std::int64_t left = shape.left;
      bool open = shape.continues;
      for (std::int64_t j = 0; j < shape.keys; ++j) {
        const double term = c < shape.columns ? static_cast<double>(*weights.at(r, j)) * *values.at(j, c) : 0.0;
        group += term;
        magnitude += std::abs(term);
        open = --left > 0 && !(shape.ends && j == shape.keys - 1);
        if (open) continue;
        sum += group;
        group = 0.0;
        left = decode_group;
      }
      const double tolerance = linear_bound(magnitude, shape.keys + 1, Data::random);
      report.close("output", r, c, output.at(r, c), sum, tolerance);
      if (open) report.close("partial", r, c, partial.at(r, c), group, tolerance);
      else ArgumentMemory::restore(partial.at(r, c));
    }
  }
  return report.result();
}

}  // namespace attend::checks
