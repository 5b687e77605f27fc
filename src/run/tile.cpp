// A tile over its key blocks, then its outputs, LSEs and weights.
//
// For each block of the absolute grid: scores and exponentials (softmax taken online, Milakov and
// Gimelshein 2018), then weights times values into the tile's output; the sum divides at the end.
#include "run/tile.h"

#include "base/arithmetic.h"

namespace attend {

namespace {

enum class Block { hidden, plain, mixed };

// Unnormalised weights of keys [begin, end) of a block, in the lanes' frames, added to the lanes' sums. Skips a block that nobody sees.
Block weigh(const Tile& tile, std::int64_t begin, std::int64_t end) {
  TileScratch& scratch = tile.scratch;
  Block block = Block::plain;
  int outcome = 0;
  if (tile.uniform) {
    for (std::int64_t i = 0; i < (end - begin) * tile.width; ++i) scratch.weights[i] = 1.0f;
    for (std::int64_t lane = 0; lane < tile.width; ++lane) scratch.block_sum[lane] = static_cast<float>(end - begin);
  } else {
    bool plain = tile.inside(begin, end) && !tile.holes && !tile.biased && tile.attention.softcap <= 0.0f, biased = tile.biased;
    if (plain) {
      scratch.seen = ~std::uint32_t{0};
    } else {
      const int bits = fill_visible(tile, begin, end);
      if ((bits & block_sees) == 0) return Block::hidden;
      if ((bits & block_hides) != 0) block = Block::mixed;
      biased = biased || (bits & block_adds) != 0 || scratch.referenced;
      plain = block == Block::plain && !biased && tile.attention.softcap <= 0.0f;
      if (biased) fill_bias(tile, begin, end);
    }
    outcome = score(tile, begin, end, plain, biased);
    if ((outcome & block_moves) != 0) settle_frames(tile, begin, end, biased);
  }
  tile.attention.kernels->fold(scratch.block_sum, scratch.sum, tile.width, false);
  if (scratch.unseen == 0) return block;
  std::uint32_t unseen = 0;
  for (std::int64_t lane = 0; outcome != 0 && lane < tile.count; ++lane) unseen |= std::uint32_t{scratch.sum[lane] < smallest_sum} << lane;
  scratch.unseen &= unseen;
  return block;
}

void clear_output(const Tile& tile) {
  for (std::int64_t i = 0; i < tile.count * tile.plan.value_stride; ++i) tile.scratch.output[i] = 0.0f;
}

// Outputs of all lanes, undivided, and their sums. `visible_only`: a value meets only the lanes that see its key.
void run_blocks(const Tile& tile, bool visible_only) {
  TileScratch& scratch = tile.scratch;
  begin_frames(tile);
  bool begun = false;  // whether the span's output is there: the first block that every lane sees writes it
  const std::int64_t step = tile.plan.key_block, span = tile.plan.span;
  std::int64_t next_span = (quotient(tile.seen_by_any.begin, span) + 1) * span;
  for (std::int64_t block = quotient(tile.seen_by_any.begin, step) * step; block < tile.seen_by_any.end; block += step) {
    if (block == next_span) {
      if (begun) fold(tile);
      begun = false;
      next_span += span;
    }
    const std::int64_t begin = larger(block, tile.seen_by_any.begin), end = smaller(block + step, tile.seen_by_any.end);
    const Block kind = weigh(tile, begin, end);
    if (kind == Block::hidden) continue;
    if (tile.attention.dropout_rate > 0.0f) drop_weights(tile, begin, end);
    const bool lane_by_lane = visible_only && kind == Block::mixed;
    if (!lane_by_lane && tile.inside(begin, end)) {
      accumulate(tile, begin, begin, end, 0, tile.count, !begun);
      begun = true;
      continue;
    }
    if (!begun) clear_output(tile);
    begun = true;
    if (lane_by_lane) {
      accumulate_visible(tile, begin, end);
    } else {
      accumulate_ranges(tile, begin, end);
    }
  }
  if (scratch.folded) {
    if (begun) fold(tile);
    tile.attention.kernels->unfold(scratch.totals, scratch.output, tile.count * tile.plan.value_stride);
    scratch.folded = false;
  } else if (!begun) {
    clear_output(tile);
  }
  add_sinks(tile);
  // A row whose keys are all hidden has nothing to divide.
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    if ((scratch.seen >> lane & 1) != 0) continue;
    if (scratch.sum[lane] != 0.0) continue;
    scratch.maximum[lane] = -infinity;
    scratch.sum[lane] = 1.0;
  }
}

// Divides by the sums and writes the outputs; false if one of them is not finite.
bool finish(const Tile& tile) {
  for (std::int64_t lane = 0; lane < tile.count; ++lane) tile.scratch.rows[lane] = tile.scratch.lanes[lane].output;
  FinishArguments arguments;
  arguments.source = tile.scratch.output;
  arguments.source_stride = tile.plan.value_stride;
  arguments.columns = tile.attention.value_depth;
  arguments.lane_count = tile.count;
  arguments.sums = tile.scratch.sum;
  arguments.factors = tile.scratch.factors;
  arguments.destinations = tile.scratch.rows;
  arguments.stride = tile.attention.output.stride;
  return tile.attention.kernels->finish(&arguments);
}

// Writes ln of the sum of exponentials, from reference bias, maximum and sum.
void write_lse(const Tile& tile) {
  const TileScratch& scratch = tile.scratch;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    *scratch.lanes[lane].lse = lse_of(scratch.maximum[lane], scratch.sum[lane], reference_above(scratch, lane, {}));
  }
}

