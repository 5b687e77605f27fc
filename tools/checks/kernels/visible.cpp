// Shapes at random, and the contract in double precision.
#include "visible.h"

namespace attend::checks {

BiasShape draw_fill_visible(const Kernels& kernels, Random& random) {
  BiasShape shape;
  shape.keys = random.one_in(2) ? random.between(1, kernels.key_block) : random.between(1, 2 * kernels.lanes + 1);
  shape.width = draw_tile(kernels, random);
  shape.lane_count = random.one_in(2) ? shape.width : random.between(1, shape.width);
  shape.masked = random.one_in(2);
  shape.additive = random.one_in(3);
  shape.tree = random.one_in(4);
  shape.relative = random.one_in(2);
  shape.mask_stride = draw_stride(random, 0);
  shape.additive_stride = draw_stride(random, 0);
  return shape;
}

Result check_fill_visible(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "fill_visible",
                {{"keys", shape.keys}, {"lane_count", shape.lane_count}, {"width", shape.width}, {"masked", shape.masked},
                 {"additive", shape.additive}, {"tree", shape.tree}, {"mask_stride", shape.mask_stride},
                 {"additive_stride", shape.additive_stride}},
                seed, memory);
  Random random(seed);
  const RuledLanes lanes(kernels, shape, random, memory);
  auto* visible = reinterpret_cast<std::uint32_t*>(memory.output("visible", round_up(shape.keys, 16), cache_line));
  auto* seen = reinterpret_cast<std::uint32_t*>(memory.output("seen", 1));
  const auto seen_before = static_cast<std::uint32_t>(random.between(0, 0xffffffff));
  *seen = seen_before;
  VisibleArguments arguments = {};
  arguments.lanes = lanes.lanes;
  arguments.sequence = lanes.sequence;
  arguments.lane_count = shape.lane_count;
  arguments.key = lanes.key;
  arguments.key_count = shape.keys;
  arguments.visible = visible;
  arguments.seen = seen;
  const int bits = kernels.fill_visible(&arguments);
  std::uint32_t expected_seen = seen_before;
  int expected_bits = 0;
  for (std::int64_t k = 0; k < shape.keys; ++k) {
    for (std::int64_t n = 0; n < shape.lane_count; ++n) {
      const bool sees = lanes.sees(n, lanes.key + k);
      if (sees) expected_seen |= 1u << n;
      expected_bits |= sees ? block_sees : block_hides;
      if (lanes.adds(n, lanes.key + k)) expected_bits |= block_adds;
      float got = static_cast<float>(visible[k] >> n & 1);
      report.equal("visible", k, n, &got, sees);
    }
    ArgumentMemory::restore(reinterpret_cast<float*>(visible + k));
  }
  for (std::int64_t k = shape.keys; k < round_up(shape.keys, 16); ++k) ArgumentMemory::restore(reinterpret_cast<float*>(visible + k));
  report.returned(*seen == expected_seen && bits == expected_bits, true);
  ArgumentMemory::restore(reinterpret_cast<float*>(seen));
  return report.result();
}

}  // namespace attend::checks
