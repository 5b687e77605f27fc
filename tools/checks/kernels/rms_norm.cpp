// Shapes at random, and the contract in double precision.
#include "rms_norm.h"

namespace attend::checks {

RmsNormShape draw_rms_norm(const Kernels& kernels, Random& random) {
  RmsNormShape shape;
  shape.columns = draw_width(random, 1, kernels.lanes);
  shape.weighted = !random.one_in(4);
  shape.in_place = random.one_in(2);
  shape.weight_stride = draw_stride(random, 0);
  shape.destination_stride = draw_stride(random, 1);
  shape.source_stride = shape.in_place ? shape.destination_stride : draw_stride(random, 0);
  return shape;
}

Result check_rms_norm(const Kernels& kernels, const RmsNormShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "rms_norm",
                {{"columns", shape.columns}, {"source_stride", shape.source_stride},
                 {"weight_stride", shape.weight_stride}, {"destination_stride", shape.destination_stride},
                 {"weighted", shape.weighted}, {"in_place", shape.in_place}},
                seed, memory);
  Random random(seed);
  const Matrix destination = output_matrix(memory, "destination", 1, shape.columns, 0, shape.destination_stride);
  const Matrix source =
      shape.in_place ? destination : input_matrix(memory, random, "source", 1, shape.columns, 0, shape.source_stride);
  const Matrix weight = input_matrix(memory, random, "weight", 1, shape.weighted ? shape.columns : 0, 0, shape.weight_stride);
  const float epsilon = random.one_in(3) ? 0.0f : random.uniform(0.0f, 1.0f);
  double sum = 0.0;
  std::vector<double> row;
  for (std::int64_t c = 0; c < shape.columns; ++c) {
    if (shape.in_place) *source.at(0, c) = random.value();
    row.push_back(*source.at(0, c));
    sum += row.back() * row.back();
  }
  RmsNormArguments arguments = {};
  arguments.source = source.data;
  arguments.source_stride = source.stride;
  arguments.weight = shape.weighted ? weight.data : nullptr;
  arguments.weight_stride = weight.stride;
  arguments.columns = shape.columns;
  arguments.epsilon = epsilon;
  arguments.destination = destination.data;
  arguments.destination_stride = destination.stride;
  kernels.rms_norm(&arguments);
  const double root = std::sqrt(sum / static_cast<double>(shape.columns) + epsilon);
  const Data data = shape.source_stride == 0 ? Data::structured : Data::random;
  for (std::int64_t c = 0; c < shape.columns; ++c) {
    const double y = row[static_cast<std::size_t>(c)] / root * (shape.weighted ? *weight.at(0, c) : 1.0f);
    report.close("destination", 0, c, destination.at(0, c), y, reference::rms_norm_bound(y, shape.columns, data));
  }
  return report.result();
}

}  // namespace attend::checks