// Writes the weights of a row that is NaN: 0 where a key is hidden.
__attribute__((cold)) void spread_nan(const Tile& tile, std::int64_t lane, std::int64_t begin, std::int64_t end, Block kind) {
  TileScratch& scratch = tile.scratch;
  for (std::int64_t j = begin; j < end; ++j) {
    const std::int64_t at = (j - begin) * tile.width + lane;
    const bool hidden = kind == Block::hidden || (kind == Block::mixed && (scratch.visible[j - begin] >> lane & 1) == 0);
    scratch.weights[at] = hidden ? 0.0f : __builtin_nanf("");
  }
  scratch.factors[lane] = 1.0f;
}

// Writes the attention weights: scores and moves all blocks once more, as for the output, so that its very weights come; then takes them
// from the frame of their block to the last one, and divides them by the sum.
__attribute__((cold)) void write_weights(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  const Attention& attention = tile.attention;
  const Kernels& kernels = *attention.kernels;
  const std::int64_t stride = attention.weights.stride, step = tile.plan.key_block;
  const float share = attention.average_weights ? 1.0f / static_cast<float>(attention.heads) : 1.0f;
  const bool add = attention.average_weights && scratch.lanes[0].head > 0;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    scratch.last_maximum[lane] = scratch.maximum[lane];
    scratch.last_references[lane] = scratch.described ? scratch.lane_rules[lane].reference : BiasReference{};
    // A score of +inf makes its row NaN, as it does the output.
    const float sum = static_cast<float>(scratch.sum[lane]);
    scratch.last_factors[lane] = sum > 0.0f && sum < infinity ? share / sum : __builtin_nanf("");
  }
  begin_frames(tile);
  for (std::int64_t block = quotient(tile.seen_by_any.begin, step) * step; block < tile.seen_by_any.end; block += step) {
    const std::int64_t begin = larger(block, tile.seen_by_any.begin), end = smaller(block + step, tile.seen_by_any.end);
    const Block kind = weigh(tile, begin, end);
    if (kind == Block::hidden) {
      for (std::int64_t i = 0; i < (end - begin) * tile.width; ++i) scratch.weights[i] = 0.0f;
    }
    for (std::int64_t lane = 0; lane < tile.count; ++lane) {
      // A block lies above the last frame only in lanes that have seen no key: their weights are 0.
      const double below = static_cast<double>(scratch.maximum[lane]) - static_cast<double>(scratch.last_maximum[lane]) +
                           reference_above(scratch, lane, scratch.last_references[lane]) / ln_2;
      scratch.factors[lane] = below < 0.0 ? power_of(below) : 1.0f;
      scratch.factors[lane] *= scratch.last_factors[lane];
      if (!(scratch.last_factors[lane] < infinity)) spread_nan(tile, lane, begin, end, kind);
      scratch.rows[lane] = scratch.lanes[lane].weights + begin * stride;
    }
    WriteWeightsArguments arguments;
    arguments.weights = scratch.weights;
    arguments.width = tile.width;
    arguments.key_count = end - begin;
    arguments.lane_count = tile.count;
    arguments.factors = scratch.factors;
    arguments.destinations = scratch.rows;
    arguments.key_stride = stride;
    arguments.add = add;
    kernels.write_weights(&arguments);
  }
  if (add) return;
  const std::int64_t keys = attention.sequences().keys;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    float* row = scratch.lanes[lane].weights;
    kernels.fill(row, stride, tile.seen_by_any.begin, 0.0f);
    kernels.fill(row + tile.seen_by_any.end * stride, stride, keys - tile.seen_by_any.end, 0.0f);
  }
}

}  // namespace

