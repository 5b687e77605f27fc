// Biases: what is added to the scores by the distance of query and key, or by the head alone.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "data/visibility.h"
#include "kernels/kernels.h"

namespace attend {

/// ALiBi's slopes and T5's relative bias, each a function of head and distance, and sinks.
struct Biases {
  Numbers<float> slopes, sinks;  // by head
  /// [H][relative_row]: T5's bias by distance -reach .. reach, each end repeated `lanes`
  /// times; null: none.
  const float* relative = nullptr;
  std::int64_t reach = 0, relative_row = 0;

  /// Bias at distance 0 of head h.
  const float* relative_of(std::int64_t h) const {
    return relative == nullptr ? nullptr : relative + h * relative_row + (relative_row - 1) / 2;
  }
};

/// Floats of the table behind Biases::relative; 0 for an absent bias.
std::int64_t relative_table_size(const Kernels& kernels, const RelativePositionBias& bias);

/// Writes the table of a relative bias, as far as the call's distances go, and points `biases` to it.
void make_relative_table(const Kernels& kernels, const RelativePositionBias& bias, const Visibility& visibility, float* table, Biases* biases);

/// The biases of a key on a lane.
BiasReference bias_at(const LaneRules& lane, const SequenceRules& sequence, std::int64_t key);

/// How far the bias of `a` is above that of `b`, in natural units: the differences of all sources, then their sum.
double bias_difference(float slope, const BiasReference& a, const BiasReference& b);

/// 2^level; 0 where it is below 2^-126.
float power_of(double level);

/// ln of a row's sum of exponentials, which is `sum` relative to 2^maximum and to a bias: the nearest float, finite if the sum is.
float lse_of(float maximum, double sum, double bias);

/// T5's bucket of distance = key position - query position.
std::int64_t relative_bucket(std::int64_t distance, std::int64_t buckets, bool bidirectional, std::int64_t max_distance);

}  // namespace attend
