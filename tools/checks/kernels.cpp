// The checks of the kernels, each against plain double loops.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <vector>

#include "dispatch.h"
#include "kernel_checks.h"
#include "reference/bounds.h"

namespace attend::checks {

namespace {

using reference::Data;
using reference::linear_bound;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr double smallest_normal = std::numeric_limits<float>::min();
constexpr std::size_t cache_line = 64;

class Random {
 public:
  explicit Random(Seed seed) : state_(seed) {}
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool one_in(std::int64_t count) { return between(1, count) == 1; }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(next() >> 40) * 0x1p-24f; }
  /// Of magnitude 1/4 to 1, so that every term of a sum is far larger than the sum's error.
  float value() { return one_in(2) ? uniform(0.25f, 1.0f) : -uniform(0.25f, 1.0f); }

 private:
  std::uint64_t next() {  // splitmix64
    std::uint64_t bits = state_ += 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return bits ^ (bits >> 31);
  }
  std::uint64_t state_;
};

/// What one check finds: its first disagreement.
class Report {
 public:
  struct Size {
    const char* name;
    std::int64_t value;
  };

  Report(const Kernels& kernels, const char* kernel, std::initializer_list<Size> shape, Seed seed,
         ArgumentMemory& memory)
      : memory_(memory), kernels_(kernels), kernel_(kernel), shape_(shape), seed_(seed) {
    memory.clear();
  }

  /// An element of an output: within the tolerance, or the same infinity, or both NaN.
  void close(const char* array, std::int64_t i, std::int64_t j, float* element, double expected, double tolerance) {
    const double got = *element;
    const bool same = std::isnan(expected) ? std::isnan(got) : got == expected || std::abs(got - expected) <= tolerance;
    if (!same || ArgumentMemory::untouched(element)) {
      char text[128];
      std::snprintf(text, sizeof(text), "%s[%lld][%lld] is %.9g, not %.9g", array, static_cast<long long>(i),
                    static_cast<long long>(j), got, expected);
      fail(text);
    }
    ArgumentMemory::restore(element);
  }
  void equal(const char* array, std::int64_t i, std::int64_t j, float* element, double expected) {
    close(array, i, j, element, expected, 0.0);
  }

  void returned(bool got, bool expected) {
    if (got != expected) fail(got ? "returned true" : "returned false");
  }

  /// To be asked when all that the kernel may write was looked at or restored.
  Result result() {
    const ArgumentMemory::Damage damage = memory_.damage();
    if (damage.name) {
      char text[128];
      std::snprintf(text, sizeof(text), "wrote %s[%lld], which it must not", damage.name,
                    static_cast<long long>(damage.index));
      fail(text);
    }
    return result_;
  }

 private:
  void fail(const char* text) {
    if (!result_.ok) return;
    result_.ok = false;
    char sizes[160] = {};
    std::size_t length = 0;
    for (const Size& size : shape_) {
      if (length >= sizeof(sizes)) break;
      length += static_cast<std::size_t>(std::snprintf(sizes + length, sizeof(sizes) - length, " %s %lld", size.name,
                                                       static_cast<long long>(size.value)));
    }
    const int written = std::snprintf(result_.message, sizeof(result_.message), "%s %s: %s;%s, data seed %llu",
                                      isa_name(kernels_.isa), kernel_, text, sizes,
                                      static_cast<unsigned long long>(seed_));
    static_cast<void>(written);  // cut where it does not fit
  }

  ArgumentMemory& memory_;
  const Kernels& kernels_;
  const char* kernel_;
  std::vector<Size> shape_;
  Seed seed_;
  Result result_;
};

/// An array with strides; what lies between its elements stays poison.
struct Matrix {
  float* data;
  std::int64_t row_stride, stride;
  float* at(std::int64_t r, std::int64_t c) const { return data + r * row_stride + c * stride; }
};

std::int64_t extent(std::int64_t rows, std::int64_t columns, std::int64_t row_stride, std::int64_t stride) {
  return rows == 0 || columns == 0 ? 0 : (rows - 1) * row_stride + (columns - 1) * stride + 1;
}

Matrix input_matrix(ArgumentMemory& memory, Random& random, const char* name, std::int64_t rows, std::int64_t columns,
                    std::int64_t row_stride, std::int64_t stride, std::size_t alignment = sizeof(float)) {
  const std::int64_t count = extent(rows, columns, row_stride, stride);
  const Matrix matrix = {memory.input<float>(name, count, alignment), row_stride, stride};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) *matrix.at(r, c) = random.value();
  }
  return matrix;
}

Matrix output_matrix(ArgumentMemory& memory, const char* name, std::int64_t rows, std::int64_t columns,
                     std::int64_t row_stride, std::int64_t stride, std::size_t alignment = sizeof(float)) {
  return {memory.output(name, extent(rows, columns, row_stride, stride), alignment), row_stride, stride};
}

std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

double exp2_error(Isa isa) { return isa == Isa::avx512 ? 1.6e-7 : 2.2e-7; }

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

