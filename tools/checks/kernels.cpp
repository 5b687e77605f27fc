// The checks of the kernels, each against plain double loops.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <vector>

#include "base/dispatch.h"
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
                {{"keys", shape.keys}, {"depth", shape.depth}, {"width", shape.width}, {"stride", shape.stride}, {"capped", shape.capped},
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
  float* start = memory.input<float>("start", shape.width, cache_line);
  float* block_sum = memory.output("block_sum", shape.width, cache_line);
  float* block_maximum = memory.output("block_maximum", shape.width, cache_line);
  const auto unseen = static_cast<std::uint32_t>(random.between(0, 0xffffffff));

  // A block of its own, or a part that goes on from the one before it.
  const bool whole = random.one_in(2);
  std::vector<float> first_sum, first_maximum;
  for (std::int64_t lane = 0; lane < shape.width; ++lane) {
    start[lane] = static_cast<float>(random.between(-3, 3)) - (lane == shape.moving_lane ? shape.moving : 0.0f);
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
  arguments.start = start;
  arguments.unseen = unseen;
  const float cap = shape.capped ? 3.0f : 0.0f;
  arguments.cap = cap;
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
      double score = 0.0, magnitude = std::abs(static_cast<double>(start[lane]));
      for (std::int64_t d = 0; d < shape.depth; ++d) {
        const double term = static_cast<double>(*keys.at(j, d)) * *queries.at(d, lane);
        score += term;
        magnitude += cap > 0.0f ? cap * std::abs(term) : std::abs(term);  // tanh is no steeper than 1
      }
      if (cap > 0.0f) {
        score = cap * std::tanh(score);
        magnitude += 2.0 * cap;
      }
      score -= static_cast<double>(start[lane]);
      if (shape.biased) {
        score += *bias.at(j, lane);
        magnitude += std::abs(*bias.at(j, lane));
      }
      if (hidden(j, lane)) score = -infinity;
      const double error = score == -infinity ? 0.0 : linear_bound(magnitude, shape.depth + 1, Data::random);
      if (score > top) top = score;
      top_error = std::max(top_error, std::isnan(error) ? 0.0 : error);
      const bool limited = shape.biased || shape.capped;
      const double weight = std::exp2(limited ? std::min(score, 24.0) : score);
      const double relative = std::expm1(error * std::log(2.0)) + exp2_error(kernels.isa);
      total += *weights.at(j, lane);
      if (score > (shape.general ? 23.0 : 127.0) && !limited) {  // anything
        ArgumentMemory::restore(weights.at(j, lane));
      } else {
        report.close("weights", j, lane, weights.at(j, lane), weight,
                     score == -infinity ? 0.0 : weight * relative + smallest_normal);
      }
    }
    const float block_top = block_maximum[lane];
    const float above = start[lane] < 0.0f ? 2.0f : 24.0f, below = arguments.bias != nullptr ? -4.0f : -24.0f;
    should_move |= block_top > above || ((unseen >> lane & 1) != 0 && block_top < below && block_top > -infinity);
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
  BiasStrides strides = {};
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
    strides = {shape.mask_stride, shape.additive_stride, 1, reach};
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
      }
      if (shape.additive) {
        float* row = additives + n * floats;
        for (std::int64_t j = 0; j < keys; ++j) {
          row[j * shape.additive_stride] = random.one_in(2) ? -infinity : only_infinite ? 0.0f : random.value();
        }
        lane.additive = row - key * shape.additive_stride;
      }
      if (shape.relative) lane.relative = relative + side;
      // Of whatever size, differences are taken before they are added.
      const std::int64_t far = random.one_in(4) ? std::int64_t{1} << random.between(20, 40) : 0;
      if (lane.slope != 0.0f && far != 0 && !shape.tree) lane.position = random.one_in(2) ? far : -far;
      const std::int64_t some = random.between(key, end - 1);
      if (random.one_in(2)) {
        lane.reference.distance = std::abs(some - lane.position);
        if (shape.relative) lane.reference.relative = lane.relative[std::clamp(some - lane.position, -reach, reach)];
        if (shape.additive) {
          const float low = random.one_in(3) ? 0.0f : random.one_in(2) ? -1e9f : -3e38f;
          lane.reference.additive = low;
          for (std::int64_t j = 0; j < keys; ++j) {
            float& added = const_cast<float*>(lane.additive)[(key + j) * shape.additive_stride];
            if (added == -infinity || (j > 0 && shape.additive_stride == 0)) continue;
            added = random.one_in(3) ? low : random.one_in(4) ? 0.0f : low + (low == 0.0f ? random.value() : 0.0f);
          }
        }
      }
      if (shape.tree) {
        lane.parents = nodes;
        lane.node = n;
      }
      lanes[n] = lane;
    }
  }

  bool sees(std::int64_t n, std::int64_t j) const {
    const BiasLane& lane = lanes[n];
    if (j < lane.begin || j >= lane.end) return false;
    if (lane.mask != nullptr && lane.mask[j * strides.mask] == 0) return false;
    if (lane.additive != nullptr && lane.additive[j * strides.additive] == -infinity) return false;
    if (!tree || j < root) return true;
    for (std::int64_t node = n; node >= 0; node = parents[static_cast<std::size_t>(node)]) {
      if (root + node == j) return true;
    }
    return false;
  }
  bool adds(std::int64_t n, std::int64_t j) const {
    const BiasLane& lane = lanes[n];
    if (lane.additive == nullptr) return false;
    const float added = lane.additive[j * strides.additive];
    return added != 0.0f && added != -infinity;
  }

  /// What is added where lane n sees key j, and how far from it a float may be.
  struct Added {
    double value, tolerance;
  };
  Added added(std::int64_t n, std::int64_t j) const {
    const BiasLane& lane = lanes[n];
    const double log2_e = 1.4426950408889634;
    Added sum = {lane.shift, std::abs(lane.shift)};
    const auto add = [&](double difference) {
      sum.value += log2_e * difference;
      sum.tolerance += log2_e * std::abs(difference);
    };
    const std::int64_t distance = j - lane.position;
    if (lane.relative != nullptr) {
      add(static_cast<double>(lane.relative[std::clamp(distance, -strides.reach, strides.reach)]) - lane.reference.relative);
    }
    if (lane.slope != 0.0f) add(-static_cast<double>(lane.slope) * static_cast<double>(std::abs(distance) - lane.reference.distance));
    if (lane.additive != nullptr) add(static_cast<double>(lane.additive[j * strides.additive]) - lane.reference.additive);
    const double most = std::numeric_limits<float>::max();
    sum.value = std::clamp(sum.value, -most, most);
    sum.tolerance *= 6 * 0x1p-24;
    return sum;
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
  arguments.strides = lanes.strides;
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
  arguments.strides = lanes.strides;
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
      const BiasLanes::Added added = lanes.added(n, j);
      report.close("bias", k, n, bias.at(k, n), added.value, added.tolerance);
    }
  }
  return report.result();
}

