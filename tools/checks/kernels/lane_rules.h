// The lanes of a tile as fill_visible and fill_bias take them, and what each is to see and to add.
#pragma once

#include <algorithm>

#include "check.h"

namespace attend::checks {

/// The lanes of a tile, for fill_visible and fill_bias.
struct BiasShape {
  std::int64_t keys = 1, lane_count = 1, width = 1;
  bool masked = false, additive = false, tree = false, relative = false;
  std::int64_t mask_stride = 1, additive_stride = 1;
};

/// Lanes as `shape` describes them, and what they should see and add, from the contract.
struct RuledLanes {
  LaneRules* lanes;
  SequenceRules sequence = {};
  std::int64_t key, root = 0;
  std::vector<std::int64_t> parents;
  bool tree = false;

  RuledLanes(const Kernels& kernels, const BiasShape& shape, Random& random, ArgumentMemory& memory) : tree(shape.tree) {
    const std::int64_t keys = shape.keys, reach = random.between(0, 20);
    key = random.between(0, 50);
    const std::int64_t end = key + keys, side = reach + kernels.lanes;
    lanes = memory.input<LaneRules>("lanes", shape.lane_count);
    // Each lane's rows end where their arrays do; those start at the block, and no kernel reads before.
    sequence.mask_stride = shape.mask_stride;
    sequence.padding_stride = random.between(0, 3);
    const auto draw_masks = [&](const char* name, std::int64_t count, std::int64_t stride) {
      const std::int64_t size = extent(1, keys, 0, stride), bytes = round_up(size, 4);
      auto* rows = reinterpret_cast<std::uint8_t*>(memory.input<std::uint32_t>(name, count * bytes / 4)) + (bytes - size);
      for (std::int64_t n = 0; n < count; ++n) {
        for (std::int64_t j = 0; j < keys; ++j) rows[n * bytes + j * stride] = random.one_in(2) ? 0 : static_cast<std::uint8_t>(1u << random.between(0, 7));
      }
      return std::pair<const std::uint8_t*, std::int64_t>(rows - key * stride, bytes);
    };
    const bool padded = shape.masked && random.one_in(2), masked = shape.masked && (!padded || random.one_in(2));
    const auto [masks, mask_bytes] = draw_masks("masks", masked ? shape.lane_count : 0, sequence.mask_stride);
    if (padded) sequence.padding = draw_masks("padding", 1, sequence.padding_stride).first;
    const std::int64_t floats = extent(1, keys, 0, shape.additive_stride);
    float* additives = memory.input<float>("additive masks", shape.additive ? shape.lane_count * floats : 0);
    float* relative = memory.input<float>("relative", shape.relative ? 2 * side + 1 : 0);
    for (std::int64_t d = 0; d <= 2 * side && shape.relative; ++d) {
      const std::int64_t within = std::clamp<std::int64_t>(d, kernels.lanes, 2 * side - kernels.lanes);
      relative[d] = within != d ? 0.0f : random.value();
    }
    for (std::int64_t d = 0; d < kernels.lanes && shape.relative; ++d) {  // each end repeats
      relative[d] = relative[kernels.lanes];
      relative[2 * side - d] = relative[2 * side - kernels.lanes];
    }
    std::int64_t* nodes = memory.input<std::int64_t>("parents", shape.tree ? shape.lane_count : 0);
    root = key + random.between(-3, keys);
    for (std::int64_t node = 0; node < shape.lane_count && shape.tree; ++node) {
      nodes[node] = node == 0 ? -1 : random.between(-1, node - 1);
      parents.push_back(nodes[node]);
    }
    const bool only_infinite = random.one_in(2);
    sequence.additive_stride = shape.additive_stride;
    sequence.parent_stride = 1;
    sequence.reach = reach;
    sequence.mask_hides = random.one_in(2);
    for (std::int64_t n = 0; n < shape.lane_count; ++n) {
      LaneRules lane = {};
      lane.shift = random.one_in(2) ? 0.0f : random.value();
      lane.slope = shape.relative && random.one_in(2) ? random.uniform(0.0f, 0.5f) : 0.0f;
      lane.position = shape.tree ? root + n : random.between(-10, end + 10);
      lane.begin = random.one_in(2) ? 0 : random.between(0, end + 2);
      lane.end = random.one_in(2) ? end + 5 : random.between(0, end + 2);
      if (shape.tree) lane.end = std::min(lane.end, lane.position + 1);
      if (masked) lane.mask = masks + n * mask_bytes;
      if (shape.additive) {
        float* row = additives + n * floats;
        for (std::int64_t j = 0; j < keys; ++j) {
          row[j * shape.additive_stride] = random.one_in(2) ? -infinity : only_infinite ? 0.0f : random.value();
        }
        lane.additive = row - key * shape.additive_stride;
      }
      if (shape.relative) lane.relative = relative + side;
      // Differences of any size are taken before they are added.
      const std::int64_t far = random.one_in(4) ? std::int64_t{1} << random.between(20, 40) : 0;
      if (lane.slope != 0.0f && far != 0 && !shape.tree) lane.position = random.one_in(2) ? far : -far;
      const std::int64_t some = random.between(key, end - 1);
      if (random.one_in(2)) {
        lane.reference.distance = std::abs(some - lane.position);
        if (shape.relative) lane.reference.relative = lane.relative[std::clamp(some - lane.position, -reach, reach)];
        if (shape.additive) {
          const float low = random.one_in(3) ? 0.0f : random.one_in(2) ? -1e9f : -3e38f;
          lane.reference.additive = low;
          for (std::int64_t j = 0; j < keys; ++j) {
            float& added = const_cast<float*>(lane.additive)[(key + j) * shape.additive_stride];
            if (added == -infinity || (j > 0 && shape.additive_stride == 0)) continue;
            added = random.one_in(3) ? low : random.one_in(4) ? 0.0f : low + (low == 0.0f ? random.value() : 0.0f);
          }
        }
      }
      if (shape.tree) {
        lane.parents = nodes;
        lane.node = n;
      }
      lanes[n] = lane;
    }
  }