Result check_gemm(const Kernels& kernels, const GemmShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "gemm",
                {{"rows", shape.rows}, {"depth", shape.depth}, {"columns", shape.columns}, {"width", shape.width},
                 {"k_stride", shape.k_stride}, {"gap", shape.gap}, {"first_column", shape.first_column},
                 {"head_size", shape.head_size}, {"element_stride", shape.element_stride},
                 {"output_gap", shape.output_gap}, {"head_major", shape.head_major}, {"bias", shape.bias}},
                seed, memory);
  Random random(seed);
  const Matrix a = input_matrix(memory, random, "a", shape.rows, shape.depth,
                                shape.depth * shape.k_stride + shape.gap, shape.k_stride);
  // Whole vectors are promised: 64 bytes where a vector has 64.
  const std::size_t vector = static_cast<std::size_t>(kernels.lanes) * sizeof(float);
  const Matrix panel = {memory.input<float>("panel", shape.depth * shape.width, vector), shape.width, 1};
  float* bias = shape.bias ? memory.input<float>("bias", shape.width) : nullptr;
  for (std::int64_t n = 0; n < shape.columns; ++n) {
    for (std::int64_t k = 0; k < shape.depth; ++k) *panel.at(k, n) = random.value();
    if (bias) bias[n] = random.value();
  }

  // All columns of all heads have their place, also those before and after the panel's.
  const std::int64_t end = shape.first_column + shape.columns;
  const std::int64_t heads = round_up(end, shape.head_size) / shape.head_size;
  const std::int64_t head = shape.head_size * shape.element_stride + shape.output_gap;
  const std::int64_t row_stride = shape.head_major ? head : heads * head + shape.output_gap;
  const std::int64_t head_stride = shape.head_major ? shape.rows * row_stride : head;
  const auto place = [&](std::int64_t c) {
    return c / shape.head_size * head_stride + c % shape.head_size * shape.element_stride;
  };
  float* output = memory.output("output", shape.rows == 0 ? 0 : (shape.rows - 1) * row_stride + place(end - 1) + 1);

  const float** rows = memory.input<const float*>("rows", shape.rows);
  float** outputs = memory.input<float*>("outputs", shape.rows);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    rows[r] = a.at(r, 0);
    outputs[r] = output + (seed % 2 == 0 ? r : shape.rows - 1 - r) * row_stride;
  }
  GemmArguments arguments = {};
  arguments.rows = rows;
  arguments.outputs = outputs;
  arguments.row_count = shape.rows;
  arguments.k_stride = shape.k_stride;
  arguments.depth = shape.depth;
  arguments.panel = panel.data;
  arguments.width = shape.width;
  arguments.columns = shape.columns;
  arguments.bias = bias;
  arguments.first_column = shape.first_column;
  arguments.head_size = shape.head_size;
  arguments.head_stride = head_stride;
  arguments.element_stride = shape.element_stride;
  arguments.ahead = panel.data;
  kernels.gemm(&arguments);

  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t n = 0; n < shape.columns; ++n) {
      double sum = bias ? bias[n] : 0.0, magnitude = std::abs(sum);
      for (std::int64_t k = 0; k < shape.depth; ++k) {
        const double term = static_cast<double>(*a.at(r, k)) * *panel.at(k, n);
        sum += term;
        magnitude += std::abs(term);
      }
      report.close("c", r, n, outputs[r] + place(shape.first_column + n), sum,
                   linear_bound(magnitude, shape.depth, Data::random));
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

Result check_scores(const Kernels& kernels, const ScoreShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, shape.biased ? "scores_general, biased" : shape.general ? "scores_general" : "scores_plain",
                {{"keys", shape.keys}, {"depth", shape.depth}, {"width", shape.width}, {"stride", shape.stride},
                 {"gap", shape.gap}, {"moving_lane", shape.moving_lane},
                 {"moving", static_cast<std::int64_t>(shape.moving)}, {"nan_key", shape.nan_key}},
                seed, memory);
  Random random(seed);
  const Matrix keys = input_matrix(memory, random, "keys", shape.keys, shape.depth,
                                   shape.depth * shape.stride + shape.gap, shape.stride);
  const Matrix queries = input_matrix(memory, random, "queries", shape.depth, shape.width, shape.width, 1, cache_line);
  const std::int64_t biased_keys = shape.biased ? shape.keys : 0, masked_keys = shape.general ? shape.keys : 0;
  const Matrix bias = input_matrix(memory, random, "bias", biased_keys, shape.width, shape.width, 1, cache_line);
  std::uint32_t* visible = memory.input<std::uint32_t>("visible", masked_keys);
  const Matrix weights = output_matrix(memory, "weights", shape.keys, shape.width, shape.width, 1, cache_line);
  float* maximum = memory.input<float>("maximum", shape.width, cache_line);
  float* sum = memory.input<float>("sum", shape.width, cache_line);
  float* block_sum = memory.output("block_sum", shape.width, cache_line);
  float* block_maximum = memory.output("block_maximum", shape.width, cache_line);

  // A block of its own, or a part that goes on from the one before it.
  const bool whole = random.one_in(2);
  std::vector<float> first_sum, first_maximum;
  for (std::int64_t lane = 0; lane < shape.width; ++lane) {
    maximum[lane] = static_cast<float>(random.between(-3, 3)) - (lane == shape.moving_lane ? shape.moving : 0.0f);
    sum[lane] = random.one_in(2) ? random.uniform(0.5f, 2.0f) : random.one_in(2) ? 0.0f : 0x1p-140f;
    first_sum.push_back(whole ? 0.0f : random.uniform(0.5f, 2.0f));
    first_maximum.push_back(whole ? -infinity : random.uniform(-30.0f, 3.0f));
    block_sum[lane] = first_sum.back();
    block_maximum[lane] = first_maximum.back();
  }
  for (std::int64_t j = 0; j < masked_keys; ++j) {
    visible[j] = random.one_in(8) ? ~0u : static_cast<std::uint32_t>(random.between(0, 0xffffffff));  // the rest is unused
    if (j == shape.nan_key) visible[j] &= 0xaaaaaaaa;
  }
  const auto hidden = [&](std::int64_t j, std::int64_t lane) { return shape.general && (visible[j] >> lane & 1) == 0; };
  if (shape.nan_key >= 0 && shape.depth > 0) *keys.at(shape.nan_key, shape.depth / 2) = not_a_number;

  ScoreArguments arguments = {};
  arguments.keys = keys.data;
  arguments.key_row_stride = keys.row_stride;
  arguments.key_stride = keys.stride;
  arguments.key_count = shape.keys;
  arguments.depth = shape.depth;
  arguments.fetches = random.one_in(2);
  arguments.queries = queries.data;
  arguments.width = shape.width;
  arguments.maximum = maximum;
  arguments.sum = sum;
  arguments.visible = shape.general ? visible : nullptr;
  arguments.bias = shape.biased ? bias.data : nullptr;
  arguments.weights = weights.data;
  arguments.block_sum = block_sum;
  arguments.block_maximum = block_maximum;
  const bool moves = shape.general ? kernels.scores_general(&arguments) : kernels.scores_plain(&arguments);

  bool should_move = false;
  for (std::int64_t lane = 0; lane < shape.width; ++lane) {
    float total = first_sum[static_cast<std::size_t>(lane)];
    double top = first_maximum[static_cast<std::size_t>(lane)], top_error = 0.0;
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      double score = -static_cast<double>(maximum[lane]), magnitude = std::abs(score);
      for (std::int64_t d = 0; d < shape.depth; ++d) {
        const double term = static_cast<double>(*keys.at(j, d)) * *queries.at(d, lane);
        score += term;
        magnitude += std::abs(term);
      }
      if (shape.biased) {
        score += *bias.at(j, lane);
        magnitude += std::abs(*bias.at(j, lane));
      }
      if (hidden(j, lane)) score = -infinity;
      const double error = score == -infinity ? 0.0 : linear_bound(magnitude, shape.depth + 1, Data::random);
      if (score > top) top = score;
      top_error = std::max(top_error, std::isnan(error) ? 0.0 : error);
      const double weight = std::exp2(shape.biased ? std::min(score, 24.0) : score);
      const double relative = std::expm1(error * std::log(2.0)) + exp2_error(kernels.isa);
      total += *weights.at(j, lane);
      if (score > (shape.general ? 23.0 : 127.0) && !shape.biased) {  // anything
        ArgumentMemory::restore(weights.at(j, lane));
      } else {
        report.close("weights", j, lane, weights.at(j, lane), weight,
                     score == -infinity ? 0.0 : weight * relative + smallest_normal);
      }
    }
    const float block_top = block_maximum[lane];
    should_move |= block_top > 24.0f || (sum[lane] < 0x1p-126f && block_top < -24.0f && block_top > -infinity);
    report.equal("block_sum", lane, 0, &block_sum[lane], total);
    report.close("block_maximum", lane, 0, &block_maximum[lane], top, top_error);
  }
  report.returned(moves, should_move);
  return report.result();
}

