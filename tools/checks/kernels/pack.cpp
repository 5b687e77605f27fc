// Shapes at random, and the contracts in double precision.
#include "pack.h"

namespace attend::checks {

PackShape draw_pack(const Kernels& kernels, Random& random) {
  PackShape shape;
  shape.depth = draw_size(random, 0, 16);
  shape.columns = draw_size(random, 0, kernels.gemm_columns);
  shape.width = round_up(shape.columns, kernels.lanes) + random.between(0, 1) * kernels.lanes;
  const bool transposed = random.one_in(2);
  const std::int64_t stride = draw_stride(random, 0);
  shape.k_stride = transposed ? stride : shape.columns * stride + draw_gap(random);
  shape.n_stride = transposed ? shape.depth * stride + draw_gap(random) : stride;
  return shape;
}

PackQueriesShape draw_pack_queries(const Kernels& kernels, Random& random) {
  PackQueriesShape shape;
  shape.width = draw_tile(kernels, random);
  shape.count = random.between(0, shape.width);
  shape.depth = draw_width(random, 0, 16);
  shape.stride = draw_stride(random, 0);
  return shape;
}

WriteWeightsShape draw_write_weights(const Kernels& kernels, Random& random) {
  WriteWeightsShape shape;
  shape.keys = draw_size(random, 0, kernels.lanes);
  shape.width = draw_tile(kernels, random);
  shape.lane_count = random.between(0, shape.width);
  shape.stride = draw_stride(random, 1);
  shape.add = random.one_in(2);
  return shape;
}

Result check_pack(const Kernels& kernels, const PackShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "pack",
                {{"depth", shape.depth}, {"columns", shape.columns}, {"width", shape.width},
                 {"k_stride", shape.k_stride}, {"n_stride", shape.n_stride}},
                seed, memory);
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "source", shape.depth, shape.columns, shape.k_stride,
                                     shape.n_stride);
  const Matrix panel = output_matrix(memory, "panel", shape.depth, shape.width, shape.width, 1);
  PackArguments arguments = {};
  arguments.source = source.data;
  arguments.k_stride = shape.k_stride;
  arguments.n_stride = shape.n_stride;
  arguments.depth = shape.depth;
  arguments.columns = shape.columns;
  arguments.width = shape.width;
  arguments.panel = panel.data;
  kernels.pack(&arguments);
  for (std::int64_t k = 0; k < shape.depth; ++k) {
    for (std::int64_t n = 0; n < shape.width; ++n) {
      report.equal("panel", k, n, panel.at(k, n), n < shape.columns ? *source.at(k, n) : 0.0f);
    }
  }
  return report.result();
}

Result check_pack_queries(const Kernels& kernels, const PackQueriesShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "pack_queries",
                {{"count", shape.count}, {"width", shape.width}, {"depth", shape.depth}, {"stride", shape.stride}},
                seed, memory);
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "queries", shape.count, shape.depth,
                                     shape.depth * shape.stride + 1, shape.stride);
  const float** queries = memory.input<const float*>("query pointers", shape.count);
  for (std::int64_t lane = 0; lane < shape.count; ++lane) queries[lane] = source.at(lane, 0);
  const Matrix panel = output_matrix(memory, "panel", shape.depth, shape.width, shape.width, 1, cache_line);
  const float scale = random.value();
  PackQueriesArguments arguments = {};
  arguments.queries = queries;
  arguments.count = shape.count;
  arguments.stride = shape.stride;
  arguments.depth = shape.depth;
  arguments.width = shape.width;
  arguments.scale = scale;
  arguments.panel = panel.data;
  kernels.pack_queries(&arguments);
  for (std::int64_t d = 0; d < shape.depth; ++d) {
    for (std::int64_t lane = 0; lane < shape.width; ++lane) {
      report.equal("panel", d, lane, panel.at(d, lane), lane < shape.count ? *source.at(lane, d) * scale : 0.0f);
    }
  }
  return report.result();
}

Result check_write_weights(const Kernels& kernels, const WriteWeightsShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "write_weights",
                {{"keys", shape.keys}, {"width", shape.width}, {"lane_count", shape.lane_count},
                 {"stride", shape.stride}, {"add", shape.add}},
                seed, memory);
  Random random(seed);
  const Matrix weights = {memory.input<float>("weights", shape.keys * shape.width, cache_line), shape.width, 1};
  float* factors = memory.input<float>("factors", shape.lane_count);
  float** destinations = memory.input<float*>("destination pointers", shape.lane_count);
  const std::int64_t row_stride = shape.keys * shape.stride + static_cast<std::int64_t>(seed % 2);
  const Matrix destination =
      output_matrix(memory, "destinations", shape.lane_count, shape.keys, row_stride, shape.stride);
  std::vector<float> before;
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    factors[lane] = random.value();
    destinations[lane] = destination.at(lane, 0);
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      *weights.at(j, lane) = random.value();
      before.push_back(shape.add ? random.value() : 0.0f);
      if (shape.add) *destination.at(lane, j) = before.back();
    }
  }
  WriteWeightsArguments arguments = {};
  arguments.weights = weights.data;
  arguments.width = shape.width;
  arguments.key_count = shape.keys;
  arguments.lane_count = shape.lane_count;
  arguments.factors = factors;
  arguments.destinations = destinations;
  arguments.key_stride = shape.stride;
  arguments.add = shape.add;
  kernels.write_weights(&arguments);
  std::size_t index = 0;
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      const float product = *weights.at(j, lane) * factors[lane];
      report.equal("destinations", lane, j, destination.at(lane, j), shape.add ? before[index] + product : product);
      ++index;
    }
  }
  return report.result();
}

}  // namespace attend::checks
