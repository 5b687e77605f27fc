// Shapes at random, and the contracts in double precision.
#include "accumulate.h"

namespace attend::checks {

AccumulateShape draw_accumulate(const Kernels& kernels, Random& random) {
  AccumulateShape shape;
  shape.keys = draw_size(random, 0, 4);
  shape.columns = draw_width(random, 0, 3 * kernels.lanes);
  shape.width = draw_tile(kernels, random);
  shape.first_lane = random.one_in(2) ? 0 : random.between(0, shape.width - 1);
  shape.lane_count = random.between(0, shape.width - shape.first_lane);
  shape.gap = draw_input_gap(random, shape.columns);
  shape.accumulation = static_cast<Accumulation>(random.between(0, 2));
  return shape;
}

FoldShape draw_fold(const Kernels& kernels, Random& random) {
  FoldShape shape;
  shape.count = draw_size(random, 0, 2 * kernels.lanes);
  shape.first = random.one_in(2);
  return shape;
}

FinishShape draw_finish(const Kernels& kernels, Random& random) {
  FinishShape shape;
  shape.lane_count = random.between(0, 5);
  shape.columns = draw_width(random, 0, kernels.lanes);
  shape.stride = draw_stride(random, 1);
  if (shape.lane_count > 0 && shape.columns > 0 && random.one_in(2)) {
    const float values[] = {infinity, -infinity, not_a_number};
    shape.broken_lane = random.between(0, shape.lane_count - 1);
    shape.broken_column = random.between(0, shape.columns - 1);
    shape.broken = values[random.between(0, 2)];
  }
  return shape;
}

FoldShape draw_unfold(const Kernels& kernels, Random& random) { return draw_fold(kernels, random); }

Result check_accumulate(const Kernels& kernels, const AccumulateShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "accumulate",
                {{"keys", shape.keys}, {"columns", shape.columns}, {"width", shape.width}, {"first_lane", shape.first_lane},
                 {"lane_count", shape.lane_count}, {"gap", shape.gap}, {"accumulation", static_cast<std::int64_t>(shape.accumulation)}},
                seed, memory);
  Random random(seed);
  const std::int64_t stride = round_up(shape.columns, kernels.lanes);
  const Matrix weights = {memory.input<float>("weights", shape.keys * shape.width, cache_line) + shape.first_lane, shape.width, 1};
  const Matrix values = input_matrix(memory, random, "values", shape.keys, shape.columns, shape.columns + shape.gap, 1);
  const Matrix output = output_matrix(memory, "output", shape.lane_count, stride, stride, 1, cache_line);
  const bool stores = shape.accumulation == Accumulation::store;
  std::vector<float> first;
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    for (std::int64_t j = 0; j < shape.keys; ++j) *weights.at(j, lane) = random.value();
    for (std::int64_t c = 0; c < stride; ++c) {
      first.push_back(c < shape.columns && !stores ? random.value() : 0.0f);
      *output.at(lane, c) = stores ? not_a_number : first.back();
    }
  }
  AccumulateArguments arguments = {};
  arguments.weights = weights.data;
  arguments.width = shape.width;
  arguments.lane_count = shape.lane_count;
  arguments.values = values.data;
  arguments.value_row_stride = values.row_stride;
  arguments.key_count = shape.keys;
  arguments.columns = shape.columns;
  arguments.accumulation = shape.accumulation;
  arguments.output = output.data;
  arguments.output_stride = stride;
  kernels.accumulate(&arguments);
  std::size_t index = 0;
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    for (std::int64_t c = 0; c < stride; ++c) {  // past the columns: 0 as before
      double sum = first[index++], magnitude = std::abs(sum);
      for (std::int64_t j = 0; c < shape.columns && j < shape.keys; ++j) {
        const double term = static_cast<double>(*weights.at(j, lane)) * *values.at(j, c);
        sum += term;
        magnitude += std::abs(term);
      }
      report.close("output", lane, c, output.at(lane, c), sum, linear_bound(magnitude, shape.keys, Data::random));
    }
  }
  return report.result();
}