namespace {

/// Lanes as `shape` describes them, and what they should see and add, from the contract.
struct BiasLanes {
  BiasLane* lanes;
  std::int64_t key, root = 0;
  std::vector<std::int64_t> parents;
  bool tree = false;

  BiasLanes(const Kernels& kernels, const BiasShape& shape, Random& random, ArgumentMemory& memory) : tree(shape.tree) {
    const std::int64_t keys = shape.keys, reach = random.between(0, 20);
    key = random.between(0, 50);
    const std::int64_t end = key + keys, side = reach + kernels.lanes;
    lanes = memory.input<BiasLane>("lanes", shape.lane_count);
    // Each lane's rows end where their arrays do; those start at the block, and no kernel reads before.
    const std::int64_t bytes = round_up(extent(1, keys, 0, shape.mask_stride), 4);
    auto* masks = reinterpret_cast<std::uint8_t*>(memory.input<std::uint32_t>("masks", shape.masked ? shape.lane_count * bytes / 4 : 0));
    const std::int64_t floats = extent(1, keys, 0, shape.additive_stride);
    float* additives = memory.input<float>("additive masks", shape.additive ? shape.lane_count * floats : 0);
    float* relative = memory.input<float>("relative", shape.relative ? 2 * side + 1 : 0);
    for (std::int64_t d = 0; d <= 2 * side && shape.relative; ++d) {
      const std::int64_t within = std::clamp<std::int64_t>(d, kernels.lanes, 2 * side - kernels.lanes);
      relative[d] = within != d ? 0.0f : random.value();
    }
    for (std::int64_t d = 0; d < kernels.lanes && shape.relative; ++d) {  // each end repeats
      relative[d] = relative[kernels.lanes];
      relative[2 * side - d] = relative[2 * side - kernels.lanes];
    }
    std::int64_t* nodes = memory.input<std::int64_t>("parents", shape.tree ? shape.lane_count : 0);
    root = key + random.between(-3, keys);
    for (std::int64_t node = 0; node < shape.lane_count && shape.tree; ++node) {
      nodes[node] = node == 0 ? -1 : random.between(-1, node - 1);
      parents.push_back(nodes[node]);
    }
    const bool only_infinite = random.one_in(2);
    for (std::int64_t n = 0; n < shape.lane_count; ++n) {
      BiasLane lane = {};
      lane.shift = random.one_in(2) ? 0.0f : random.value();
      lane.slope = shape.relative && random.one_in(2) ? random.uniform(0.0f, 0.5f) : 0.0f;
      lane.position = shape.tree ? root + n : random.between(-10, end + 10);
      lane.begin = random.one_in(2) ? 0 : random.between(0, end + 2);
      lane.end = random.one_in(2) ? end + 5 : random.between(0, end + 2);
      if (shape.tree) lane.end = std::min(lane.end, lane.position + 1);
      if (shape.masked) {
        std::uint8_t* row = masks + n * bytes + bytes - extent(1, keys, 0, shape.mask_stride);
        for (std::int64_t j = 0; j < keys; ++j) {
          row[j * shape.mask_stride] = random.one_in(2) ? 0 : static_cast<std::uint8_t>(1u << random.between(0, 7));
        }
        lane.mask = row - key * shape.mask_stride;
        lane.mask_stride = shape.mask_stride;
      }
      if (shape.additive) {
        float* row = additives + n * floats;
        for (std::int64_t j = 0; j < keys; ++j) {
          row[j * shape.additive_stride] = random.one_in(2) ? -infinity : only_infinite ? 0.0f : random.value();
        }
        lane.additive = row - key * shape.additive_stride;
        lane.additive_stride = shape.additive_stride;
      }
      if (shape.relative) {
        lane.relative = relative + side;
        lane.reach = reach;
      }
      if (shape.tree) {
        lane.parents = nodes;
        lane.parent_stride = 1;
        lane.node = n;
        lane.root = root;
      }
      lanes[n] = lane;
    }
  }

  bool sees(std::int64_t n, std::int64_t j) const {
    const BiasLane& lane = lanes[n];
    if (j < lane.begin || j >= lane.end) return false;
    if (lane.mask != nullptr && lane.mask[j * lane.mask_stride] == 0) return false;
    if (lane.additive != nullptr && lane.additive[j * lane.additive_stride] == -infinity) return false;
    if (!tree || j < root) return true;
    for (std::int64_t node = n; node >= 0; node = parents[static_cast<std::size_t>(node)]) {
      if (root + node == j) return true;
    }
    return false;
  }
  bool adds(std::int64_t n, std::int64_t j) const {
    const BiasLane& lane = lanes[n];
    if (lane.additive == nullptr) return false;
    const float added = lane.additive[j * lane.additive_stride];
    return added != 0.0f && added != -infinity;
  }
};

}  // namespace

