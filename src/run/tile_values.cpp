// Runs of keys within a block, and the panels of their values.
#include "run/tile.h"

#include "base/arithmetic.h"

namespace attend {

namespace {

constexpr std::int64_t lane_step = 8;  // lanes whose keys are trimmed together

// Finds the next keys after `run` and before `end` that lie in one page and, if `lane` is not negative, that it sees.
bool next_run(const Tile& tile, std::int64_t block, std::int64_t end, std::int64_t lane, KeyRange* run) {
  const auto sees = [&](std::int64_t j) { return lane < 0 || (tile.scratch.visible[j - block] >> lane & 1) != 0; };
  std::int64_t j = run->end;
  while (j < end && !sees(j)) ++j;
  run->begin = j;
  if (j >= end) return false;
  const std::int64_t row = tile.keys.first + j, stop = j + tile.keys.v.end_of_run(row, tile.keys.first + end) - row;
  if (lane < 0) j = stop;
  while (j < stop && sees(j)) ++j;
  run->end = j;
  return true;
}

// Weights of a run of keys times columns [column, column + columns) of their values, for some lanes. Inline: 1 % of a short tile.
inline __attribute__((always_inline)) void accumulate_run(
    const Tile& tile, std::int64_t block, const KeyRange& run, std::int64_t first_lane, std::int64_t lane_count,
    std::int64_t column, std::int64_t columns, Accumulation accumulation, float* output, std::int64_t output_stride) {
  AccumulateArguments arguments;
  arguments.weights = tile.scratch.weights + (run.begin - block) * tile.width + first_lane;
  arguments.width = tile.width;
  arguments.lane_count = lane_count;
  arguments.key_count = run.end - run.begin;
  arguments.value_row_stride = arguments.key_count > 1 ? tile.keys.v.row_stride : 0;  // the stride of one row may be anything
  arguments.accumulation = accumulation;
  arguments.output_stride = output_stride;
  const float* const values = tile.keys.v.row(tile.keys.b, tile.keys.kv_head, tile.keys.first + run.begin);
  std::int64_t panel = quotient(column, tile.keys.value_columns), within = column - panel * tile.keys.value_columns;
  for (std::int64_t c = column; c < column + columns; c += arguments.columns, ++panel, within = 0) {
    arguments.columns = smaller(column + columns - c, tile.keys.value_columns - within);
    arguments.values = values + (panel > 0 ? panel * tile.keys.value_panel_stride : 0) + within;  // the stride of one panel, too
    arguments.output = output + (c - column);
    tile.attention.kernels->accumulate(&arguments);
  }
}

// Does the same for keys that come in several runs: their sums wait where the biases were, as many lanes and columns as there is room for.
__attribute__((noinline)) void accumulate_runs(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end,
                                               std::int64_t first_lane, std::int64_t lane_count, bool first, std::int64_t lane) {
  const std::int64_t stride = tile.plan.value_stride, depth = tile.attention.value_depth;
  const std::int64_t step = tile.attention.kernels->lanes, room = tile.plan.key_block * tile.width;
  for (std::int64_t n = first_lane; n < first_lane + lane_count; n += lane_step) {
    const std::int64_t lanes = smaller(lane_step, first_lane + lane_count - n);
    const std::int64_t most = room / lanes / step * step;
    for (std::int64_t c = 0; c < depth; c += most) {
      const std::int64_t columns = smaller(most, depth - c);
      float* const partial = tile.scratch.bias;
      KeyRange run = {begin, begin};
      for (bool begins = true; next_run(tile, block, end, lane, &run); begins = false) {
        accumulate_run(tile, block, run, n, lanes, c, columns, begins ? Accumulation::store : Accumulation::extend, partial, most);
      }
      for (std::int64_t l = 0; l < lanes; ++l) {
        float* const output = tile.scratch.output + (n + l) * stride + c;
        for (std::int64_t i = 0; i < smaller(most, stride - c); ++i) output[i] = partial[l * most + i] + (first ? 0.0f : output[i]);
      }
    }
  }
}

}  // namespace

void accumulate(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end,
                std::int64_t first_lane, std::int64_t lane_count, bool first, std::int64_t lane) {
  KeyRange run = {begin, begin};
  if (!next_run(tile, block, end, lane, &run)) return;
  KeyRange more = run;
  if (run.end != end && next_run(tile, block, end, lane, &more)) {
    accumulate_runs(tile, block, begin, end, first_lane, lane_count, first, lane);
    return;
  }
  const std::int64_t stride = tile.plan.value_stride;
  // A lane without a query is computed, too, where three would take longer than four.
  if (first_lane + lane_count == tile.count && lane_count % 4 == 3) ++lane_count;
  accumulate_run(tile, block, run, first_lane, lane_count, 0, tile.attention.value_depth, first ? Accumulation::store : Accumulation::add,
                 tile.scratch.output + first_lane * stride, stride);
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
  for (std::int64_t n = 0; n < tile.count; ++n) accumulate(tile, block, block, end, n, 1, false, n);
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
