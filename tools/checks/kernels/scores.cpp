// Shapes at random, and the contracts in double precision.
#include "scores.h"

#include <algorithm>

#include "exp.h"

namespace attend::checks {

namespace {

ScoreShape draw_scores(const Kernels& kernels, Random& random, bool general) {
  ScoreShape shape;
  shape.keys = draw_size(random, 0, 8);
  shape.depth = draw_width(random, 0, 8);
  shape.width = draw_tile(kernels, random);
  shape.stride = draw_stride(random, 0);
  shape.gap = draw_input_gap(random, shape.depth * shape.stride);
  shape.general = general;
  shape.biased = shape.general && random.one_in(2);
  shape.capped = shape.general && random.one_in(3);
  if (random.one_in(2)) {
    shape.moving_lane = random.between(0, shape.width - 1);
    shape.moving = random.one_in(2) ? 50.0f : -50.0f;
  }
  const bool apart = shape.keys > 0 && shape.gap >= 0;  // keys that share no elements
  if (shape.general && apart && random.one_in(4)) shape.nan_key = random.between(0, shape.keys - 1);
  return shape;
}

}  // namespace

ScoreShape draw_scores_plain(const Kernels& kernels, Random& random) { return draw_scores(kernels, random, false); }
ScoreShape draw_scores_general(const Kernels& kernels, Random& random) { return draw_scores(kernels, random, true); }

RescaleShape draw_rescale(const Kernels& kernels, Random& random) {
  RescaleShape shape;
  shape.lane_count = random.between(0, draw_tile(kernels, random));
  shape.columns = draw_width(random, 0, kernels.lanes);
  return shape;
}

Result check_scores(const Kernels& kernels, const ScoreShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, shape.biased ? "scores_general, biased" : shape.general ? "scores_general" : "scores_plain",
                {{"keys", shape.keys}, {"depth", shape.depth}, {"width", shape.width}, {"stride", shape.stride}, {"capped", shape.capped},
                 {"gap", shape.gap}, {"moving_lane", shape.moving_lane},
                 {"moving", static_cast<std::int64_t>(shape.moving)}, {"nan_key", shape.nan_key}},
                seed, memory);
  Random random(seed);
  const Matrix keys = input_matrix(memory, random, "keys", shape.keys, shape.depth,
                                   shape.depth * shape.stride + shape.gap, shape.stride);
  const Matrix queries = input_matrix(memory, random, "queries", shape.depth, shape.width, shape.width, 1, cache_line);
  const std::int64_t biased_keys = shape.biased ? shape.keys : 0, masked_keys = shape.general ? shape.keys : 0;
  const Matrix bias = input_matrix(memory, random, "bias", biased_keys, shape.width, shape.width, 1, cache_line);
  std::uint32_t* visible = memory.input<std::uint32_t>("visible", masked_keys);
  const Matrix weights = output_matrix(memory, "weights", shape.keys, shape.width, shape.width, 1, cache_line);
  float* start = memory.input<float>("start", shape.width, cache_line);
  float* block_sum = memory.output("block_sum", shape.width, cache_line);
  float* block_maximum = memory.output("block_maximum", shape.width, cache_line);
  const auto unseen = static_cast<std::uint32_t>(random.between(0, 0xffffffff));

  // A block of its own, or a part that goes on from the one before it.
  const bool whole = random.one_in(2);
  std::vector<float> first_sum, first_maximum;
  for (std::int64_t lane = 0; lane < shape.width; ++lane) {
    start[lane] = static_cast<float>(random.between(-3, 3)) - (lane == shape.moving_lane ? shape.moving : 0.0f);
    first_sum.push_back(whole ? 0.0f : random.uniform(0.5f, 2.0f));
    first_maximum.push_back(whole ? -infinity : random.uniform(-30.0f, 3.0f));
    block_sum[lane] = first_sum.back();
    block_maximum[lane] = first_maximum.back();
  }
  for (std::int64_t j = 0; j < masked_keys; ++j) {
    visible[j] = random.one_in(8) ? ~0u : static_cast<std::uint32_t>(random.between(0, 0xffffffff));  // the rest is unused
    if (j == shape.nan_key) visible[j] &= 0xaaaaaaaa;
  }
  const auto hidden = [&](std::int64_t j, std::int64_t lane) { return shape.general && (visible[j] >> lane & 1) == 0; };
  if (shape.nan_key >= 0 && shape.depth > 0) *keys.at(shape.nan_key, shape.depth / 2) = not_a_number;