Result check_fill_visible(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "fill_visible",
                {{"keys", shape.keys}, {"lane_count", shape.lane_count}, {"width", shape.width}, {"masked", shape.masked},
                 {"additive", shape.additive}, {"tree", shape.tree}, {"mask_stride", shape.mask_stride},
                 {"additive_stride", shape.additive_stride}},
                seed, memory);
  Random random(seed);
  const BiasLanes lanes(kernels, shape, random, memory);
  auto* visible = reinterpret_cast<std::uint32_t*>(memory.output("visible", round_up(shape.keys, 16), cache_line));
  auto* seen = reinterpret_cast<std::uint32_t*>(memory.output("seen", 1));
  const auto seen_before = static_cast<std::uint32_t>(random.between(0, 0xffffffff));
  *seen = seen_before;
  VisibleArguments arguments = {};
  arguments.lanes = lanes.lanes;
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

Result check_fill_bias(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "fill_bias",
                {{"keys", shape.keys}, {"lane_count", shape.lane_count}, {"width", shape.width}, {"masked", shape.masked},
                 {"additive", shape.additive}, {"tree", shape.tree}, {"relative", shape.relative},
                 {"additive_stride", shape.additive_stride}},
                seed, memory);
  Random random(seed);
  const BiasLanes lanes(kernels, shape, random, memory);
  const Matrix bias = output_matrix(memory, "bias", shape.keys, shape.width, shape.width, 1, cache_line);
  BiasArguments arguments = {};
  arguments.lanes = lanes.lanes;
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
      const BiasLane& lane = lanes.lanes[n];
      const std::int64_t distance = j - lane.position;
      double expected = lane.shift, magnitude = std::abs(expected);
      const auto add = [&](double term) {
        expected += term;
        magnitude += std::abs(term);
      };
      if (lane.relative != nullptr) add(lane.relative[std::clamp(distance, -lane.reach, lane.reach)]);
      add(-static_cast<double>(lane.slope) * static_cast<double>(std::abs(distance)));
      if (lane.additive != nullptr) add(lane.additive[j * lane.additive_stride] * 1.4426950408889634);
      report.close("bias", k, n, bias.at(k, n), expected, 6 * 0x1p-24 * magnitude);
    }
  }
  return report.result();
}

Result check_move_maximum(const Kernels& kernels, const MoveShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "move_maximum", {{"width", shape.width}, {"columns", shape.columns}}, seed, memory);
  Random random(seed);
  const std::int64_t stride = round_up(shape.columns, kernels.lanes);
  float* block_maximum = memory.input<float>("block_maximum", shape.width, cache_line);
  float* maximum = memory.output("maximum", shape.width, cache_line);
  float* sum = memory.output("sum", shape.width, cache_line);
  const Matrix output = output_matrix(memory, "output", shape.width, stride, stride, 1, cache_line);
  std::vector<float> first_maximum, first_sum, first_output;
  for (std::int64_t lane = 0; lane < shape.width; ++lane) {
    const auto integer = static_cast<float>(random.between(-60, 60));
    const float tops[] = {random.uniform(-24.0f, 24.0f), random.uniform(24.0f, 90.0f),    random.uniform(90.0f, 400.0f),
                          random.uniform(-90.0f, -24.0f), random.uniform(-400.0f, -90.0f), integer,
                          24.0f, -24.0f, 1e9f, -infinity, infinity, not_a_number};
    block_maximum[lane] = tops[random.between(0, 11)];
    const bool unseen = random.one_in(2);  // then sum and output are 0
    first_maximum.push_back(static_cast<float>(random.between(-99, 99)));
    first_sum.push_back(unseen ? 0.0f : random.uniform(0.5f, 2.0f));
    maximum[lane] = first_maximum.back();
    sum[lane] = first_sum.back();
    for (std::int64_t c = 0; c < stride; ++c) {
      first_output.push_back(unseen || c >= shape.columns ? 0.0f : random.value());
      *output.at(lane, c) = first_output.back();
    }
  }
  MoveArguments arguments = {};
  arguments.width = shape.width;
  arguments.block_maximum = block_maximum;
  arguments.maximum = maximum;
  arguments.sum = sum;
  arguments.output = output.data;
  arguments.output_stride = stride;
  arguments.columns = shape.columns;
  kernels.move_maximum(&arguments);
  for (std::int64_t lane = 0; lane < shape.width; ++lane) {
    const auto index = static_cast<std::size_t>(lane);
    const double top = block_maximum[lane];
    const bool moves = top > 24.0 || (first_sum[index] == 0.0f && top < -24.0 && top > -infinity);
    const double up = !moves ? 0.0 : top == infinity ? 0x1p120 : std::ceil(top);
    const double factor = up > 126.0 ? 0.0 : std::exp2(-up);
    report.equal("maximum", lane, 0, &maximum[lane], static_cast<float>(first_maximum[index] + up));
    const auto scaled = [&](float before) { return before == 0.0f ? 0.0f : static_cast<float>(before * factor); };
    report.equal("sum", lane, 0, &sum[lane], scaled(first_sum[index]));
    for (std::int64_t c = 0; c < stride; ++c) {
      const float before = first_output[static_cast<std::size_t>(lane * stride + c)];
      report.equal("output", lane, c, output.at(lane, c), scaled(before));
    }
  }
  return report.result();
}

