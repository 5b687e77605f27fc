// Collects what masks, trees and biases say of one query; writes rows that see no key.
#include "data/attention.h"

namespace attend {

LaneRules Attention::rules_of(std::int64_t b, std::int64_t head, std::int64_t query) const {
  LaneRules lane = {};
  lane.slope = biases.slopes.absent() ? 0.0f : biases.slopes.at(head);
  lane.position = visibility.position(b, query);
  lane.mask = visibility.mask.row(b, head, query);
  lane.additive = visibility.additive.row(b, head, query);
  lane.relative = biases.relative_of(head);
  lane.parents = visibility.parents.data;
  if (lane.parents == nullptr) return lane;
  lane.parents += b * visibility.parents.batch_stride;
  lane.node = query;
  return lane;
}

SequenceRules Attention::sequence_rules(std::int64_t b) const {
  const Numbers<std::uint8_t>& padding = visibility.padding;
  return {visibility.mask.strides[3], visibility.additive.strides[3], visibility.parents.stride, biases.reach,
          padding.absent() ? nullptr : padding.data + b * padding.batch_stride, padding.stride, visibility.mask_hides};
}

void Attention::write_empty_row(std::int64_t head, float* row, float* row_weights) const {
  kernels->fill(row, output.stride, value_depth, 0.0f);
  if (row_weights == nullptr || (average_weights && head > 0)) return;
  kernels->fill(row_weights, weights.stride, sequences().keys, 0.0f);
}

}  // namespace attend
