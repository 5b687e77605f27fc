// The list of cases.
#include "cases.h"

namespace attend::bench {
namespace {

// A multiply-add is two operations. The exponentials are not counted.
Case layer(const char* name, const LayerShape& shape) {
  double rows = 0, keys = 0, pairs = 0;
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    const std::int64_t length = shape.valid_lens.empty() ? shape.keys : shape.valid_lens[static_cast<std::size_t>(b)];
    const std::int64_t queries = shape.packed ? length : shape.queries;
    rows += static_cast<double>(queries);
    keys += static_cast<double>(length);
    pairs += static_cast<double>(queries * length);
  }
  const double width = static_cast<double>(shape.width);
  const double projections = 2 * (2 * rows + 2 * keys) * width * width;
  const double attention = 4 * pairs * width;
  return {name, projections + attention, 0, true, shape.precision.is_float32(),
          [shape](Isa isa, const Threads& threads) { return layer_workload(shape, isa, threads); }};
}

Case gemm(const char* name, const GemmShape& shape) {
  const double elements = static_cast<double>(shape.inputs * shape.outputs);
  return {name, 2 * static_cast<double>(shape.rows) * elements, shape.from_memory ? elements * shape.precision.weight_bytes() : 0, true,
          shape.precision.is_float32(),
          [shape](Isa isa, const Threads& threads) { return gemm_workload(shape, isa, threads); }};
}

Case core(const char* name, const CoreShape& shape) {
  std::int64_t pairs = shape.causal ? shape.length * (shape.length + 1) / 2 : shape.length * shape.length;
  if (const std::int64_t beyond = shape.length - 1 - shape.window_left; shape.window_left >= 0 && beyond > 0) {
    pairs -= beyond * (beyond + 1) / 2;
  }
  if (shape.mask == CoreMask::shared || shape.mask == CoreMask::each_head) pairs /= 2;
  return {name, 4 * static_cast<double>(shape.heads * pairs * shape.depth), 0, true, shape.arithmetic == Arithmetic::float32,
          [shape](Isa isa, const Threads& threads) { return core_workload(shape, isa, threads); }};
}

// For one query, keys and values are read once, whatever the number of heads that share them, and that is the bound.
Case decode(const char* name, const DecodeShape& shape) {
  const std::int64_t L = shape.queries;
  const double pairs = static_cast<double>(shape.keys * L - L * (L - 1) / 2);
  const double element = shape.type == CacheType::float32 ? 4 : shape.type == CacheType::int8 ? 1 : 2;
  const double bytes = 2.0 * element * static_cast<double>(shape.groups * shape.keys * shape.depth);
  return {name, 4 * static_cast<double>(shape.heads * shape.depth) * pairs, L == 1 ? bytes : 0, true, true,
          [shape](Isa isa, const Threads& threads) { return decode_workload(shape, isa, threads); }};
}

// Over a KeyValueCache.
Case cached(const char* name, DecodeShape shape, CacheType type) {
  shape.cached = true;
  shape.type = type;
  return decode(name, shape);
}

// Only the five multiply-adds of a polynomial of degree 5 count: what 2^x costs beyond them, in
// scaling, loads and stores, is what its share of the peak falls short of.
Case exponential(const char* name) {
  return {name, 10 * static_cast<double>(exp_count), 0, false, true, [](Isa isa, const Threads&) { return exp_workload(isa); }};
}

constexpr Precision float32 = {}, bf16 = {WeightType::bfloat16, Arithmetic::bfloat16, Arithmetic::bfloat16},
                    int8 = {WeightType::int8, Arithmetic::int8, Arithmetic::bfloat16}, int4 = {WeightType::int4, Arithmetic::int8, Arithmetic::bfloat16};
// Weights that are widened to float32.
constexpr Precision bf16_weights = {WeightType::bfloat16}, fp16_weights = {WeightType::float16}, int8_weights = {WeightType::int8},
                    int4_weights = {WeightType::int4};

}  // namespace