Result check_accumulate(const Kernels& kernels, const AccumulateShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "accumulate",
                {{"keys", shape.keys}, {"columns", shape.columns}, {"width", shape.width},
                 {"first_lane", shape.first_lane}, {"lane_count", shape.lane_count}, {"gap", shape.gap}},
                seed, memory);
  Random random(seed);
  const std::int64_t stride = round_up(shape.columns, kernels.lanes), end = shape.first_lane + shape.lane_count;
  const Matrix weights = {memory.input<float>("weights", shape.keys * shape.width, cache_line), shape.width, 1};
  const Matrix values = input_matrix(memory, random, "values", shape.keys, shape.columns, shape.columns + shape.gap, 1);
  const Matrix output = output_matrix(memory, "output", shape.width, stride, stride, 1, cache_line);
  const bool from_zero = seed % 3 == 0;  // then what the output holds must not matter
  std::vector<float> first;
  for (std::int64_t lane = shape.first_lane; lane < end; ++lane) {
    for (std::int64_t j = 0; j < shape.keys; ++j) *weights.at(j, lane) = random.value();
    for (std::int64_t c = 0; c < stride; ++c) {
      first.push_back(c < shape.columns && !from_zero ? random.value() : 0.0f);
      *output.at(lane, c) = from_zero ? std::numeric_limits<float>::quiet_NaN() : first.back();
    }
  }
  AccumulateArguments arguments = {};
  arguments.weights = weights.data;
  arguments.width = shape.width;
  arguments.first_lane = shape.first_lane;
  arguments.lane_count = shape.lane_count;
  arguments.values = values.data;
  arguments.value_row_stride = values.row_stride;
  arguments.key_count = shape.keys;
  arguments.columns = shape.columns;
  arguments.from_zero = from_zero;
  arguments.output = output.data;
  arguments.output_stride = stride;
  kernels.accumulate(&arguments);
  std::size_t index = 0;
  for (std::int64_t lane = shape.first_lane; lane < end; ++lane) {
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

Result check_finish(const Kernels& kernels, const FinishShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "finish",
                {{"lane_count", shape.lane_count}, {"columns", shape.columns}, {"stride", shape.stride},
                 {"broken_lane", shape.broken_lane}, {"broken_column", shape.broken_column}},
                seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.columns, kernels.lanes);  // with zeros
  const Matrix source = input_matrix(memory, random, "source", shape.lane_count, padded, padded, 1);
  const Matrix sums = input_matrix(memory, random, "sums", 1, shape.lane_count, 0, 1);
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
  arguments.sums = sums.data;
  arguments.factors = factors.data;
  arguments.destinations = destinations;
  arguments.stride = shape.stride;
  report.returned(kernels.finish(&arguments), shape.broken_lane < 0);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    const float factor = 1.0f / *sums.at(0, lane);
    report.equal("factors", lane, 0, factors.at(0, lane), factor);
    for (std::int64_t c = 0; c < shape.columns; ++c) {
      report.equal("destinations", lane, c, destination.at(lane, c), *source.at(lane, c) * factor);
    }
  }
  return report.result();
}

Result check_write_weights(const Kernels& kernels, const WriteWeightsShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "write_weights",
                {{"keys", shape.keys}, {"width", shape.width}, {"lane_count", shape.lane_count},
                 {"stride", shape.stride}},
                seed, memory);
  Random random(seed);
  const Matrix weights = {memory.input<float>("weights", shape.keys * shape.width, cache_line), shape.width, 1};
  float* factors = memory.input<float>("factors", shape.lane_count);
  float** destinations = memory.input<float*>("destination pointers", shape.lane_count);
  const std::int64_t row_stride = shape.keys * shape.stride + static_cast<std::int64_t>(seed % 2);
  const Matrix destination =
      output_matrix(memory, "destinations", shape.lane_count, shape.keys, row_stride, shape.stride);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    factors[lane] = random.value();
    destinations[lane] = destination.at(lane, 0);
    for (std::int64_t j = 0; j < shape.keys; ++j) *weights.at(j, lane) = random.value();
  }
  WriteWeightsArguments arguments = {};
  arguments.weights = weights.data;
  arguments.width = shape.width;
  arguments.key_count = shape.keys;
  arguments.lane_count = shape.lane_count;
  arguments.factors = factors;
  arguments.destinations = destinations;
  arguments.key_stride = shape.stride;
  kernels.write_weights(&arguments);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      report.equal("destinations", lane, j, destination.at(lane, j), *weights.at(j, lane) * factors[lane]);
    }
  }
  return report.result();
}

Result check_decode_scores(const Kernels& kernels, const DecodeScoresShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_scores",
                {{"rows", shape.rows}, {"keys", shape.keys}, {"depth", shape.depth}, {"stride", shape.stride}, {"gap", shape.gap}},
                seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.depth, kernels.lanes);
  const Matrix queries = input_matrix(memory, random, "queries", shape.rows, padded, padded, 1, cache_line);
  const Matrix keys = input_matrix(memory, random, "keys", shape.keys, shape.depth, shape.depth * shape.stride + shape.gap, shape.stride);
  const Matrix scores = output_matrix(memory, "scores", shape.rows, shape.keys, decode_block, 1);
  for (std::int64_t r = 0; r < shape.rows; ++r) std::fill(queries.at(r, shape.depth), queries.at(r, padded), 0.0f);
  DecodeScoresArguments arguments = {};
  arguments.queries = queries.data;
  arguments.query_stride = padded;
  arguments.rows = shape.rows;
  arguments.depth = shape.depth;
  arguments.keys = keys.data;
  arguments.key_row_stride = keys.row_stride;
  arguments.key_stride = keys.stride;
  arguments.key_count = shape.keys;
  arguments.scores = scores.data;
  kernels.decode_scores(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      double score = 0.0, magnitude = 0.0;
      for (std::int64_t d = 0; d < shape.depth; ++d) {
        const double term = static_cast<double>(*queries.at(r, d)) * *keys.at(j, d);
        score += term;
        magnitude += std::abs(term);
      }
      report.close("scores", r, j, scores.at(r, j), score, linear_bound(magnitude, shape.depth, Data::random));
    }
  }
  return report.result();
}