Result check_rescale(const Kernels& kernels, const RescaleShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "rescale", {{"lane_count", shape.lane_count}, {"columns", shape.columns}}, seed, memory);
  Random random(seed);
  const std::int64_t stride = round_up(shape.columns, kernels.lanes);
  float* factors = memory.input<float>("factors", shape.lane_count);
  const Matrix output = output_matrix(memory, "output", shape.lane_count, stride, stride, 1, cache_line);
  std::vector<float> before;
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    factors[lane] = random.one_in(2) ? 1.0f : random.one_in(4) ? 0.0f : random.value();
    for (std::int64_t c = 0; c < stride; ++c) *output.at(lane, c) = before.emplace_back(c < shape.columns ? random.value() : 0.0f);
  }
  const RescaleArguments arguments = {factors, shape.lane_count, output.data, stride, shape.columns};
  kernels.rescale(&arguments);
  for (std::int64_t lane = 0; lane < shape.lane_count; ++lane) {
    for (std::int64_t c = 0; c < stride; ++c) {
      report.equal("output", lane, c, output.at(lane, c), before[static_cast<std::size_t>(lane * stride + c)] * factors[lane]);
    }
  }
  return report.result();
}

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
  arguments.ahead = kernels.decode_ahead[0];
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
  const BiasLanes lanes(kernels, of_lane, random, memory);
  float* bias = memory.output("bias", shape.keys);
  const DecodeBiasArguments arguments = {lanes.lanes, lanes.strides, lanes.key, shape.keys, bias};
  const float largest = kernels.decode_bias(&arguments);
  float top = -infinity;
  for (std::int64_t k = 0; k < shape.keys; ++k) {
    const bool sees = lanes.sees(0, lanes.key + k);
    const BiasLanes::Added added = lanes.added(0, lanes.key + k);
    top = std::max(top, bias[k]);
    report.close("bias", 0, k, bias + k, sees ? added.value : -infinity, sees ? added.tolerance : 0.0);
  }
  report.returned(largest == top, true);
  return report.result();
}

