// Moves the frames of a tile's lanes: their maxima and reference biases.
#include "run/tile.h"

#include <math.h>
#include <string.h>

namespace attend {

namespace {

// How far the bias of `a` is above that of `b` on one lane, log2.
double rise_of(const LaneRules& lane, const BiasReference& a, const BiasReference& b) {
  return bias_difference(lane.slope, a, b) / ln_2;
}

// The largest bias of a block's visible keys; false where none is a number. Biases that are alike as floats, or at the ends of their
// range, are told apart by their sources.
bool largest_bias(const Tile& tile, std::int64_t lane, std::int64_t begin, std::int64_t end, BiasReference* bias) {
  const TileScratch& scratch = tile.scratch;
  float largest = -infinity;
  for (std::int64_t j = begin; j < end; ++j) {
    const float added = scratch.bias[(j - begin) * tile.width + lane];
    if ((scratch.visible[j - begin] >> lane & 1) == 0 || !(added >= largest)) continue;
    const BiasReference here = bias_at(scratch.lane_rules[lane], tile.sequence, j);
    if (added > largest || bias_difference(scratch.lane_rules[lane].slope, here, *bias) > 0.0) *bias = here;
    largest = added;
  }
  return largest > -infinity;
}

// Moves the frames that a block's scores ask to move, the reference first: beside a large difference of biases a score is not known.
// `level` is where a lane's sum so far stands in its frame, log2. Returns whether a frame has moved: then the block is scored again.
bool move_frames(const Tile& tile, std::int64_t begin, std::int64_t end, bool biased, std::uint32_t* moved) {
  TileScratch& scratch = tile.scratch;
  std::uint32_t moving = 0;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    const float top = scratch.block_maximum[lane];
    float& maximum = scratch.maximum[lane];
    double& level = scratch.level[lane];
    const auto gone = [&] { return scratch.sum[lane] * ::exp2(level) < smallest_sum; };
    if (!(fabsf(top) < infinity)) continue;  // with a score of +inf the row is NaN, whatever its frame
    if (!(top > (scratch.start[lane] < 0.0f ? 2.0f : 24.0f) || (top < (biased ? -4.0f : -24.0f) && gone()))) continue;
    BiasReference reference;
    if (biased && largest_bias(tile, lane, begin, end, &reference)) {
      LaneRules& rules = scratch.lane_rules[lane];
      const double rise = rise_of(rules, reference, rules.reference);
      if (rise > 16.0 || (rise < -2.0 && gone())) {
        rules.reference = reference;
        level -= rise;
        if (gone()) {  // the lane has no sum to keep near: its scores alone say where the maximum goes
          level += static_cast<double>(maximum);
          maximum = 0.0f;
        }
        scratch.start[lane] = 0.0f;
        moving |= 1u << lane;
        continue;
      }
    }
    const float after = static_cast<float>(static_cast<double>(maximum) + ceil(fmax(static_cast<double>(top), level)));
    if (after == maximum) continue;
    level -= static_cast<double>(after) - static_cast<double>(maximum);
    maximum = after;
    scratch.start[lane] = 0.0f;
    moving |= 1u << lane;
  }
  *moved |= moving;
  return moving != 0;
}

}  // namespace

double reference_above(const TileScratch& scratch, std::int64_t lane, const BiasReference& other) {
  const LaneRules& rules = scratch.lane_rules[lane];
  return scratch.described ? bias_difference(rules.slope, rules.reference, other) : bias_difference(0.0f, {}, other);
}

// Most moves take one round, moves of a reference two or three; one more beyond 2^24, where a maximum is rounded.
void settle_frames(const Tile& tile, std::int64_t begin, std::int64_t end, bool biased) {
  TileScratch& scratch = tile.scratch;
  std::uint32_t moved = 0;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) scratch.level[lane] = (scratch.unseen >> lane & 1) != 0 ? -HUGE_VAL : 0.0;
  if (!scratch.described) describe_lanes(tile);
  fill_visible(tile, begin, end);
  for (int round = 0; round < 8 && move_frames(tile, begin, end, biased, &moved); ++round) {
    for (std::int64_t lane = 0; lane < tile.count; ++lane) scratch.lane_rules[lane].shift = scratch.start[lane] - scratch.maximum[lane];
    fill_bias(tile, begin, end);
    score(tile, begin, end, false, true);
  }
  scratch.referenced = false;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    scratch.start[lane] = scratch.maximum[lane];
    scratch.lane_rules[lane].shift = 0.0f;
    scratch.referenced |= scratch.lane_rules[lane].reference.additive != 0.0f;
    float& factor = scratch.factors[lane];
    factor = 1.0f;
    const double level = scratch.level[lane];
    if ((moved >> lane & 1) == 0 || level == -HUGE_VAL) continue;
    factor = power_of(level);
    scratch.sum[lane] *= static_cast<double>(factor);
  }
  rescale(tile);
}

void begin_frames(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  const auto width = static_cast<std::size_t>(tile.width);
  memset(scratch.maximum, 0, width * sizeof(float));
  memset(scratch.start, 0, width * sizeof(float));
  memset(scratch.sum, 0, width * sizeof(double));
  for (std::int64_t lane = 0; lane < tile.count && scratch.described; ++lane) scratch.lane_rules[lane].reference = {};
  scratch.unseen = ~std::uint32_t{0} >> (32 - tile.count);
  scratch.folded = scratch.referenced = false;
}

void add_sinks(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  const Numbers<float>& sinks = tile.attention.biases.sinks;
  if (sinks.absent() || tile.uniform) return;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    const BiasReference sink = {sinks.at(scratch.lanes[lane].head), 0.0f, 0};
    float& factor = scratch.factors[lane];
    factor = 1.0f;
    if (sink.additive == -infinity) continue;
    double level = -static_cast<double>(scratch.maximum[lane]) - reference_above(scratch, lane, sink) / ln_2;
    if (scratch.sum[lane] == 0.0 || level > 64.0) {
      if (!scratch.described) describe_lanes(tile);
      factor = scratch.sum[lane] == 0.0 ? 0.0f : power_of(-level);
      scratch.sum[lane] *= static_cast<double>(factor);
      scratch.maximum[lane] = 0.0f;
      scratch.lane_rules[lane].reference = sink;
      level = bias_difference(0.0f, sink, sink);  // 0, but NaN for +inf
    }
    scratch.sum[lane] += ::exp2(level);
  }
  rescale(tile);
}

}  // namespace attend