Result check_decode_weights(const Kernels& kernels, const DecodeWeightsShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_weights",
                {{"keys", shape.keys}, {"capped", shape.capped}, {"biased", shape.biased}, {"visible", shape.visible},
                 {"special_score", shape.special_score}},
                seed, memory);
  Random random(seed);
  float* weights = memory.output("weights", shape.keys);
  const std::int64_t first = random.between(0, 40);
  // Masks point to key 0 of their sequence; only the keys at hand may be read.
  const std::int64_t additive_stride = random.between(0, 2), mask_stride = random.between(1, 3);
  float* additive = memory.input<float>("additive", shape.keys == 0 ? 0 : (shape.keys - 1) * additive_stride + 1);
  std::vector<std::uint8_t> mask(static_cast<std::size_t>((first + shape.keys) * mask_stride + 1), 1);
  std::vector<std::uint8_t> visible(static_cast<std::size_t>(shape.keys), 7);
  std::vector<double> scores;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    weights[j] = (shape.capped ? 1.0f : 8.0f) * random.value() + (shape.capped ? 0.0f : shape.level);
    if (j == shape.special_score) weights[j] = shape.special;
    additive[j * additive_stride] = random.one_in(5) ? -infinity : random.value();
    mask[static_cast<std::size_t>((first + j) * mask_stride)] = random.one_in(4) ? 0 : 255;
    scores.push_back(weights[j]);
  }
  BiasLane lane = {};
  lane.slope = random.uniform(0.0f, 0.5f);
  lane.position = first + random.between(-5, shape.keys + 5);
  lane.begin = first + random.between(0, 3);
  lane.end = first + shape.keys - random.between(0, 3);
  lane.mask = random.one_in(3) ? nullptr : mask.data();
  lane.mask_stride = mask_stride;
  lane.additive = random.one_in(3) ? nullptr : additive - first * additive_stride;
  lane.additive_stride = additive_stride;

  DecodeWeightsArguments arguments = {};
  arguments.weights = weights;
  arguments.key_count = shape.keys;
  arguments.cap = shape.capped ? 11.0f : 0.0f;
  arguments.bias = shape.biased ? &lane : nullptr;
  arguments.key = first;
  const bool before = random.one_in(2);
  const float first_maximum = before ? static_cast<float>(random.between(-9, 9)) : -infinity;
  const float first_sum = before ? random.uniform(0.5f, 2.0f) : 0.0f;
  arguments.maximum = first_maximum;
  arguments.sum = first_sum;
  arguments.seen = before;
  arguments.visible = shape.visible ? visible.data() : nullptr;
  kernels.decode_weights(&arguments);

  bool seen = before;
  double top = -infinity, magnitude = 0.0;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    double& score = scores[static_cast<std::size_t>(j)];
    if (shape.capped) score = 11.0 * std::tanh(score);
    magnitude = std::max(magnitude, std::isfinite(score) ? std::abs(score) + (shape.capped ? 11.0 : 0.0) : 0.0);
    bool hidden = false;
    if (shape.biased) {
      hidden = first + j < lane.begin || first + j >= lane.end;
      score -= static_cast<double>(lane.slope) * static_cast<double>(std::abs(first + j - lane.position));
      if (lane.additive != nullptr) score += std::log2(std::exp(1.0)) * additive[j * additive_stride];
      hidden = hidden || (lane.additive != nullptr && additive[j * additive_stride] == -infinity);
      hidden = hidden || (lane.mask != nullptr && mask[static_cast<std::size_t>((first + j) * mask_stride)] == 0);
      magnitude = std::max(magnitude, std::isfinite(score) ? std::abs(score) + 30.0 : 0.0);
    }
    if (hidden) score = -infinity;
    seen = seen || !hidden;
    if (shape.visible && shape.biased) report.returned(visible[static_cast<std::size_t>(j)] != 0, !hidden);
    if (score > top) top = score;
  }
  report.returned(arguments.seen, seen);
  // The integer at or above the largest score, where rounding may be on either side of one.
  const double error = 8.0 * magnitude * 0x1p-24;
  float maximum = arguments.maximum;
  const bool right = maximum == first_maximum ? !(top > static_cast<double>(first_maximum) + error)
                                              : maximum >= top - error && (maximum == top || maximum < top + 1.0 + error);
  report.returned(right && maximum == std::ceil(maximum), true);
  const double factor = maximum == first_maximum ? 1.0 : std::exp2(static_cast<double>(first_maximum) - maximum);
  report.returned(std::abs(arguments.factor - factor) <= smallest_normal, true);
  double sum = first_sum * factor;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    const double score = scores[static_cast<std::size_t>(j)];
    const double weight = std::exp2(score - (maximum == -infinity ? 0.0 : static_cast<double>(maximum)));
    const double relative = std::expm1((error + magnitude * 0x1p-24) * std::log(2.0)) + exp2_error(kernels.isa);
    sum += static_cast<double>(weights[j]);
    report.close("weights", 0, j, weights + j, weight, score == -infinity ? 0.0 : weight * relative + smallest_normal);
  }
  float total = arguments.sum;
  const bool same = std::isnan(sum) ? std::isnan(total) : std::abs(static_cast<double>(total) - sum) <= sum * 0x1p-20 + smallest_normal;
  report.returned(same, true);
  return report.result();
}

Result check_decode_values(const Kernels& kernels, const DecodeValuesShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_values",
                {{"rows", shape.rows}, {"keys", shape.keys}, {"columns", shape.columns}, {"stride", shape.stride}, {"gap", shape.gap}},
                seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.columns, kernels.lanes);
  const Matrix weights = input_matrix(memory, random, "weights", shape.rows, shape.keys, decode_block, 1);
  const Matrix values = input_matrix(memory, random, "values", shape.keys, shape.columns, shape.columns * shape.stride + shape.gap, shape.stride);
  const Matrix output = output_matrix(memory, "output", shape.rows, padded, padded, 1, cache_line);
  std::vector<float> before;
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < padded; ++c) {
      before.push_back(c < shape.columns ? random.value() : 0.0f);
      *output.at(r, c) = before.back();
    }
  }
  DecodeValuesArguments arguments = {};
  arguments.weights = weights.data;
  arguments.rows = shape.rows;
  arguments.columns = shape.columns;
  arguments.values = values.data;
  arguments.value_row_stride = values.row_stride;
  arguments.value_stride = values.stride;
  arguments.key_count = shape.keys;
  arguments.output = output.data;
  arguments.output_stride = padded;
  kernels.decode_values(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < padded; ++c) {  // past the columns: 0 as before
      double sum = before[static_cast<std::size_t>(r * padded + c)], magnitude = std::abs(sum);
      for (std::int64_t j = 0; c < shape.columns && j < shape.keys; ++j) {
        const double term = static_cast<double>(*weights.at(r, j)) * *values.at(j, c);
        sum += term;
        magnitude += std::abs(term);
      }
      report.close("output", r, c, output.at(r, c), sum, linear_bound(magnitude, shape.keys, Data::random));
    }
  }
  return report.result();
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
  arguments.source = source.data;
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

