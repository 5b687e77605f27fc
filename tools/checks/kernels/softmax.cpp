// Shapes at random, and the contract in double precision.
#include "softmax.h"

#include <algorithm>

namespace attend::checks {

SoftmaxShape draw_softmax(const Kernels& kernels, Random& random) {
  SoftmaxShape shape;
  shape.total = draw_size(random, 0, kernels.lanes);
  shape.visible = random.one_in(2) ? shape.total : random.between(0, shape.total);
  shape.in_place = random.one_in(2);
  shape.destination_stride = draw_stride(random, 1);
  shape.source_stride = shape.in_place ? shape.destination_stride : draw_stride(random, 0);
  if (random.one_in(2)) shape.level = random.one_in(2) ? -1e6f : 1e4f;
  if (shape.visible > 0 && random.one_in(4)) {
    const float values[] = {infinity, -infinity, not_a_number};
    shape.special_score = random.between(0, shape.visible - 1);
    shape.special = values[random.between(0, 2)];
  }
  return shape;
}

Result check_softmax(const Kernels& kernels, const SoftmaxShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "softmax",
                {{"visible", shape.visible}, {"total", shape.total}, {"source_stride", shape.source_stride},
                 {"destination_stride", shape.destination_stride}, {"in_place", shape.in_place},
                 {"level", static_cast<std::int64_t>(shape.level)}, {"special_score", shape.special_score}},
                seed, memory);
  Random random(seed);
  const Matrix destination = output_matrix(memory, "destination", 1, shape.total, 0, shape.destination_stride);
  const Matrix source =
      shape.in_place ? destination : input_matrix(memory, random, "source", 1, shape.visible, 0, shape.source_stride);
  // One score in some rows is so much larger that to miss it overflows.
  const std::int64_t spike = random.one_in(3) ? random.between(0, shape.visible) : -1;
  for (std::int64_t j = 0; j < shape.visible; ++j) {
    *source.at(0, j) = shape.level + 4.0f * random.value() + (j == spike ? 300.0f : 0.0f);
    if (j == shape.special_score) *source.at(0, j) = shape.special;
  }
  constexpr double hidden_score = -1e6;
  const bool hides = shape.visible < shape.total;
  std::vector<double> scores;
  double top = hides ? hidden_score : -infinity, lowest = infinity;
  for (std::int64_t j = 0; j < shape.total; ++j) {
    scores.push_back(j < shape.visible ? *source.at(0, j) : hidden_score);
    if (scores.back() > top) top = scores.back();
    if (scores.back() < lowest && scores.back() > -infinity) lowest = scores.back();
  }
  SoftmaxArguments arguments = {};
  arguments.source = source.data;
  arguments.source_stride = source.stride;
  arguments.visible = shape.visible;
  arguments.total = shape.total;
  arguments.destination = destination.data;
  arguments.destination_stride = destination.stride;
  kernels.softmax(&arguments);

  double sum = 0.0;
  for (const double score : scores) sum += std::exp(score - top);
  const double spread = std::min(top - lowest, 90.0);  // beyond, weights are 0
  for (std::int64_t j = 0; j < shape.total; ++j) {
    const double weight = std::exp(scores[static_cast<std::size_t>(j)] - top) / sum;
    report.close("destination", 0, j, destination.at(0, j), weight,
                 reference::weight_bound(weight, spread, 0, shape.total, Data::random));
  }
  return report.result();
}

}  // namespace attend::checks
