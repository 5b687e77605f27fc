// From masks, trees and biases to a lane.
#include "run/bias_lane.h"

namespace attend {

void describe_lane(const Attention& attention, std::int64_t b, std::int64_t head, std::int64_t query, BiasLane* bias) {
  const Visibility& visibility = attention.visibility;
  const Biases& biases = attention.biases;
  bias->slope = biases.slopes.absent() ? 0.0f : biases.slopes.at(head);
  bias->position = visibility.position(b, query);
  bias->mask = visibility.mask.row(b, head, query);
  bias->additive = visibility.additive.row(b, head, query);
  bias->relative = biases.relative_of(head);
  bias->parents = visibility.parents.data;
  if (bias->parents == nullptr) return;
  bias->parents += b * visibility.parents.batch_stride;
  bias->node = query;
}

BiasStrides bias_strides(const Attention& attention) {
  const Visibility& visibility = attention.visibility;
  return {visibility.mask.strides[3], visibility.additive.strides[3], visibility.parents.stride, attention.biases.reach};
}

}  // namespace attend