Result check_fold(const Kernels& kernels, const FoldShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "fold", {{"count", shape.count}, {"first", shape.first}}, seed, memory);
  Random random(seed);
  const float* source = input_matrix(memory, random, "source", 1, shape.count, shape.count, 1).data;
  auto* totals = reinterpret_cast<double*>(memory.output("totals", 2 * shape.count, cache_line));
  std::vector<double> before;
  for (std::int64_t i = 0; i < shape.count; ++i) {
    before.push_back(shape.first ? 0.0 : 1.0 + 0x1p-40 * static_cast<double>(random.between(0, 99)));
    totals[i] = shape.first ? std::numeric_limits<double>::quiet_NaN() : before.back();
  }
  kernels.fold(source, totals, shape.count, shape.first);
  bool right = true;
  for (std::int64_t i = 0; i < shape.count; ++i) {
    right = right && totals[i] == before[static_cast<std::size_t>(i)] + static_cast<double>(source[i]);
    for (int half = 0; half < 2; ++half) ArgumentMemory::restore(reinterpret_cast<float*>(totals + i) + half);
  }
  report.returned(right, true);
  return report.result();
}

Result check_unfold(const Kernels& kernels, const FoldShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "unfold", {{"count", shape.count}}, seed, memory);
  Random random(seed);
  auto* totals = memory.input<double>("totals", shape.count);
  float* destination = memory.output("destination", shape.count);
  for (std::int64_t i = 0; i < shape.count; ++i) totals[i] = random.value() + 0x1p-30 * static_cast<double>(random.between(-9, 9));
  kernels.unfold(totals, destination, shape.count);
  for (std::int64_t i = 0; i < shape.count; ++i) report.equal("destination", 0, i, destination + i, static_cast<float>(totals[i]));
  return report.result();
}

Result check_finish(const Kernels& kernels, const FinishShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "finish",
                {{"lane_count", shape.lane_count}, {"columns", shape.columns}, {"stride", shape.stride},
                 {"broken_lane", shape.broken_lane}, {"broken_column", shape.broken_column}},
                seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.columns, kernels.lanes);  // with zeros
  const Matrix source = input_matrix(memory, random, "source", shape.lane_count, padded, padded, 1);
  auto* sums = memory.input<double>("sums", shape.lane_count);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) sums[lane] = random.value();
  const Matrix factors = output_matrix(memory, "factors", 1, shape.lane_count, 0, 1);
  const std::int64_t row_stride = shape.columns * shape.stride + static_cast<std::int64_t>(seed % 2);
  const Matrix destination =
      output_matrix(memory, "destinations", shape.lane_count, shape.columns, row_stride, shape.stride);
  float** destinations = memory.input<float*>("destination pointers", shape.lane_count);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    destinations[lane] = destination.at(lane, 0);
    std::fill(source.at(lane, shape.columns), source.at(lane, padded), 0.0f);
  }
  if (shape.broken_lane >= 0) *source.at(shape.broken_lane, shape.broken_column) = shape.broken;
  FinishArguments arguments = {};
  arguments.source = source.data;
  arguments.source_stride = source.row_stride;
  arguments.columns = shape.columns;
  arguments.lane_count = shape.lane_count;
  arguments.sums = sums;
  arguments.factors = factors.data;
  arguments.destinations = destinations;
  arguments.stride = shape.stride;
  report.returned(kernels.finish(&arguments), shape.broken_lane < 0);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    const float factor = 1.0f / static_cast<float>(sums[lane]);
    report.equal("factors", lane, 0, factors.at(0, lane), factor);
    for (std::int64_t c = 0; c < shape.columns; ++c) {
      report.equal("destinations", lane, c, destination.at(lane, c), *source.at(lane, c) * factor);
    }
  }
  return report.result();
}

}  // namespace attend::checks
