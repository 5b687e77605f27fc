// The table of T5's relative position bias, and what biases do to a row's maximum and its sum.
#include "data/biases.h"

#include <math.h>

namespace attend {

namespace {

std::int64_t reach_of(const RelativePositionBias& bias) {
  const std::int64_t buckets = bias.table.sizes[0];
  return bias.max_distance > buckets ? bias.max_distance : buckets;
}

std::int64_t row_of(const Kernels& kernels, const RelativePositionBias& bias) {
  return 2 * (reach_of(bias) + kernels.lanes) + 1;
}

// The distances of keys from queries in a call: from the smallest to behind the largest.
KeyRange distances_of(const Visibility& visibility) {
  KeyRange all = {INT64_MAX, INT64_MIN};
  for (std::int64_t b = 0; b < visibility.sequences.count; ++b) {
    const std::int64_t first = visibility.position(b, 0), queries = visibility.sequences.query_count(b);
    all.begin = smaller(all.begin, visibility.first_of(b) - (first + queries - 1));
    all.end = larger(all.end, visibility.sequences.key_count(b) - first);
  }
  return all;
}

}  // namespace

std::int64_t relative_table_size(const Kernels& kernels, const RelativePositionBias& bias) {
  return bias.table.absent() ? 0 : bias.table.sizes[1] * row_of(kernels, bias);
}

BiasReference bias_at(const LaneRules& lane, const SequenceRules& sequence, std::int64_t key) {
  BiasReference bias = {};
  const std::int64_t distance = key - lane.position;
  if (lane.additive != nullptr) bias.additive = lane.additive[key * sequence.additive_stride];
  if (lane.relative != nullptr) bias.relative = lane.relative[larger(-sequence.reach, smaller(distance, sequence.reach))];
  bias.distance = distance < 0 ? -distance : distance;
  return bias;
}

double bias_difference(float slope, const BiasReference& a, const BiasReference& b) {
  const double additive = static_cast<double>(a.additive) - static_cast<double>(b.additive);
  const double relative = static_cast<double>(a.relative) - static_cast<double>(b.relative);
  return additive + relative - static_cast<double>(slope) * static_cast<double>(a.distance - b.distance);
}

float power_of(double level) { return level == 0.0 ? 1.0f : level < -126.0 ? 0.0f : static_cast<float>(::exp2(level)); }

float lse_of(float maximum, double sum, double bias) {
  constexpr double most = 0x1.fffffep+127;
  const double lse = (static_cast<double>(maximum) + log2(sum)) * ln_2 + bias;
  const bool finite = sum > 0.0 && sum < HUGE_VAL && fabsf(maximum) < HUGE_VALF;
  return static_cast<float>(finite ? fmax(-most, fmin(lse, most)) : lse);
}

// In float32, one rounding a step, as models were trained: another precision takes the next bucket where the logarithm is an integer.
std::int64_t relative_bucket(std::int64_t distance, std::int64_t buckets, bool bidirectional, std::int64_t max_distance) {
  std::int64_t first = 0;
  if (bidirectional) {
    buckets /= 2;
    if (distance > 0) first = buckets;
    if (distance < 0) distance = -distance;
  } else {
    distance = distance < 0 ? -distance : 0;
  }
  const std::int64_t exact = buckets / 2;
  if (distance < exact) return first + distance;
  const float ratio = logf(static_cast<float>(distance) / static_cast<float>(exact)) /
                      static_cast<float>(log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const std::int64_t bucket = exact + static_cast<std::int64_t>(ratio * static_cast<float>(buckets - exact));
  return first + (bucket < buckets ? bucket : buckets - 1);
}

// Distances of equal buckets are neighbours, so that a logarithm is taken 10 times a bucket instead of once a distance; one
// query beside 1024 keys takes 2 % for its table, whatever max_distance is (all of 20,000 distances: six times the whole call).
void make_relative_table(const Kernels& kernels, const RelativePositionBias& bias, const Visibility& visibility, float* table, Biases* biases) {
  if (bias.table.absent()) return;
  biases->relative = table;
  biases->reach = reach_of(bias);
  biases->relative_row = row_of(kernels, bias);
  const std::int64_t reach = biases->reach, center = reach + kernels.lanes;
  const auto clamped = [](std::int64_t distance, std::int64_t least, std::int64_t most) { return larger(least, smaller(distance, most)); };
  const auto bucket_at = [&](std::int64_t distance) {
    return relative_bucket(clamped(distance, -reach, reach), bias.table.sizes[0], bias.bidirectional, bias.max_distance);
  };
  const KeyRange range = distances_of(visibility);  // kernels read `lanes` of these from one on, from -center to reach
  const std::int64_t end = clamped(range.end - 1, -center, reach) + kernels.lanes + 1;
  for (std::int64_t first = clamped(range.begin, -center, reach); first < end;) {
    const std::int64_t bucket = bucket_at(first);
    std::int64_t same = first, other = end;  // the last distance known to be in the bucket, and the first known not to be
    for (std::int64_t step = 1; same + step < other; step *= 2) {
      if (bucket_at(same + step) != bucket) other = same + step;
      else same += step;
    }
    while (other - same > 1) {
      const std::int64_t middle = same + (other - same) / 2;
      (bucket_at(middle) == bucket ? same : other) = middle;
    }
    for (std::int64_t h = 0; h < bias.table.sizes[1]; ++h) {
      const float value = bias.table.data[bucket * bias.table.strides[0] + h * bias.table.strides[1]];
      kernels.fill(table + h * biases->relative_row + center + first, 1, other - first, value);
    }
    first = other;
  }
}

}  // namespace attend
