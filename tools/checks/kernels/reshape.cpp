// Shapes at random, and the contracts in double precision.
#include "reshape.h"

namespace attend::checks {

CopyShape draw_copy(const Kernels& kernels, Random& random) {
  CopyShape shape;
  shape.rows = random.between(0, 12);
  shape.columns = draw_width(random, 0, kernels.lanes);
  shape.source_stride = draw_stride(random, 0);
  shape.source_gap = draw_input_gap(random, shape.columns * shape.source_stride);
  shape.destination_stride = draw_stride(random, 1);
  shape.destination_gap = draw_gap(random);
  return shape;
}

FillShape draw_fill(const Kernels& kernels, Random& random) {
  FillShape shape;
  shape.count = draw_size(random, 0, kernels.lanes);
  shape.stride = draw_stride(random, 1);
  return shape;
}

Result check_copy(const Kernels& kernels, const CopyShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "copy",
                {{"rows", shape.rows}, {"columns", shape.columns}, {"source_stride", shape.source_stride},
                 {"source_gap", shape.source_gap}, {"destination_stride", shape.destination_stride},
                 {"destination_gap", shape.destination_gap}},
                seed, memory);
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "source", shape.rows, shape.columns,
                                     shape.columns * shape.source_stride + shape.source_gap, shape.source_stride);
  const Matrix destination = output_matrix(memory, "destination", shape.rows, shape.columns,
                                           shape.columns * shape.destination_stride + shape.destination_gap,
                                           shape.destination_stride);
  CopyArguments arguments = {};
  const std::vector<const float*> places = draw_places(random, source, shape.rows);
  arguments.source = places.empty() ? source.data : nullptr;
  arguments.source_rows = places.empty() ? nullptr : places.data();
  arguments.source_row_stride = source.row_stride;
  arguments.source_stride = source.stride;
  arguments.destination = destination.data;
  arguments.destination_row_stride = destination.row_stride;
  arguments.destination_stride = destination.stride;
  arguments.rows = shape.rows;
  arguments.columns = shape.columns;
  kernels.copy(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < shape.columns; ++c) {
      report.equal("destination", r, c, destination.at(r, c), *source.at(r, c));
    }
  }
  return report.result();
}

Result check_fill(const Kernels& kernels, const FillShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "fill", {{"count", shape.count}, {"stride", shape.stride}}, seed, memory);
  const Matrix destination = output_matrix(memory, "destination", 1, shape.count, 0, shape.stride);
  const float value = Random(seed).value();
  kernels.fill(destination.data, shape.stride, shape.count, value);
  for (std::int64_t i = 0; i < shape.count; ++i) report.equal("destination", 0, i, destination.at(0, i), value);
  return report.result();
}

}  // namespace attend::checks
