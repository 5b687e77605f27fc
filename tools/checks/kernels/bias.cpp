// Shapes at random, and the contracts in double precision.
#include "bias.h"

#include <algorithm>

namespace attend::checks {

BiasShape draw_fill_bias(const Kernels& kernels, Random& random) { return draw_fill_visible(kernels, random); }

DecodeBiasShape draw_decode_bias(const Kernels& kernels, Random& random) {
  DecodeBiasShape shape;
  shape.keys = random.between(1, 4 * kernels.lanes + 1);
  shape.masked = random.one_in(2);
  shape.additive = random.one_in(2);
  shape.relative = random.one_in(2);
  shape.mask_stride = draw_stride(random, 0);
  shape.additive_stride = draw_stride(random, 0);
  return shape;
}

Result check_fill_bias(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "fill_bias",
                {{"keys", shape.keys}, {"lane_count", shape.lane_count}, {"width", shape.width}, {"masked", shape.masked},
                 {"additive", shape.additive}, {"tree", shape.tree}, {"relative", shape.relative},
                 {"additive_stride", shape.additive_stride}},
                seed, memory);
  Random random(seed);
  const RuledLanes lanes(kernels, shape, random, memory);
  const Matrix bias = output_matrix(memory, "bias", shape.keys, shape.width, shape.width, 1, cache_line);
  BiasArguments arguments = {};
  arguments.lanes = lanes.lanes;
  arguments.sequence = lanes.sequence;
  arguments.lane_count = shape.lane_count;
  arguments.width = shape.width;
  arguments.key = lanes.key;
  arguments.key_count = shape.keys;
  arguments.bias = bias.data;
  kernels.fill_bias(&arguments);
  for (std::int64_t k = 0; k < shape.keys; ++k) {
    for (std::int64_t n = 0; n < shape.width; ++n) {
      if (n >= shape.lane_count) {
        report.equal("bias", k, n, bias.at(k, n), 0.0);
        continue;
      }
      const std::int64_t j = lanes.key + k;
      if (!lanes.sees(n, j)) {  // anything
        ArgumentMemory::restore(bias.at(k, n));
        continue;
      }
      const RuledLanes::Added added = lanes.added(n, j);
      report.close("bias", k, n, bias.at(k, n), added.value, added.tolerance);
    }
  }
  return report.result();
}

Result check_decode_bias(const Kernels& kernels, const DecodeBiasShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_bias",
                {{"keys", shape.keys}, {"masked", shape.masked}, {"additive", shape.additive}, {"relative", shape.relative},
                 {"mask_stride", shape.mask_stride}, {"additive_stride", shape.additive_stride}},
                seed, memory);
  Random random(seed);
  BiasShape of_lane;
  of_lane.keys = shape.keys;
  of_lane.masked = shape.masked;
  of_lane.additive = shape.additive;
  of_lane.relative = shape.relative;
  of_lane.mask_stride = shape.mask_stride;
  of_lane.additive_stride = shape.additive_stride;
  of_lane.tree = random.one_in(3);
  if (of_lane.tree) of_lane.width = of_lane.lane_count = 8;  // queries that decode, of which this is one
  const std::int64_t lane = of_lane.tree ? random.between(0, 7) : 0;
  const RuledLanes lanes(kernels, of_lane, random, memory);
  float* bias = memory.output("bias", shape.keys);
  const DecodeBiasArguments arguments = {lanes.lanes + lane, lanes.sequence, lanes.key, shape.keys, bias};
  const float largest = kernels.decode_bias(&arguments);
  float top = -infinity;
  for (std::int64_t k = 0; k < shape.keys; ++k) {
    const bool sees = lanes.sees(lane, lanes.key + k);
    const RuledLanes::Added added = lanes.added(lane, lanes.key + k);
    top = std::max(top, bias[k]);
    report.close("bias", 0, k, bias + k, sees ? added.value : -infinity, sees ? added.tolerance : 0.0);
  }
  report.returned(largest == top, true);
  return report.result();
}

}  // namespace attend::checks