void run_tile(const Attention& attention, const AttentionPlan& plan, const HeadKeys& keys,
              TileScratch& scratch, std::int64_t b, std::int64_t count, bool uniform) {
  const Biases& biases = attention.biases;
  const KeyRange first = {scratch.lane_rules[0].begin, scratch.lane_rules[0].end};
  Tile tile = {attention, plan, keys, scratch, b, count, plan.tile, first, first, uniform, false, false, {}};
  tile.holes = attention.visibility.has_holes();
  tile.biased = biases.relative != nullptr || !biases.slopes.absent();
  if (tile.holes || tile.biased) tile.sequence = attention.sequence_rules(b);
  if (count <= attention.kernels->middle_tile) tile.width = attention.kernels->middle_tile;
  if (count <= attention.kernels->narrow_tile) tile.width = attention.kernels->narrow_tile;
  for (std::int64_t lane = 0; lane < count; ++lane) {
    const LaneRules& range = scratch.lane_rules[lane];
    tile.seen_by_any = {smaller(tile.seen_by_any.begin, range.begin), larger(tile.seen_by_any.end, range.end)};
    tile.seen_by_all = {larger(tile.seen_by_all.begin, range.begin), smaller(tile.seen_by_all.end, range.end)};
    scratch.rows[lane] = const_cast<float*>(scratch.lanes[lane].query);  // the kernel reads them
  }
  scratch.seen = uniform ? ~std::uint32_t{0} : 0;
  scratch.described = false;
  if (!uniform) {
    PackQueriesArguments arguments;
    arguments.queries = scratch.rows;
    arguments.count = count;
    arguments.stride = attention.q.stride;
    arguments.depth = attention.depth;
    arguments.width = tile.width;
    arguments.scale = attention.query_scale();
    arguments.panel = scratch.queries;
    attention.kernels->pack_queries(&arguments);
    if (attention.core != nullptr) attention.core->pair_queries(scratch.queries, attention.depth, tile.width);
  }
  if (tile.described()) describe_lanes(tile);
  // Both ways give the same bits; what tells them apart is what hidden values cost. A tile in which they are not finite runs twice, all
  // others that come to know of it once.
  const bool careful = __atomic_load_n(&attention.poisoned, __ATOMIC_RELAXED) != 0;
  run_blocks(tile, careful);
  if (!finish(tile) && tile.cut() && !careful) {
    __atomic_store_n(&attention.poisoned, 1, __ATOMIC_RELAXED);
    run_blocks(tile, true);
    finish(tile);
  }
  if (attention.lse.data != nullptr && !uniform) write_lse(tile);
  if (attention.weights.data != nullptr) write_weights(tile);
}

}  // namespace attend