  bool sees(std::int64_t n, std::int64_t j) const {
    const LaneRules& lane = lanes[n];
    if (j < lane.begin || j >= lane.end) return false;
    if (lane.mask != nullptr && (lane.mask[j * sequence.mask_stride] != 0) == sequence.mask_hides) return false;
    if (sequence.padding != nullptr && (sequence.padding[j * sequence.padding_stride] != 0) == sequence.mask_hides) return false;
    if (lane.additive != nullptr && lane.additive[j * sequence.additive_stride] == -infinity) return false;
    if (!tree || j < root) return true;
    for (std::int64_t node = n; node >= 0; node = parents[static_cast<std::size_t>(node)]) {
      if (root + node == j) return true;
    }
    return false;
  }
  bool adds(std::int64_t n, std::int64_t j) const {
    const LaneRules& lane = lanes[n];
    if (lane.additive == nullptr) return false;
    const float added = lane.additive[j * sequence.additive_stride];
    return added != 0.0f && added != -infinity;
  }

  /// What the kernel adds where lane n sees key j, and how far from it a float may be.
  struct Added {
    double value, tolerance;
  };
  Added added(std::int64_t n, std::int64_t j) const {
    const LaneRules& lane = lanes[n];
    const double log2_e = 1.4426950408889634;  // the contract's number, not the kernels'
    Added sum = {lane.shift, std::abs(lane.shift)};
    const auto add = [&](double difference) {
      sum.value += log2_e * difference;
      sum.tolerance += log2_e * std::abs(difference);
    };
    const std::int64_t distance = j - lane.position;
    if (lane.relative != nullptr) {
      add(static_cast<double>(lane.relative[std::clamp(distance, -sequence.reach, sequence.reach)]) - lane.reference.relative);
    }
    if (lane.slope != 0.0f) add(-static_cast<double>(lane.slope) * static_cast<double>(std::abs(distance) - lane.reference.distance));
    if (lane.additive != nullptr) add(static_cast<double>(lane.additive[j * sequence.additive_stride]) - lane.reference.additive);
    const double most = std::numeric_limits<float>::max();
    sum.value = std::clamp(sum.value, -most, most);
    sum.tolerance *= 6 * 0x1p-24;
    return sum;
  }
};

}  // namespace attend::checks
