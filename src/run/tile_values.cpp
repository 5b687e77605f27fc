// Runs of keys within a block, and the panels of their values.
#include "run/tile.h"

#include "base/arithmetic.h"
#include "run/widened_rows.h"

namespace attend {

namespace {

constexpr std::int64_t lane_step = 8;  // lanes whose keys are trimmed together

// Values of some keys, one after the other.
struct ValueRun {
  KeyRange keys;
  const float* values;
  std::int64_t row_stride;
};

// Values of keys that lie in one page.
inline __attribute__((always_inline)) ValueRun run_in_place(const Tile& tile, const KeyRange& keys) {
  // The stride of one row may be anything.
  return {keys, tile.keys.v.row(tile.keys.b, tile.keys.kv_head, tile.keys.first + keys.begin), keys.end - keys.begin > 1 || tile.attention.core != nullptr ? tile.keys.v.row_stride : 0};
}

// Finds the keys after `run` and before `end` that lie in one page, or widens as many as there is room for.
bool next_run(const Tile& tile, std::int64_t end, ValueRun* run) {
  KeyRange keys = {run->keys.end, run->keys.end};
  if (keys.begin >= end) return false;
  const Attention& attention = tile.attention;
  const std::int64_t row = tile.keys.first + keys.begin;
  if (attention.stored == nullptr) {
    keys.end += tile.keys.v.end_of_run(row, tile.keys.first + end) - row;
    *run = run_in_place(tile, keys);
    return true;
  }
  const std::int64_t stride = tile.plan.value_stride;
  keys.end = smaller(end, keys.begin + widened_rows(stride));
  widen_rows(*attention.stored, tile.keys.v, attention.v_scales, tile.keys.b, tile.keys.kv_head, row, keys.end - keys.begin, 0, attention.value_depth,
             tile.scratch.widened, stride);
  *run = {keys, tile.scratch.widened, stride};
  return true;
}

// `weights` [keys of the run][width], of some lanes, times columns [column, column + columns) of values. Inline: 1 % of a short tile.
inline __attribute__((always_inline)) void accumulate_run(
    const Tile& tile, const float* weights, std::int64_t width, const ValueRun& run, std::int64_t lane_count,
    std::int64_t column, std::int64_t columns, Accumulation accumulation, float* output, std::int64_t output_stride) {
  AccumulateArguments arguments;
  arguments.weights = weights;
  arguments.width = width;
  arguments.lane_count = lane_count;
  arguments.key_count = run.keys.end - run.keys.begin;
  const CoreKernels* const core = tile.attention.core;
  arguments.value_row_stride = run.row_stride;
  arguments.odd = core != nullptr && run.keys.begin % 2 != 0;
  void (*const kernel)(const AccumulateArguments*) = core != nullptr ? core->accumulate : tile.attention.kernels->accumulate;
  arguments.accumulation = accumulation;
  arguments.output_stride = output_stride;
  std::int64_t panel = quotient(column, tile.keys.value_columns), within = column - panel * tile.keys.value_columns;
  for (std::int64_t c = column; c < column + columns; c += arguments.columns, ++panel, within = 0) {
    arguments.columns = smaller(column + columns - c, tile.keys.value_columns - within);
    arguments.values = run.values + (panel > 0 ? panel * tile.keys.value_panel_stride : 0) + within;  // the stride of one panel, too
    arguments.output = output + (c - column);
    kernel(&arguments);
  }
}

// The same as accumulate for keys in several pages, or in a cache that is not float32: as many columns of their values as a tile has lanes
// are copied, or widened, to where the biases were, one key after the other.
__attribute__((noinline)) void accumulate_pages(const Tile& tile, const float* weights, const KeyRange& keys, std::int64_t first_lane,
                                                std::int64_t lane_count, bool first) {
  const Kernels& kernels = *tile.attention.kernels;
  const std::int64_t depth = tile.attention.value_depth, panel = tile.width;
  const float* places[listed_rows];
  CopyArguments copy = {nullptr, 0, tile.keys.v.stride, nullptr, panel, 1, 0, 0, places};
  AccumulateArguments arguments;
  arguments.weights = weights;
  arguments.width = tile.width;
  arguments.lane_count = lane_count;
  arguments.key_count = keys.end - keys.begin;
  arguments.values = tile.scratch.bias;
  arguments.value_row_stride = panel;
  arguments.accumulation = first ? Accumulation::store : Accumulation::add;
  arguments.output_stride = tile.plan.value_stride;
  for (std::int64_t c = 0; c < depth; c += panel) {
    arguments.columns = copy.columns = smaller(panel, depth - c);
    for (std::int64_t j = keys.begin; j < keys.end; j += copy.rows) {
      copy.rows = smaller(keys.end - j, listed_rows);
      copy.destination = tile.scratch.bias + (j - keys.begin) * panel;
      if (tile.attention.stored != nullptr) {
        widen_rows(*tile.attention.stored, tile.keys.v, tile.attention.v_scales, tile.keys.b, tile.keys.kv_head, tile.keys.first + j, copy.rows, c,
                   copy.columns, copy.destination, panel);
        continue;
      }
      tile.keys.v.list(tile.keys.b, tile.keys.kv_head, tile.keys.first + j, tile.keys.first + j + copy.rows, places);
      for (std::int64_t r = 0; r < copy.rows; ++r) places[r] += c * tile.keys.v.stride;
      kernels.copy(&copy);
    }
    arguments.output = tile.scratch.output + first_lane * tile.plan.value_stride + c;
    kernels.accumulate(&arguments);
  }
}

// Some columns and lanes of a block's sums: they wait where the biases were, as many as there is room for.
struct PartialSums {
  std::int64_t first_lane, lanes, column, columns;
  float* sums;
  std::int64_t stride;
};

// Adds keys [begin, end) to partial sums.
void extend(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end, const PartialSums& partial) {
  ValueRun run = {{begin, begin}, nullptr, 0};
  while (next_run(tile, end, &run)) {
    const float* const weights = tile.scratch.weights + (run.keys.begin - block) * tile.width + partial.first_lane;
    accumulate_run(tile, weights, tile.width, run, partial.lanes, partial.column, partial.columns, Accumulation::extend, partial.sums, partial.stride);
  }
}

// Keys whose values are looked at together.
constexpr std::int64_t key_group = 16;

// A bit for each group of keys of a block: whether one of their values is not finite. Nothing times 0 makes a sum differ from 0 but those.
std::uint32_t poisoned_groups(const Tile& tile, std::int64_t block, std::int64_t end) {
  static constexpr float zeros[key_group] = {};
  const std::int64_t depth = tile.attention.value_depth, step = tile.attention.kernels->lanes;
  const std::int64_t most = tile.plan.key_block * tile.width / step * step;
  std::uint32_t bits = 0;
  for (std::int64_t begin = block; begin < end; begin += key_group) {
    for (std::int64_t c = 0; c < depth; c += most) {
      const std::int64_t columns = smaller(most, depth - c);
      float* const sums = tile.scratch.bias;
      ValueRun run = {{begin, begin}, nullptr, 0};
      for (bool begins = true; next_run(tile, smaller(begin + key_group, end), &run); begins = false) {
        accumulate_run(tile, zeros, 1, run, 1, c, columns, begins ? Accumulation::store : Accumulation::extend, sums, most);
      }
      bool finite = true;
      for (std::int64_t i = 0; i < columns; ++i) finite &= sums[i] == 0.0f;
      bits |= std::uint32_t{!finite} << (begin - block) / key_group;
    }
  }
  return bits;
}

// Keys [begin, end) of a block for all lanes; in poisoned groups, a value meets only the lanes that see its key.
void accumulate_groups(const Tile& tile, std::int64_t begin, std::int64_t end, std::uint32_t poisoned) {
  const std::int64_t stride = tile.plan.value_stride, depth = tile.attention.value_depth;
  const std::int64_t step = tile.attention.kernels->lanes, room = tile.plan.key_block * tile.width;
  for (std::int64_t n = 0; n < tile.count; n += lane_step) {
    const std::int64_t lanes = smaller(lane_step, tile.count - n);
    const std::int64_t most = room / lanes / step * step;
    for (std::int64_t c = 0; c < depth; c += most) {
      float* const partial = tile.scratch.bias;
      const PartialSums together = {n, lanes, c, smaller(most, depth - c), partial, most};
      tile.attention.kernels->fill(partial, 1, lanes * most, 0.0f);
      // The lanes that a key's value may meet: all, or those that see it.
      const std::uint32_t all = (1u << lanes) - 1;
      const auto meets = [&](std::int64_t j) {
        return (poisoned >> (j - begin) / key_group & 1) == 0 ? all : tile.scratch.visible[j - begin] >> n & all;
      };
      for (std::int64_t j = begin; j < end;) {
        const std::int64_t from = j;
        const std::uint32_t some = meets(j);
        while (j < end && meets(j) == some) ++j;
        if (some == all) extend(tile, begin, from, j, together);
        for (std::int64_t l = 0; l < lanes && some != all; ++l) {
          if ((some >> l & 1) != 0) extend(tile, begin, from, j, {n + l, 1, c, together.columns, partial + l * most, most});
        }
      }
      for (std::int64_t l = 0; l < lanes; ++l) {
        float* const output = tile.scratch.output + (n + l) * stride + c;
        for (std::int64_t i = 0; i < smaller(most, stride - c); ++i) output[i] += partial[l * most + i];
      }
    }
  }
}

}  // namespace

void accumulate(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end,
                std::int64_t first_lane, std::int64_t lane_count, bool first) {
  // A lane without a query is computed, too, where three would take longer than four.
  if (first_lane + lane_count == tile.count && lane_count % 4 == 3) ++lane_count;
  const std::int64_t stride = tile.plan.value_stride;
  const float* const weights = tile.scratch.weights + (begin - block) * tile.width + first_lane;
  if (tile.attention.stored != nullptr || !tile.keys.v.adjacent(tile.keys.first + begin, tile.keys.first + end)) {
    accumulate_pages(tile, weights, {begin, end}, first_lane, lane_count, first);
    return;
  }
  accumulate_run(tile, weights, tile.width, run_in_place(tile, {begin, end}), lane_count, 0, tile.attention.value_depth,
                 first ? Accumulation::store : Accumulation::add, tile.scratch.output + first_lane * stride, stride);
}

void accumulate_ranges(const Tile& tile, std::int64_t block, std::int64_t end) {
  for (std::int64_t first = 0; first < tile.count; first += lane_step) {
    const std::int64_t count = smaller(lane_step, tile.count - first);
    KeyRange range = {end, block};
    for (std::int64_t n = first; n < first + count; ++n) {
      const LaneRules& lane = tile.scratch.lane_rules[n];
      range = {smaller(range.begin, larger(lane.begin, block)), larger(range.end, smaller(lane.end, end))};
    }
    if (!range.empty()) accumulate(tile, block, range.begin, range.end, first, count);
  }
}

void accumulate_visible(const Tile& tile, std::int64_t block, std::int64_t end) {
  accumulate_groups(tile, block, end, poisoned_groups(tile, block, end));
}

void fold(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  tile.attention.kernels->fold(scratch.output, scratch.totals, tile.count * tile.plan.value_stride, !scratch.folded);
  scratch.folded = true;
}

void rescale(const Tile& tile) {
  RescaleArguments arguments;
  arguments.factors = tile.scratch.factors;
  arguments.lane_count = tile.count;
  arguments.output = tile.scratch.output;
  arguments.output_stride = tile.plan.value_stride;
  arguments.columns = tile.attention.value_depth;
  tile.attention.kernels->rescale(&arguments);
  const std::int64_t stride = tile.plan.value_stride;
  for (std::int64_t lane = 0; lane < tile.count && tile.scratch.folded; ++lane) {
    const double factor = static_cast<double>(tile.scratch.factors[lane]);
    for (std::int64_t c = 0; factor != 1.0 && c < stride; ++c) tile.scratch.totals[lane * stride + c] *= factor;
  }
}

}  // namespace attend