Result check_exp2(const Kernels& kernels, const Exp2Shape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "exp2", {{"count", shape.count}}, seed, memory);
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "source", 1, shape.count, 0, 1);
  const Matrix destination = output_matrix(memory, "destination", 1, shape.count, 0, 1);
  for (std::int64_t i = 0; i < shape.count; ++i) {
    const float arguments[] = {random.uniform(-126.0f, 127.0f), random.uniform(-2.0f, 2.0f), random.value() * 0x1p-20f,
                               static_cast<float>(random.between(-126, 127)), random.uniform(-300.0f, -126.0f),
                               random.uniform(-127.0f, -126.0f), -1e30f, -infinity, not_a_number};
    *source.at(0, i) = arguments[random.between(0, 8)];
  }
  kernels.exp2(source.data, destination.data, shape.count);
  for (std::int64_t i = 0; i < shape.count; ++i) {
    const double x = *source.at(0, i);
    const bool denormal = x < -126.0 && x >= -126.5 && *destination.at(0, i) != 0.0f;  // or 0
    const double power = x < -126.0 && !denormal ? 0.0 : std::exp2(x);
    const double error = x == std::floor(x) ? 0.0 : exp2_error(kernels.isa);
    report.close("destination", 0, i, destination.at(0, i), power, power * error + (denormal ? 0x1p-149 : 0.0));
  }
  return report.result();
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

