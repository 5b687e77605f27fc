// From masks, trees and biases to a lane.
#include "run/lane_rules.h"

namespace attend {

void rules_of_lane(const Attention& attention, std::int64_t b, std::int64_t head, std::int64_t query, LaneRules* lane) {
  const Visibility& visibility = attention.visibility;
  const Biases& biases = attention.biases;
  lane->slope = biases.slopes.absent() ? 0.0f : biases.slopes.at(head);
  lane->position = visibility.position(b, query);
  lane->mask = visibility.mask.row(b, head, query);
  lane->additive = visibility.additive.row(b, head, query);
  lane->relative = biases.relative_of(head);
  lane->parents = visibility.parents.data;
  if (lane->parents == nullptr) return;
  lane->parents += b * visibility.parents.batch_stride;
  lane->node = query;
}

RuleStrides rule_strides(const Attention& attention) {
  const Visibility& visibility = attention.visibility;
  return {visibility.mask.strides[3], visibility.additive.strides[3], visibility.parents.stride, attention.biases.reach};
}

}  // namespace attend