  ScoreArguments arguments = {};
  const std::vector<const float*> places = draw_places(random, keys, shape.general ? shape.keys : 0);
  arguments.keys = places.empty() ? keys.data : nullptr;
  arguments.key_rows = places.empty() ? nullptr : places.data();
  arguments.key_row_stride = keys.row_stride;
  arguments.key_stride = keys.stride;
  arguments.key_count = shape.keys;
  arguments.depth = shape.depth;
  arguments.fetches = random.one_in(2);
  if (random.one_in(2)) {  // any rows do: what is fetched is not read
    arguments.values = keys.data;
    arguments.value_row_stride = keys.row_stride;
    arguments.value_columns = shape.depth;
  }
  arguments.queries = queries.data;
  arguments.width = shape.width;
  arguments.start = start;
  arguments.unseen = unseen;
  const float cap = shape.capped ? 3.0f : 0.0f;
  arguments.cap = cap;
  arguments.visible = shape.general ? visible : nullptr;
  arguments.bias = shape.biased ? bias.data : nullptr;
  arguments.weights = weights.data;
  arguments.block_sum = block_sum;
  arguments.block_maximum = block_maximum;
  const int bits = shape.general ? kernels.scores_general(&arguments) : kernels.scores_plain(&arguments);

  int expected = 0;
  for (std::int64_t lane = 0; lane < shape.width; ++lane) {
    float total = first_sum[static_cast<std::size_t>(lane)];
    double top = first_maximum[static_cast<std::size_t>(lane)], top_error = 0.0;
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      double score = 0.0, magnitude = std::abs(static_cast<double>(start[lane]));
      for (std::int64_t d = 0; d < shape.depth; ++d) {
        const double term = static_cast<double>(*keys.at(j, d)) * *queries.at(d, lane);
        score += term;
        magnitude += cap > 0.0f ? cap * std::abs(term) : std::abs(term);  // tanh is no steeper than 1
      }
      if (cap > 0.0f) {
        score = cap * std::tanh(score);
        magnitude += 2.0 * cap;
      }
      score -= static_cast<double>(start[lane]);
      if (shape.biased) {
        score += *bias.at(j, lane);
        magnitude += std::abs(*bias.at(j, lane));
      }
      if (hidden(j, lane)) score = -infinity;
      const double error = score == -infinity ? 0.0 : linear_bound(magnitude, shape.depth + 1, Data::random);
      if (score > top) top = score;
      top_error = std::max(top_error, std::isnan(error) ? 0.0 : error);
      const bool limited = shape.biased || shape.capped;
      const double weight = std::exp2(limited ? std::min(score, 24.0) : score);
      const double relative = std::expm1(error * std::log(2.0)) + exp2_error(kernels.isa);
      total += *weights.at(j, lane);
      if (score > (shape.general ? 23.0 : 127.0) && !limited) {  // anything
        ArgumentMemory::restore(weights.at(j, lane));
      } else {
        report.close("weights", j, lane, weights.at(j, lane), weight,
                     score == -infinity ? 0.0 : weight * relative + smallest_normal);
      }
    }
    const float block_top = block_maximum[lane];
    const float above = start[lane] < 0.0f ? 2.0f : 24.0f, below = arguments.bias != nullptr ? -4.0f : -24.0f;
    if (block_top > above || ((unseen >> lane & 1) != 0 && block_top < below && block_top > -infinity)) expected |= block_moves;
    if (total < smallest_sum) expected |= block_vanishes;
    report.equal("block_sum", lane, 0, &block_sum[lane], total);
    report.close("block_maximum", lane, 0, &block_maximum[lane], top, top_error);
  }
  report.returned(bits == expected, true);
  return report.result();
}

Result check_rescale(const Kernels& kernels, const RescaleShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "rescale", {{"lane_count", shape.lane_count}, {"columns", shape.columns}}, seed, memory);
  Random random(seed);
  const std::int64_t stride = round_up(shape.columns, kernels.lanes);
  float* factors = memory.input<float>("factors", shape.lane_count);
  const Matrix output = output_matrix(memory, "output", shape.lane_count, stride, stride, 1, cache_line);
  std::vector<float> before;
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    factors[lane] = random.one_in(2) ? 1.0f : random.one_in(4) ? 0.0f : random.value();
    for (std::int64_t c = 0; c < stride; ++c) *output.at(lane, c) = before.emplace_back(c < shape.columns ? random.value() : 0.0f);
  }
  const RescaleArguments arguments = {factors, shape.lane_count, output.data, stride, shape.columns};
  kernels.rescale(&arguments);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    for (std::int64_t c = 0; c < stride; ++c) {
      report.equal("output", lane, c, output.at(lane, c), before[static_cast<std::size_t>(lane * stride + c)] * factors[lane]);
    }
  }
  return report.result();
}

}  // namespace attend::checks