const std::vector<Case>& all_cases() {
  static const std::vector<Case> cases = {
      layer("seed", {2, 4, 6, 100, 5, false, {3, 2}}),
      layer("minilm-128", {1, 128, 128, 384, 12, true, {}}),
      layer("bert-128", {1, 128, 128, 768, 12, true, {}}),
      layer("bert-128x8", {8, 128, 128, 768, 12, true, {128, 100, 64, 32, 128, 90, 70, 17}}),
      layer("bert-128x8-packed", {8, 128, 128, 768, 12, true, {128, 100, 64, 32, 128, 90, 70, 17}, true}),
      layer("vit-197", {1, 197, 197, 768, 12, true, {}}),
      layer("bert-512", {1, 512, 512, 768, 12, true, {}}),
      layer("wide-512", {1, 512, 512, 1024, 16, true, {}}),
      layer("whisper-1500", {1, 1500, 1500, 384, 6, true, {}}),
      layer("long-4096", {1, 4096, 4096, 512, 8, true, {}}),
      layer("minilm-128-bf16", {1, 128, 128, 384, 12, true, {}, false, bf16}),
      layer("minilm-128-int8", {1, 128, 128, 384, 12, true, {}, false, int8}),
      layer("bert-128-bf16", {1, 128, 128, 768, 12, true, {}, false, bf16}),
      layer("bert-128-int8", {1, 128, 128, 768, 12, true, {}, false, int8}),
      layer("bert-512-bf16", {1, 512, 512, 768, 12, true, {}, false, bf16}),
      layer("bert-512-int8", {1, 512, 512, 768, 12, true, {}, false, int8}),
      gemm("gemm-8x768x768", {8, 768, 768}),
      gemm("gemm-128x768x768", {128, 768, 768}),
      gemm("gemm-512x384x384", {512, 384, 384}),
      gemm("gemm-128x768x768-bf16", {128, 768, 768, bf16}),
      gemm("gemm-128x768x768-int8", {128, 768, 768, int8}),
      gemm("gemm-128x768x768-int4", {128, 768, 768, int4}),
      gemm("gemm-128x768x768-bf16-weights", {128, 768, 768, bf16_weights}),
      gemm("gemm-128x768x768-fp16-weights", {128, 768, 768, fp16_weights}),
      gemm("gemm-128x768x768-int8-weights", {128, 768, 768, int8_weights}),
      gemm("gemm-128x768x768-int4-weights", {128, 768, 768, int4_weights}),
      gemm("gemm-1x4096x4096", {1, 4096, 4096, float32, true}),
      gemm("gemm-1x4096x4096-bf16", {1, 4096, 4096, bf16, true}),
      gemm("gemm-1x4096x4096-int8", {1, 4096, 4096, int8, true}),
      gemm("gemm-1x4096x4096-int4", {1, 4096, 4096, int4, true}),
      gemm("gemm-1x4096x4096-bf16-weights", {1, 4096, 4096, bf16_weights, true}),
      gemm("gemm-1x4096x4096-fp16-weights", {1, 4096, 4096, fp16_weights, true}),
      gemm("gemm-1x4096x4096-int8-weights", {1, 4096, 4096, int8_weights, true}),
      gemm("gemm-1x4096x4096-int4-weights", {1, 4096, 4096, int4_weights, true}),
      core("core-128-d32", {12, 128, 32, false}),
      core("core-128-d32-causal", {12, 128, 32, true}),
      core("core-128-d64", {12, 128, 64, false}),
      core("core-128-d64-causal", {12, 128, 64, true}),
      core("core-512-d64", {12, 512, 64, false}),
      core("core-512-d64-bf16", {12, 512, 64, false, CoreMask::none, -1, 0, Arithmetic::bfloat16}),
      core("core-512-d64-causal", {12, 512, 64, true}),
      core("core-512-d64-4k-rows", {12, 512, 64, false, CoreMask::none, -1, 1024}),
      core("core-512-d20", {12, 512, 20, false}),
      core("core-512-d80", {12, 512, 80, false}),
      core("core-512-d96", {12, 512, 96, false}),
      core("core-512-d256", {12, 512, 256, false}),
      core("core-2048-d64", {8, 2048, 64, false}),
      core("core-2048-d64-bf16", {8, 2048, 64, false, CoreMask::none, -1, 0, Arithmetic::bfloat16}),
      core("core-2048-d64-causal", {8, 2048, 64, true}),
      core("core-2048-d64-mask", {8, 2048, 64, false, CoreMask::shared}),
      core("core-2048-d64-mask-heads", {8, 2048, 64, false, CoreMask::each_head}),
      core("core-2048-d64-additive", {8, 2048, 64, false, CoreMask::additive}),
      core("core-2048-d64-window", {8, 2048, 64, true, CoreMask::none, 64}),
      core("core-2048-d128", {8, 2048, 128, false}),
      core("core-2048-d128-causal", {8, 2048, 128, true}),
      core("core-8192-d64", {4, 8192, 64, false}),
      core("core-8192-d64-causal", {4, 8192, 64, true}),
      decode("decode-512", {32, 8, 512, 128, false}),
      decode("decode-4096", {32, 8, 4096, 128, false}),
      decode("decode-32768", {32, 8, 32768, 128, false}),
      cached("decode-32768-cache", {32, 8, 32768, 128}, CacheType::float32),
      cached("decode-32768-bf16-cache", {32, 8, 32768, 128}, CacheType::bfloat16),
      cached("decode-32768-fp16-cache", {32, 8, 32768, 128}, CacheType::float16),
      cached("decode-32768-int8-cache", {32, 8, 32768, 128}, CacheType::int8),
      decode("decode-32768-token-major", {32, 8, 32768, 128, true}),
      decode("decode-mha-128", {12, 12, 128, 64, false}),
      decode("decode-mha-1024", {12, 12, 1024, 64, false}),
      decode("decode-4096-x2", {32, 8, 4096, 128, false, 2}),
      decode("decode-4096-x4", {32, 8, 4096, 128, false, 4}),
      decode("decode-4096-x8", {32, 8, 4096, 128, false, 8}),
      decode("decode-4096-x16", {32, 8, 4096, 128, false, 16}),
      exponential("exp"),
  };
  return cases;
}

}  // namespace attend::bench