Result check_decode_weights(const Kernels& kernels, const DecodeWeightsShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_weights",
                {{"keys", shape.keys}, {"capped", shape.capped}, {"biased", shape.biased}, {"special_score", shape.special_score}},
                seed, memory);
  Random random(seed);
  float* weights = memory.output("weights", shape.keys);
  float* bias = memory.input<float>("bias", shape.biased ? shape.keys : 0);
  std::vector<double> scores;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    weights[j] = (shape.capped ? 1.0f : 8.0f) * random.value() + (shape.capped ? 0.0f : shape.level);
    if (j == shape.special_score) weights[j] = shape.special;
    if (shape.biased) bias[j] = random.one_in(4) ? -infinity : random.one_in(4) ? std::numeric_limits<float>::lowest() : 9.0f * random.value();
    scores.push_back(weights[j]);
  }
  DecodeWeightsArguments arguments = {};
  arguments.weights = weights;
  arguments.key_count = shape.keys;
  arguments.cap = shape.capped ? 11.0f : 0.0f;
  arguments.bias = shape.biased ? bias : nullptr;
  const bool before = random.one_in(2);
  // Not an integer where the reference of biases has moved.
  const float first_maximum = before ? (random.one_in(2) ? static_cast<float>(random.between(-9, 9)) : 9.0f * random.value()) : -infinity;
  const float first_sum = before ? random.uniform(0.5f, 2.0f) : 0.0f;
  arguments.maximum = first_maximum;
  arguments.sum = first_sum;
  kernels.decode_weights(&arguments);

  double top = std::ceil(static_cast<double>(first_maximum)), magnitude = 0.0;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    double& score = scores[static_cast<std::size_t>(j)];
    if (shape.capped) score = 11.0 * std::tanh(score);
    magnitude = std::max(magnitude, std::isfinite(score) ? std::abs(score) + (shape.capped ? 11.0 : 0.0) : 0.0);
    if (!shape.biased) {
    } else if (bias[j] == -infinity) {
      score = -infinity;
    } else {
      score += bias[j];
      magnitude = std::max(magnitude, std::abs(bias[j]) < 1e30f ? magnitude + std::abs(bias[j]) : 0.0);
    }
    if (score > top) top = score;
  }
  // The integer at or above the largest score, where rounding may be on either side of one.
  const double error = top < -1e30 && top > -infinity ? 1e33 : 8.0 * magnitude * 0x1p-24;  // beside the lowest float a score is nothing
  float maximum = arguments.maximum;
  const bool right = maximum == first_maximum ? !(top > static_cast<double>(first_maximum) + error)
                                              : maximum >= top - error && (maximum == top || maximum < top + 1.0 + error);
  report.returned(right && maximum == std::ceil(maximum), true);
  const double factor = maximum == first_maximum ? 1.0 : std::exp2(static_cast<double>(first_maximum) - maximum);
  const bool exact = first_maximum == std::ceil(first_maximum) || factor == 0.0;
  const double factor_error = exact ? 0.0 : (exp2_error(kernels.isa) + 0x1p-24 * std::abs(static_cast<double>(first_maximum) - maximum)) * factor;
  report.returned(std::abs(arguments.factor - factor) <= smallest_normal + factor_error, true);
  double sum = first_sum * factor;
  for (std::int64_t j = 0; j < shape.keys; ++j) {
    const double score = scores[static_cast<std::size_t>(j)];
    const double weight = std::exp2(score - (maximum == -infinity ? 0.0 : static_cast<double>(maximum)));
    const double relative = std::expm1((error + magnitude * 0x1p-24) * std::log(2.0)) + exp2_error(kernels.isa);
    sum += static_cast<double>(weights[j]);
    report.close("weights", 0, j, weights + j, weight, score == -infinity ? 0.0 : weight * relative + smallest_normal);
  }
  float total = arguments.sum;
  const bool same = std::isnan(sum) ? std::isnan(total) : std::abs(static_cast<double>(total) - sum) <= sum * 0x1p-20 + first_sum * factor_error + smallest_normal;
  report.returned(same, true);
  return report.result();
}