namespace {

/// Mostly around the tile's size and its double, sometimes far above.
std::int64_t draw_size(Random& random, std::int64_t least, std::int64_t tile) {
  return random.one_in(16) ? random.between(least, 150) : random.between(least, 2 * tile + 1);
}

/// Of an input: 0 repeats the element.
std::int64_t draw_stride(Random& random, std::int64_t least) { return random.one_in(2) ? 1 : random.between(least, 3); }

/// What is added to the smallest row stride; of inputs sometimes so negative that the rows are one.
std::int64_t draw_gap(Random& random) { return random.one_in(2) ? 0 : random.between(1, 9); }
std::int64_t draw_input_gap(Random& random, std::int64_t row) { return random.one_in(16) ? -row : draw_gap(random); }

std::int64_t draw_tile(const Kernels& kernels, Random& random) {
  return random.one_in(2) ? kernels.wide_tile : kernels.narrow_tile;
}

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

GemmShape draw_gemm(const Kernels& kernels, Random& random) {
  GemmShape shape;
  shape.rows = draw_size(random, 0, kernels.gemm_rows);
  shape.depth = draw_size(random, 0, 8);
  shape.columns = random.between(1, kernels.gemm_columns);
  shape.width = round_up(shape.columns, kernels.lanes);
  if (random.one_in(8)) shape.width = kernels.gemm_columns;
  shape.k_stride = draw_stride(random, 0);
  shape.gap = draw_input_gap(random, shape.depth * shape.k_stride);
  shape.first_column = random.one_in(2) ? 0 : random.between(0, 100);
  shape.head_size = random.one_in(2) ? shape.first_column + shape.columns : random.between(1, shape.columns + 3);
  shape.element_stride = draw_stride(random, 1);
  shape.output_gap = draw_gap(random);
  shape.head_major = random.one_in(2);
  shape.bias = random.one_in(2);
  return shape;
}

PackQueriesShape draw_pack_queries(const Kernels& kernels, Random& random) {
  PackQueriesShape shape;
  shape.width = draw_tile(kernels, random);
  shape.count = random.between(0, shape.width);
  shape.depth = draw_size(random, 0, 16);
  shape.stride = draw_stride(random, 0);
  return shape;
}

ScoreShape draw_scores(const Kernels& kernels, Random& random) {
  ScoreShape shape;
  shape.keys = draw_size(random, 0, 8);
  shape.depth = draw_size(random, 0, 8);
  shape.width = draw_tile(kernels, random);
  shape.stride = draw_stride(random, 0);
  shape.gap = draw_input_gap(random, shape.depth * shape.stride);
  shape.general = random.one_in(2);
  shape.biased = shape.general && random.one_in(2);
  if (random.one_in(2)) {
    shape.moving_lane = random.between(0, shape.width - 1);
    shape.moving = random.one_in(2) ? 50.0f : -50.0f;
  }
  const bool apart = shape.keys > 0 && shape.gap >= 0;  // keys that share no elements
  if (shape.general && apart && random.one_in(4)) shape.nan_key = random.between(0, shape.keys - 1);
  return shape;
}

BiasShape draw_bias(const Kernels& kernels, Random& random) {
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

MoveShape draw_move_maximum(const Kernels& kernels, Random& random) {
  MoveShape shape;
  shape.width = draw_tile(kernels, random);
  shape.columns = draw_size(random, 0, kernels.lanes);
  return shape;
}

AccumulateShape draw_accumulate(const Kernels& kernels, Random& random) {
  AccumulateShape shape;
  shape.keys = draw_size(random, 0, 4);
  shape.columns = draw_size(random, 0, 3 * kernels.lanes);
  shape.width = draw_tile(kernels, random);
  shape.first_lane = random.one_in(2) ? 0 : random.between(0, shape.width - 1);
  shape.lane_count = random.between(0, shape.width - shape.first_lane);
  shape.gap = draw_input_gap(random, shape.columns);
  return shape;
}

FinishShape draw_finish(const Kernels& kernels, Random& random) {
  FinishShape shape;
  shape.lane_count = random.between(0, 5);
  shape.columns = draw_size(random, 0, kernels.lanes);
  shape.stride = draw_stride(random, 1);
  if (shape.lane_count > 0 && shape.columns > 0 && random.one_in(2)) {
    const float values[] = {infinity, -infinity, not_a_number};
    shape.broken_lane = random.between(0, shape.lane_count - 1);
    shape.broken_column = random.between(0, shape.columns - 1);
    shape.broken = values[random.between(0, 2)];
  }
  return shape;
}

WriteWeightsShape draw_write_weights(const Kernels& kernels, Random& random) {
  WriteWeightsShape shape;
  shape.keys = draw_size(random, 0, kernels.lanes);
  shape.width = draw_tile(kernels, random);
  shape.lane_count = random.between(0, shape.width);
  shape.stride = draw_stride(random, 1);
  return shape;
}

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

CopyShape draw_copy(const Kernels& kernels, Random& random) {
  CopyShape shape;
  shape.rows = random.between(0, 4);
  shape.columns = draw_size(random, 0, kernels.lanes);
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

Exp2Shape draw_exp2(const Kernels& kernels, Random& random) {
  Exp2Shape shape;
  shape.count = draw_size(random, 0, kernels.lanes);
  return shape;
}

RotateShape draw_rotate(const Kernels& kernels, Random& random) {
  RotateShape shape;
  shape.pairs = draw_size(random, 0, kernels.lanes);
  shape.columns = 2 * shape.pairs + (random.one_in(2) ? 0 : draw_size(random, 0, kernels.lanes));
  shape.interleaved = random.one_in(2);
  shape.in_place = random.one_in(2);
  shape.destination_stride = draw_stride(random, 1);
  shape.source_stride = shape.in_place ? shape.destination_stride : draw_stride(random, 0);
  return shape;
}

DecodeScoresShape draw_decode_scores(const Kernels& kernels, Random& random) {
  DecodeScoresShape shape;
  shape.rows = random.between(1, decode_rows);
  shape.keys = draw_size(random, 0, 2 * kernels.lanes);
  shape.depth = draw_size(random, 1, kernels.lanes);
  shape.stride = draw_stride(random, 0);
  shape.gap = shape.stride == 0 ? 0 : random.between(0, 2);
  return shape;
}

DecodeWeightsShape draw_decode_weights(const Kernels& kernels, Random& random) {
  DecodeWeightsShape shape;
  shape.keys = draw_size(random, 0, kernels.lanes);
  shape.capped = random.one_in(3);
  shape.biased = random.one_in(2);
  shape.visible = random.one_in(2);
  shape.level = random.one_in(2) ? 0.0f : random.uniform(-1000.0f, 1000.0f);
  return shape;
}

DecodeValuesShape draw_decode_values(const Kernels& kernels, Random& random) {
  DecodeValuesShape shape;
  shape.rows = random.between(1, decode_rows);
  shape.keys = draw_size(random, 0, 8);
  shape.columns = draw_size(random, 1, 3 * kernels.lanes);
  shape.stride = draw_stride(random, 0);
  shape.gap = random.between(0, 2);
  return shape;
}

RmsNormShape draw_rms_norm(const Kernels& kernels, Random& random) {
  RmsNormShape shape;
  shape.columns = draw_size(random, 1, kernels.lanes);
  shape.weighted = !random.one_in(4);
  shape.in_place = random.one_in(2);
  shape.weight_stride = draw_stride(random, 0);
  shape.destination_stride = draw_stride(random, 1);
  shape.source_stride = shape.in_place ? shape.destination_stride : draw_stride(random, 0);
  return shape;
}

/// Checks `times` random shapes, unless something was found already.
template <class Shape>
void check_some(int times, Check<Shape> check, Shape (*draw)(const Kernels&, Random&), const Kernels& kernels,
                Random& random, ArgumentMemory& memory, Result& result) {
  for (; times > 0 && result.ok; --times) {
    const Shape shape = draw(kernels, random);
    result = check(kernels, shape, static_cast<Seed>(random.between(0, 999999)), memory);
  }
}

}  // namespace

Result check_random_shapes(const Kernels& kernels, Seed seed, ArgumentMemory& memory) {
  Random random(seed);
  Result result;
  check_some(20, check_gemm, draw_gemm, kernels, random, memory, result);
  check_some(20, check_scores, draw_scores, kernels, random, memory, result);
  check_some(20, check_fill_visible, draw_bias, kernels, random, memory, result);
  check_some(10, check_fill_bias, draw_bias, kernels, random, memory, result);
  check_some(20, check_accumulate, draw_accumulate, kernels, random, memory, result);
  check_some(20, check_decode_scores, draw_decode_scores, kernels, random, memory, result);
  check_some(20, check_decode_weights, draw_decode_weights, kernels, random, memory, result);
  check_some(20, check_decode_values, draw_decode_values, kernels, random, memory, result);
  check_some(10, check_softmax, draw_softmax, kernels, random, memory, result);
  check_some(5, check_pack, draw_pack, kernels, random, memory, result);
  check_some(5, check_pack_queries, draw_pack_queries, kernels, random, memory, result);
  check_some(5, check_move_maximum, draw_move_maximum, kernels, random, memory, result);
  check_some(5, check_finish, draw_finish, kernels, random, memory, result);
  check_some(5, check_write_weights, draw_write_weights, kernels, random, memory, result);
  check_some(5, check_copy, draw_copy, kernels, random, memory, result);
  check_some(5, check_fill, draw_fill, kernels, random, memory, result);
  check_some(5, check_exp2, draw_exp2, kernels, random, memory, result);
  check_some(10, check_rotate, draw_rotate, kernels, random, memory, result);
  check_some(10, check_rms_norm, draw_rms_norm, kernels, random, memory, result);
  return result;
}

Result check_kernels(Isa isa, std::uint64_t seed) {
  const Kernels* kernels = find_kernels(isa);
  if (kernels == nullptr) {
    Result result;
    result.ok = false;
    std::snprintf(result.message, sizeof(result.message), "%s: not usable here", isa_name(isa));
    return result;
  }
  const std::size_t misalignments[] = {0, 1, 3};
  HeapMemory memory(misalignments[seed % 3]);
  return check_random_shapes(*kernels, seed, memory);
}

}  // namespace attend::checks
