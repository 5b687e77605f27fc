// Shapes at random, and the contract in double precision.
#include "rotate.h"

namespace attend::checks {

RotateShape draw_rotate(const Kernels& kernels, Random& random) {
  RotateShape shape;
  shape.pairs = draw_width(random, 0, 2 * kernels.lanes) / 2;
  shape.columns = 2 * shape.pairs + (random.one_in(2) ? 0 : draw_size(random, 0, kernels.lanes));
  shape.interleaved = random.one_in(2);
  shape.in_place = random.one_in(2);
  shape.destination_stride = draw_stride(random, 1);
  shape.source_stride = shape.in_place ? shape.destination_stride : draw_stride(random, 0);
  return shape;
}

Result check_rotate(const Kernels& kernels, const RotateShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "rotate",
                {{"pairs", shape.pairs}, {"columns", shape.columns}, {"source_stride", shape.source_stride},
                 {"destination_stride", shape.destination_stride}, {"interleaved", shape.interleaved},
                 {"in_place", shape.in_place}},
                seed, memory);
  Random random(seed);
  const Matrix destination = output_matrix(memory, "destination", 1, shape.columns, 0, shape.destination_stride);
  const Matrix source =
      shape.in_place ? destination : input_matrix(memory, random, "source", 1, shape.columns, 0, shape.source_stride);
  const Matrix cosines = input_matrix(memory, random, "cosines", 1, shape.pairs, 0, 1);
  const Matrix sines = input_matrix(memory, random, "sines", 1, shape.pairs, 0, 1);
  std::vector<double> row;
  for (std::int64_t c = 0; c < shape.columns; ++c) {
    if (shape.in_place) *source.at(0, c) = random.value();
    row.push_back(*source.at(0, c));
  }
  RotateArguments arguments = {};
  arguments.source = source.data;
  arguments.source_stride = source.stride;
  arguments.cosines = cosines.data;
  arguments.sines = sines.data;
  arguments.pairs = shape.pairs;
  arguments.columns = shape.columns;
  arguments.interleaved = shape.interleaved;
  arguments.destination = destination.data;
  arguments.destination_stride = destination.stride;
  kernels.rotate(&arguments);
  for (std::int64_t n = 0; n < shape.pairs; ++n) {
    const std::int64_t first = shape.interleaved ? 2 * n : n, second = shape.interleaved ? 2 * n + 1 : n + shape.pairs;
    const double x = row[static_cast<std::size_t>(first)], y = row[static_cast<std::size_t>(second)];
    const double cosine = *cosines.at(0, n), sine = *sines.at(0, n);
    report.close("destination", 0, first, destination.at(0, first), x * cosine - y * sine,
                 reference::rotary_bound(std::abs(x * cosine) + std::abs(y * sine)));
    report.close("destination", 0, second, destination.at(0, second), y * cosine + x * sine,
                 reference::rotary_bound(std::abs(y * cosine) + std::abs(x * sine)));
  }
  for (std::int64_t c = 2 * shape.pairs; c < shape.columns; ++c) {
    report.equal("destination", 0, c, destination.at(0, c), row[static_cast<std::size_t>(c)]);
  }
  return report.result();
}

}  // namespace attend::checks