Result check_decode_values(const Kernels& kernels, const DecodeValuesShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "decode_values",
                {{"rows", shape.rows}, {"keys", shape.keys}, {"columns", shape.columns}, {"stride", shape.stride}, {"gap", shape.gap}, {"ends", shape.ends}},
                seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.columns, kernels.lanes);
  const Matrix weights = input_matrix(memory, random, "weights", shape.rows, shape.keys, decode_block, 1);
  const Matrix values = input_matrix(memory, random, "values", shape.keys, shape.columns, shape.columns * shape.stride + shape.gap, shape.stride);
  const Matrix output = output_matrix(memory, "output", shape.rows, padded, padded, 1, cache_line);
  const Matrix partial = output_matrix(memory, "partial", shape.rows, padded, padded, 1, cache_line);
  std::vector<float> before, begun;
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < padded; ++c) {
      *output.at(r, c) = before.emplace_back(c < shape.columns ? random.value() : 0.0f);
      begun.push_back(c < shape.columns && shape.continues ? random.value() : 0.0f);
      *partial.at(r, c) = shape.continues ? begun.back() : not_a_number;
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
  arguments.left = shape.left;
  arguments.continues = shape.continues;
  arguments.ends = shape.ends;
  arguments.ahead = kernels.decode_ahead[0];
  arguments.partial = partial.data;
  arguments.output = output.data;
  arguments.output_stride = padded;
  kernels.decode_values(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < padded; ++c) {  // past the columns: 0 as before
      const auto index = static_cast<std::size_t>(r * padded + c);
      double sum = before[index], group = begun[index], magnitude = std::abs(sum) + std::abs(group);
      std::int64_t left = shape.left;
      bool open = shape.continues;
      for (std::int64_t j = 0; j < shape.keys; ++j) {
        const double term = c < shape.columns ? static_cast<double>(*weights.at(r, j)) * *values.at(j, c) : 0.0;
        group += term;
        magnitude += std::abs(term);
        open = --left > 0 && !(shape.ends && j == shape.keys - 1);
        if (open) continue;
        sum += group;
        group = 0.0;
        left = decode_group;
      }
      const double tolerance = linear_bound(magnitude, shape.keys + 1, Data::random);
      report.close("output", r, c, output.at(r, c), sum, tolerance);
      if (open) report.close("partial", r, c, partial.at(r, c), group, tolerance);
      else ArgumentMemory::restore(partial.at(r, c));
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
  shape.capped = shape.general && random.one_in(3);
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

RescaleShape draw_rescale(const Kernels& kernels, Random& random) {
  RescaleShape shape;
  shape.lane_count = random.between(0, draw_tile(kernels, random));
  shape.columns = draw_size(random, 0, kernels.lanes);
  return shape;
}

FoldShape draw_fold(const Kernels& kernels, Random& random) {
  FoldShape shape;
  shape.count = draw_size(random, 0, 2 * kernels.lanes);
  shape.first = random.one_in(2);
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
  shape.accumulation = static_cast<Accumulation>(random.between(0, 2));
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
  shape.add = random.one_in(2);
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

DecodeWeightsShape draw_decode_weights(const Kernels& kernels, Random& random) {
  DecodeWeightsShape shape;
  shape.keys = draw_size(random, 0, kernels.lanes);
  shape.capped = random.one_in(3);
  shape.biased = random.one_in(2);
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
  shape.left = random.between(1, decode_group);
  shape.continues = shape.left < decode_group && random.one_in(2);
  shape.ends = random.one_in(2);
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
  check_some(20, check_decode_bias, draw_decode_bias, kernels, random, memory, result);
  check_some(20, check_decode_weights, draw_decode_weights, kernels, random, memory, result);
  check_some(20, check_decode_values, draw_decode_values, kernels, random, memory, result);
  check_some(10, check_softmax, draw_softmax, kernels, random, memory, result);
  check_some(5, check_pack, draw_pack, kernels, random, memory, result);
  check_some(5, check_pack_queries, draw_pack_queries, kernels, random, memory, result);
  check_some(5, check_rescale, draw_rescale, kernels, random, memory, result);
  check_some(5, check_fold, draw_fold, kernels, random, memory, result);
  check_some(5, check_unfold, draw_fold, kernels, random, memory, result);
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
