// Tiles: up to W queries in lanes that share one key sequence, run over its key blocks.
//
// For each block of the absolute grid: scores and exponentials (softmax taken online, Milakov and
// Gimelshein 2018), then weights times values into the tile's output; the sum divides at the end.
#include "attention.h"

#include <math.h>
#include <string.h>

#include "decode.h"
#include "dropout.h"

namespace attend {

namespace {

constexpr float log2_e = 0x1.715476p+0f;
constexpr double ln_2 = 0.69314718055994530942;
constexpr double smallest_sum = 0x1p-126;  // less is nothing
constexpr float infinity = __builtin_inff();
constexpr std::int64_t lane_step = 8;  // lanes whose keys are trimmed together
// Keys that so few tiles read come from memory, and are fetched while those before are scored: two queries over a cache of
// 4096 take 3.2 ms, not 4.7, eight 8.4, not 10.3. Where more read them, it costs 1 % (Zen 3).
constexpr std::int64_t few_tiles = 4;

// Lays arrays out one after the other, each on cache lines of its own.
struct Cursor {
  std::uintptr_t at;
  template <class Element>
  Element* take(std::int64_t count) {
    Element* start = reinterpret_cast<Element*>(at);
    at += aligned_bytes(static_cast<std::size_t>(count) * sizeof(Element));
    return start;
  }
};

// Where keys and values of one head of one sequence are: rows of entry b, from row `first` on; of values, rows of the first
// `value_columns` columns, and `value_panel_stride` further on of the next ones.
struct HeadKeys {
  PagedRows<const float> k, v;
  std::int64_t b, group, first;
  int value_columns;
  std::int64_t value_panel_stride;
};

// A tile that runs: what its kernels and its steps share.
struct Tile {
  const Attention& attention;
  const AttentionPlan& plan;
  const HeadKeys& keys;
  TileScratch& scratch;
  std::int64_t b;          // the sequence
  std::int64_t count;      // lanes in use
  std::int64_t width;      // lanes computed: the narrow or the wide tile
  KeyRange all, inner;     // keys that some lane sees, and that every lane sees, but for holes
  bool uniform;            // every key weighs the same, and no key is read
  bool holes;              // keys may be hidden within the ranges
  bool biased;             // something is added to scores

  bool cut() const { return holes || inner.begin != all.begin || inner.end != all.end; }
  bool inside(std::int64_t begin, std::int64_t end) const { return inner.begin <= begin && end <= inner.end; }
  bool described() const { return cut() || biased || attention.softcap > 0.0f; }  // by bias_lanes, from the start
};

// Before the first block of a tile that needs it: most tiles have none.
void describe_lanes(const Tile& tile) {
  tile.scratch.described = true;
  for (std::int64_t n = 0; n < tile.count; ++n) {
    BiasLane& bias = tile.scratch.bias_lanes[n];
    BiasLane range = {};
    range.begin = bias.begin;
    range.end = bias.end;
    bias = range;
    const Lane& lane = tile.scratch.lanes[n];
    if (tile.holes || tile.biased) describe_lane(tile.attention, tile.b, lane.head, lane.index, &bias);
  }
}

// Who sees which key of a block: its BlockBits.
int fill_visible(const Tile& tile, std::int64_t begin, std::int64_t end) {
  VisibleArguments arguments;
  arguments.lanes = tile.scratch.bias_lanes;
  arguments.strides = bias_strides(tile.attention);
  arguments.lane_count = tile.count;
  arguments.key = begin;
  arguments.key_count = end - begin;
  arguments.visible = tile.scratch.visible;
  arguments.seen = &tile.scratch.seen;
  return tile.attention.kernels->fill_visible(&arguments);
}

void fill_bias(const Tile& tile, std::int64_t begin, std::int64_t end) {
  TileScratch& scratch = tile.scratch;
  BiasArguments arguments;
  arguments.lanes = scratch.bias_lanes;
  arguments.strides = bias_strides(tile.attention);
  arguments.lane_count = tile.count;
  arguments.width = tile.width;
  arguments.key = begin;
  arguments.key_count = end - begin;
  arguments.bias = scratch.bias;
  tile.attention.kernels->fill_bias(&arguments);
}

// Scores of keys [begin, end), one block or a part of it; true if a maximum may have to move. Where a lane moves, its chains
// start at 0, and its maximum is taken from the bias before that is added: a score is rounded as one of its own size.
bool score(const Tile& tile, std::int64_t begin, std::int64_t end, bool plain, bool biased) {
  const Attention& attention = tile.attention;
  TileScratch& scratch = tile.scratch;
  attention.kernels->fill(scratch.block_sum, 1, tile.width, 0.0f);
  attention.kernels->fill(scratch.block_maximum, 1, tile.width, -infinity);
  bool (*const kernel)(const ScoreArguments*) = plain ? attention.kernels->scores_plain : attention.kernels->scores_general;
  ScoreArguments arguments;
  arguments.key_row_stride = tile.keys.k.row_stride;
  arguments.key_stride = tile.keys.k.stride;
  arguments.depth = attention.depth;
  arguments.fetches = tile.plan.tiles <= few_tiles;
  arguments.queries = scratch.queries;
  arguments.width = tile.width;
  arguments.start = scratch.start;
  arguments.unseen = scratch.unseen;
  arguments.cap = attention.softcap * log2_e;
  arguments.block_sum = scratch.block_sum;
  arguments.block_maximum = scratch.block_maximum;
  bool move = false;
  for (std::int64_t j = begin; j < end; j += arguments.key_count) {
    const std::int64_t row = tile.keys.first + j;
    arguments.keys = tile.keys.k.row(tile.keys.b, tile.keys.group, row);
    arguments.key_count = tile.keys.k.end_of_run(row, tile.keys.first + end) - row;
    arguments.visible = scratch.visible + (j - begin);
    arguments.bias = biased ? scratch.bias + (j - begin) * tile.width : nullptr;
    arguments.weights = scratch.weights + (j - begin) * tile.width;
    move = kernel(&arguments);
  }
  return move;
}

void drop_weights(const Tile& tile, std::int64_t begin, std::int64_t end) {
  const Attention& attention = tile.attention;
  for (std::int64_t n = 0; n < tile.count; ++n) {
    const Lane& lane = tile.scratch.lanes[n];
    const std::uint64_t row = dropout_row(attention.dropout_seed, tile.b, lane.head, lane.index);
    for (std::int64_t j = begin; j < end; ++j) {
      tile.scratch.weights[(j - begin) * tile.width + n] *= dropout_factor(row, j, attention.dropout_rate);
    }
  }
}

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

// Weights of a run of keys times columns [column, column + columns) of their values, for some lanes. Inline: twice a tile for
// each lane_step lanes, it is 1 % of a short one.
inline __attribute__((always_inline)) void accumulate_run(
    const Tile& tile, std::int64_t block, const KeyRange& run, std::int64_t first_lane, std::int64_t lane_count,
    std::int64_t column, std::int64_t columns, Accumulation accumulation, float* output, std::int64_t output_stride) {
  AccumulateArguments arguments;
  arguments.weights = tile.scratch.weights + (run.begin - block) * tile.width + first_lane;
  arguments.width = tile.width;
  arguments.lane_count = lane_count;
  arguments.key_count = run.end - run.begin;
  arguments.value_row_stride = arguments.key_count > 1 ? tile.keys.v.row_stride : 0;  // that of one row may be anything
  arguments.accumulation = accumulation;
  arguments.output_stride = output_stride;
  const float* const values = tile.keys.v.row(tile.keys.b, tile.keys.group, tile.keys.first + run.begin);
  std::int64_t panel = quotient(column, tile.keys.value_columns), within = column - panel * tile.keys.value_columns;
  for (std::int64_t c = column; c < column + columns; c += arguments.columns, ++panel, within = 0) {
    arguments.columns = smaller(column + columns - c, tile.keys.value_columns - within);
    arguments.values = values + (panel > 0 ? panel * tile.keys.value_panel_stride : 0) + within;  // of one panel it may be anything
    arguments.output = output + (c - column);
    tile.attention.kernels->accumulate(&arguments);
  }
}

// As accumulate, of keys that come in several runs: what they have come to waits in place of the biases, for as many lanes and
// columns at a time as there is room.
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

// Weights of the block that starts at `block`, keys [begin, end) of it, times their values, into some lanes; with `lane`, of
// those that this one sees alone. A block's sums start at 0 and are added to the output, or begin it (`first`): so no chain is
// longer than a block, and who takes part with which keys does not change a bit.
void accumulate(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end,
                std::int64_t first_lane, std::int64_t lane_count, bool first = false, std::int64_t lane = -1) {
  KeyRange run = {begin, begin};
  if (!next_run(tile, block, end, lane, &run)) return;
  KeyRange more = run;
  if (run.end != end && next_run(tile, block, end, lane, &more)) {
    accumulate_runs(tile, block, begin, end, first_lane, lane_count, first, lane);
    return;
  }
  const std::int64_t stride = tile.plan.value_stride;
  accumulate_run(tile, block, run, first_lane, lane_count, 0, tile.attention.value_depth, first ? Accumulation::store : Accumulation::add,
                 tile.scratch.output + first_lane * stride, stride);
}

// Values of the keys that each few lanes may see: what lies beyond their ranges weighs 0.
void accumulate_ranges(const Tile& tile, std::int64_t block, std::int64_t end) {
  for (std::int64_t first = 0; first < tile.count; first += lane_step) {
    const std::int64_t count = smaller(lane_step, tile.count - first);
    KeyRange range = {end, block};
    for (std::int64_t n = first; n < first + count; ++n) {
      const BiasLane& lane = tile.scratch.bias_lanes[n];
      range = {smaller(range.begin, larger(lane.begin, block)), larger(range.end, smaller(lane.end, end))};
    }
    if (!range.empty()) accumulate(tile, block, range.begin, range.end, first, count);
  }
}

// Values of the keys that each lane sees: 0 times NaN is NaN.
void accumulate_visible(const Tile& tile, std::int64_t block, std::int64_t end) {
  for (std::int64_t n = 0; n < tile.count; ++n) accumulate(tile, block, block, end, n, 1, false, n);
}

// Outputs of a span of key blocks to the totals of those before, in double: sums of floats over a long row lose digits.
void fold(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  tile.attention.kernels->fold(scratch.output, scratch.totals, tile.count * tile.plan.value_stride, !scratch.folded);
  scratch.folded = true;
}

// Outputs by the lanes' factors.
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

// log2 of how far the bias of `a` is above that of `b`, on one lane.
double rise_of(const BiasLane& lane, const BiasReference& a, const BiasReference& b) {
  return bias_difference(lane.slope, a, b) / ln_2;
}

// How far the bias of a lane's reference is above that of `other`, natural units; a lane that has never been described has none.
double reference_above(const TileScratch& scratch, std::int64_t lane, const BiasReference& other) {
  const BiasLane& bias = scratch.bias_lanes[lane];
  return scratch.described ? bias_difference(bias.slope, bias.reference, other) : bias_difference(0.0f, {}, other);
}

// The largest bias of the visible keys of a block; false where none is a number. Those that are alike as floats, or at the ends
// of their range, are told apart by their sources.
bool largest_bias(const Tile& tile, std::int64_t lane, std::int64_t begin, std::int64_t end, BiasReference* bias) {
  const TileScratch& scratch = tile.scratch;
  float largest = -infinity;
  for (std::int64_t j = begin; j < end; ++j) {
    const float added = scratch.bias[(j - begin) * tile.width + lane];
    if ((scratch.visible[j - begin] >> lane & 1) == 0 || !(added >= largest)) continue;
    const BiasReference here = bias_at(scratch.bias_lanes[lane], bias_strides(tile.attention), j);
    if (added > largest || bias_difference(scratch.bias_lanes[lane].slope, here, *bias) > 0.0) *bias = here;
    largest = added;
  }
  return largest > -infinity;
}

// A lane's frame is its maximum and its reference bias. Moves those whose scores of a block ask for it, the reference first:
// beside a large difference of biases a score is not known. `level`: where what a lane has so far stands in its frame, log2.
// Returns whether one has moved: then the block is to be scored again.
bool move_frames(const Tile& tile, std::int64_t begin, std::int64_t end, bool biased, std::uint32_t* moved) {
  TileScratch& scratch = tile.scratch;
  std::uint32_t moving = 0;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    const float top = scratch.block_maximum[lane];
    float& maximum = scratch.maximum[lane];
    double& level = scratch.level[lane];
    const auto gone = [&] { return scratch.sum[lane] * ::exp2(level) < smallest_sum; };
    if (!(fabsf(top) < infinity)) continue;  // with a score of +inf the row is NaN, whatever its frame
    if (!(top > (scratch.start[lane] < 0.0f ? 2.0f : 24.0f) || (top < (biased ? -4.0f : -24.0f) && gone()))) continue;
    BiasReference reference;
    if (biased && largest_bias(tile, lane, begin, end, &reference)) {
      BiasLane& bias = scratch.bias_lanes[lane];
      const double rise = rise_of(bias, reference, bias.reference);
      if (rise > 16.0 || (rise < -2.0 && gone())) {
        bias.reference = reference;
        level -= rise;
        if (gone()) {  // nothing is left to be kept near: the scores by themselves say where the maximum goes
          level += static_cast<double>(maximum);
          maximum = 0.0f;
        }
        scratch.start[lane] = 0.0f;
        moving |= 1u << lane;
        continue;
      }
    }
    const float after = static_cast<float>(static_cast<double>(maximum) + ceil(fmax(static_cast<double>(top), level)));
    if (after == maximum) continue;
    level -= static_cast<double>(after) - static_cast<double>(maximum);
    maximum = after;
    scratch.start[lane] = 0.0f;
    moving |= 1u << lane;
  }
  *moved |= moving;
  return moving != 0;
}

// Scores a block until no frame has to move, then brings to theirs what lanes have so far. Most moves take one round, those
// of a reference two or three; beyond 2^24, where a maximum is rounded, it may be another one.
__attribute__((noinline)) void settle_frames(const Tile& tile, std::int64_t begin, std::int64_t end, bool biased) {
  TileScratch& scratch = tile.scratch;
  std::uint32_t moved = 0;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) scratch.level[lane] = (scratch.unseen >> lane & 1) != 0 ? -HUGE_VAL : 0.0;
  if (!scratch.described) describe_lanes(tile);
  fill_visible(tile, begin, end);
  for (int round = 0; round < 8 && move_frames(tile, begin, end, biased, &moved); ++round) {
    for (std::int64_t lane = 0; lane < tile.count; ++lane) scratch.bias_lanes[lane].shift = scratch.start[lane] - scratch.maximum[lane];
    fill_bias(tile, begin, end);
    score(tile, begin, end, false, true);
  }
  scratch.referenced = false;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    scratch.start[lane] = scratch.maximum[lane];
    scratch.bias_lanes[lane].shift = 0.0f;
    scratch.referenced |= scratch.bias_lanes[lane].reference.additive != 0.0f;
    float& factor = scratch.factors[lane];
    factor = 1.0f;
    const double level = scratch.level[lane];
    if ((moved >> lane & 1) == 0 || level == -HUGE_VAL) continue;
    factor = level < -126.0 ? 0.0f : static_cast<float>(::exp2(level));
    scratch.sum[lane] *= static_cast<double>(factor);
  }
  rescale(tile);
}

void begin_blocks(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  const auto width = static_cast<std::size_t>(tile.width);
  memset(scratch.maximum, 0, width * sizeof(float));
  memset(scratch.start, 0, width * sizeof(float));
  memset(scratch.sum, 0, width * sizeof(double));
  for (std::int64_t lane = 0; lane < tile.count && scratch.described; ++lane) scratch.bias_lanes[lane].reference = {};
  scratch.unseen = ~std::uint32_t{0} >> (32 - tile.count);
  scratch.folded = scratch.referenced = false;
}

// Sinks come when all keys have been seen: scores that started from one would lose their last bits. A sink is the bias of a key
// whose score is 0, and one far above all scores makes the frame.
void add_sinks(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  const Numbers<float>& sinks = tile.attention.biases.sinks;
  if (sinks.absent() || tile.uniform) return;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    const BiasReference sink = {sinks.at(scratch.lanes[lane].head), 0.0f, 0};
    float& factor = scratch.factors[lane];
    factor = 1.0f;
    if (sink.additive == -infinity) continue;
    double level = -static_cast<double>(scratch.maximum[lane]) - reference_above(scratch, lane, sink) / ln_2;
    if (scratch.sum[lane] == 0.0 || level > 64.0) {
      if (!scratch.described) describe_lanes(tile);
      factor = level > 126.0 || scratch.sum[lane] == 0.0 ? 0.0f : static_cast<float>(::exp2(-level));
      scratch.sum[lane] *= static_cast<double>(factor);
      scratch.maximum[lane] = 0.0f;
      scratch.bias_lanes[lane].reference = sink;
      level = bias_difference(0.0f, sink, sink);  // 0, but NaN for +inf
    }
    scratch.sum[lane] += ::exp2(level);
  }
  rescale(tile);
}

enum class Block { hidden, plain, mixed };

// Unnormalised weights of the keys [begin, end) of a block, in the lanes' frames, and their sums, after
// those of the blocks before. A block that nobody sees is left out.
Block weigh(const Tile& tile, std::int64_t begin, std::int64_t end) {
  TileScratch& scratch = tile.scratch;
  Block block = Block::plain;
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
    if (score(tile, begin, end, plain, biased)) settle_frames(tile, begin, end, biased);
  }
  tile.attention.kernels->fold(scratch.block_sum, scratch.sum, tile.width, false);
  if (scratch.unseen == 0) return block;
  std::uint32_t unseen = 0;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) unseen |= std::uint32_t{scratch.sum[lane] < smallest_sum} << lane;
  scratch.unseen &= unseen;
  return block;
}

void clear_output(const Tile& tile) {
  for (std::int64_t i = 0; i < tile.count * tile.plan.value_stride; ++i) tile.scratch.output[i] = 0.0f;
}

// Outputs of all lanes, undivided, and their sums. `careful`: a value row meets only the lanes that see
// its key.
void run_blocks(const Tile& tile, bool careful) {
  TileScratch& scratch = tile.scratch;
  begin_blocks(tile);
  bool begun = false;  // the output: the first block of a span that every lane sees writes it
  const std::int64_t step = tile.plan.key_block, span = tile.plan.span;
  std::int64_t next_span = (quotient(tile.all.begin, span) + 1) * span;
  for (std::int64_t block = quotient(tile.all.begin, step) * step; block < tile.all.end; block += step) {
    if (block == next_span) {
      if (begun) fold(tile);
      begun = false;
      next_span += span;
    }
    const std::int64_t begin = larger(block, tile.all.begin), end = smaller(block + step, tile.all.end);
    const Block kind = weigh(tile, begin, end);
    if (kind == Block::hidden) continue;
    if (tile.attention.dropout_rate > 0.0f) drop_weights(tile, begin, end);
    const bool visible_alone = careful && kind == Block::mixed;
    if (!visible_alone && tile.inside(begin, end)) {
      accumulate(tile, begin, begin, end, 0, tile.count, !begun);
      begun = true;
      continue;
    }
    if (!begun) clear_output(tile);
    begun = true;
    if (visible_alone) {
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

// ln of the sum of exponentials: reference bias, maximum and sum.
void write_lse(const Tile& tile) {
  const TileScratch& scratch = tile.scratch;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    *scratch.lanes[lane].lse = lse_of(scratch.maximum[lane], scratch.sum[lane], reference_above(scratch, lane, {}));
  }
}

// Weights of a row that is NaN: 0 where a key is hidden.
void spread_nan(const Tile& tile, std::int64_t lane, std::int64_t begin, std::int64_t end, Block kind) {
  TileScratch& scratch = tile.scratch;
  for (std::int64_t j = begin; j < end; ++j) {
    const std::int64_t at = (j - begin) * tile.width + lane;
    const bool hidden = kind == Block::hidden || (kind == Block::mixed && (scratch.visible[j - begin] >> lane & 1) == 0);
    scratch.weights[at] = hidden ? 0.0f : __builtin_nanf("");
  }
  scratch.factors[lane] = 1.0f;
}

// The attention weights: the blocks once more, scored and moved as for the output, so that their weights
// are those behind it, then brought from the frame of their block to the last one and divided by the sum.
void write_weights(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  const Attention& attention = tile.attention;
  const Kernels& kernels = *attention.kernels;
  const std::int64_t stride = attention.weights.stride, step = tile.plan.key_block;
  const float share = attention.average_weights ? 1.0f / static_cast<float>(attention.heads) : 1.0f;
  const bool add = attention.average_weights && scratch.lanes[0].head > 0;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    scratch.last_maximum[lane] = scratch.maximum[lane];
    scratch.last_references[lane] = scratch.described ? scratch.bias_lanes[lane].reference : BiasReference{};
    // A score of +inf makes its row NaN, as it does the output.
    const float sum = static_cast<float>(scratch.sum[lane]);
    scratch.last_factors[lane] = sum > 0.0f && sum < infinity ? share / sum : __builtin_nanf("");
  }
  begin_blocks(tile);
  for (std::int64_t block = quotient(tile.all.begin, step) * step; block < tile.all.end; block += step) {
    const std::int64_t begin = larger(block, tile.all.begin), end = smaller(block + step, tile.all.end);
    const Block kind = weigh(tile, begin, end);
    if (kind == Block::hidden) {
      for (std::int64_t i = 0; i < (end - begin) * tile.width; ++i) scratch.weights[i] = 0.0f;
    }
    for (std::int64_t lane = 0; lane < tile.count; ++lane) {
      // A block can lie above the last frame only in lanes that have seen no key: their weights are 0.
      const double below = static_cast<double>(scratch.maximum[lane]) - static_cast<double>(scratch.last_maximum[lane]) +
                           reference_above(scratch, lane, scratch.last_references[lane]) / ln_2;
      scratch.factors[lane] = below < -126.0 ? 0.0f : below < 0.0 ? static_cast<float>(::exp2(below)) : 1.0f;
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
    kernels.fill(row, stride, tile.all.begin, 0.0f);
    kernels.fill(row + tile.all.end * stride, stride, keys - tile.all.end, 0.0f);
  }
}

// Runs the lanes in scratch.lanes, which see at least one key each but for holes, or take all alike.
void run_tile(const Attention& attention, const AttentionPlan& plan, const HeadKeys& keys,
              TileScratch& scratch, std::int64_t b, std::int64_t count, bool uniform) {
  const Biases& biases = attention.biases;
  const KeyRange first = {scratch.bias_lanes[0].begin, scratch.bias_lanes[0].end};
  Tile tile = {attention, plan, keys, scratch, b, count, plan.tile, first, first, uniform, false, false};
  tile.holes = attention.visibility.has_holes();
  tile.biased = biases.relative != nullptr || !biases.slopes.absent();
  if (count <= attention.kernels->narrow_tile) tile.width = attention.kernels->narrow_tile;
  for (std::int64_t lane = 0; lane < count; ++lane) {
    const BiasLane& range = scratch.bias_lanes[lane];
    tile.all = {smaller(tile.all.begin, range.begin), larger(tile.all.end, range.end)};
    tile.inner = {larger(tile.inner.begin, range.begin), smaller(tile.inner.end, range.end)};
    scratch.rows[lane] = const_cast<float*>(scratch.lanes[lane].query);  // to be read
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
    arguments.scale = attention.softcap > 0.0f ? attention.scale / attention.softcap : attention.scale * log2_e;
    arguments.panel = scratch.queries;
    attention.kernels->pack_queries(&arguments);
  }
  if (tile.described()) describe_lanes(tile);
  run_blocks(tile, false);
  if (!finish(tile) && tile.cut()) {
    run_blocks(tile, true);
    finish(tile);
  }
  if (attention.lse.data != nullptr && !uniform) write_lse(tile);
  if (attention.weights.data != nullptr) write_weights(tile);
}

// What a row gives that sees no key, but for uniform weights.
void write_empty(const Attention& attention, const Lane& lane) {
  const Kernels& kernels = *attention.kernels;
  kernels.fill(lane.output, attention.output.stride, attention.value_depth, 0.0f);
  if (lane.weights != nullptr && !(attention.average_weights && lane.head > 0)) {
    kernels.fill(lane.weights, attention.weights.stride, attention.sequences().keys, 0.0f);
  }
}

void write_empty_lse(const Attention& attention, const Lane& lane) {
  const Numbers<float>& sinks = attention.biases.sinks;
  if (lane.lse != nullptr) *lane.lse = sinks.absent() ? -infinity : sinks.at(lane.head);
}

// Rows [first, first + count) of the heads from `head` on that share one key sequence, head after head.
void run_rows(const Attention& attention, const AttentionPlan& plan, const HeadKeys& keys, TileScratch& scratch,
              std::int64_t b, std::int64_t head, std::int64_t first, std::int64_t count) {
  const Sequences& sequences = attention.sequences();
  const std::int64_t queries = sequences.query_count(b), entry = sequences.packed() ? 0 : b;
  const KeyRange held = {attention.visibility.first_of(b), sequences.key_count(b)};
  const bool uniform = attention.visibility.empty_rows == EmptyRows::uniform && !held.empty();
  const std::int64_t row = sequences.first_query(b), first_head = head + quotient(first, queries);
  const std::int64_t first_index = first - (first_head - head) * queries;
  const auto lane_of = [&](std::int64_t h, std::int64_t i) {
    const std::int64_t weight_head = attention.average_weights ? 0 : h;
    return Lane{attention.q.row(entry, h, row + i), attention.output.row(entry, h, row + i),
                attention.weights.data ? attention.weights.row(b, weight_head, i) : nullptr,
                attention.lse.data ? attention.lse.row(entry, h, row + i) : nullptr, i, h};
  };
  const std::int64_t query_step = attention.q.row_stride, output_step = attention.output.row_stride;
  const std::int64_t weight_step = attention.weights.row_stride, lse_step = attention.lse.row_stride;
  const bool alike = attention.visibility.alike();
  const RowRanges ranges = attention.visibility.of_rows(b);
  KeyRange range;
  Lane lane = lane_of(first_head, first_index);
  std::int64_t seeing = 0, blind = 0;
  for (std::int64_t n = 0;;) {
    if (n == 0 || !alike) range = ranges.of(lane.index);
    if (range.empty()) {
      const Lane empty = lane;  // a copy, so that the address of `lane` is not taken, and it stays in registers
      write_empty_lse(attention, empty);
      if (!uniform) write_empty(attention, empty);
      ++blind;
    } else {
      scratch.lanes[seeing] = lane;
      scratch.bias_lanes[seeing].begin = range.begin;
      scratch.bias_lanes[seeing].end = range.end;
      ++seeing;
    }
    if (++n == count) break;
    if (++lane.index == queries) {
      lane = lane_of(lane.head + 1, 0);
    } else {
      lane.query += query_step;
      lane.output += output_step;
      if (lane.weights != nullptr) lane.weights += weight_step;
      if (lane.lse != nullptr) lane.lse += lse_step;
    }
  }
  if (seeing > 0) {
    run_tile(attention, plan, keys, scratch, b, seeing, false);
    for (std::int64_t n = 0; n < seeing; ++n) blind += (scratch.seen >> n & 1) == 0;
  }
  if (!uniform || blind == 0) return;
  // Those that see no key take all alike. The lanes that masks have blinded are known by what they saw.
  std::int64_t kept = 0, at = 0;
  for (std::int64_t n = 0, h = first_head, i = first_index; n < count; ++n) {
    if (ranges.of(i).empty() || (scratch.seen >> at++ & 1) == 0) {
      scratch.lanes[kept] = lane_of(h, i);
      scratch.bias_lanes[kept].begin = held.begin;
      scratch.bias_lanes[kept].end = held.end;
      ++kept;
    }
    if (++i == queries) i = 0, ++h;
  }
  run_tile(attention, plan, keys, scratch, b, kept, true);
}

// Copies `rows`, keys.k or keys.v, into panels of some columns; a few rows at a time for all panels, so that they are read once.
void copy_rows(const Kernels& kernels, const HeadKeys& keys, const PagedRows<const float>& rows, const KeyRange& range,
               std::int64_t columns, std::int64_t panel, std::int64_t panel_stride, float* destination) {
  const std::int64_t step = 64;
  CopyArguments arguments;
  arguments.source_row_stride = rows.row_stride;
  arguments.source_stride = rows.stride;
  arguments.destination_row_stride = arguments.columns = panel;
  arguments.destination_stride = 1;
  for (std::int64_t j = range.begin; j < range.end; j += step) {
    arguments.rows = smaller(step, range.end - j);
    for (std::int64_t c = 0; c < columns; c += panel) {
      arguments.source = rows.row(keys.b, keys.group, keys.first + j) + c * rows.stride;
      arguments.destination = destination + c / panel * panel_stride + j * panel;
      kernels.copy(&arguments);
    }
  }
}

// The copies of one sequence, in place of where it was.
PagedRows<const float> copied_rows(const float* data, std::int64_t columns) {
  PagedRows<const float> rows;
  rows.data = data;
  rows.row_stride = columns;
  return rows;
}

// Keys and values as the plan says, copied to `memory`. Not within run_tiles, on whose stack all kernels stand.
__attribute__((noinline)) void copy_keys(const Attention& attention, const AttentionPlan& plan, std::int64_t b, void* memory, HeadKeys* keys) {
  const Kernels& kernels = *attention.kernels;
  const std::int64_t count = attention.sequences().keys;
  Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory)};
  const KeyRange visible = attention.visibility.of_sequence(b);
  float* k = plan.copy_keys ? cursor.take<float>(count * attention.depth) : nullptr;
  float* v = plan.copy_values ? cursor.take<float>(count * attention.value_depth) : nullptr;
  if (k != nullptr) copy_rows(kernels, *keys, keys->k, visible, attention.depth, attention.depth, 0, k);
  if (v != nullptr) {
    keys->value_panel_stride = count * keys->value_columns;
    copy_rows(kernels, *keys, keys->v, visible, attention.value_depth, keys->value_columns, keys->value_panel_stride, v);
  }
  // A copy starts with its sequence; what is read in place does so too from here on.
  if (k != nullptr) keys->k = copied_rows(k, attention.depth);
  else keys->k.data += keys->first * keys->k.row_stride;
  if (v != nullptr) keys->v = copied_rows(v, keys->value_columns);
  else keys->v.data += keys->first * keys->v.row_stride;
  keys->first = 0;
}

TileScratch lay_out(Cursor& cursor, std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                    std::int64_t value_stride) {
  TileScratch scratch;
  scratch.queries = cursor.take<float>(depth * tile);
  scratch.weights = cursor.take<float>(key_block * tile);
  scratch.visible = cursor.take<std::uint32_t>((key_block + 15) / 16 * 16);
  scratch.bias = cursor.take<float>(key_block * tile);
  scratch.output = cursor.take<float>(tile * value_stride);
  scratch.sum = cursor.take<double>(tile);
  scratch.level = cursor.take<double>(tile);
  scratch.maximum = cursor.take<float>(tile);
  scratch.start = cursor.take<float>(tile);
  scratch.block_sum = cursor.take<float>(tile);
  scratch.block_maximum = cursor.take<float>(tile);
  scratch.factors = cursor.take<float>(tile);
  scratch.last_maximum = cursor.take<float>(tile);
  scratch.last_factors = cursor.take<float>(tile);
  scratch.last_references = cursor.take<BiasReference>(tile);
  scratch.rows = cursor.take<float*>(tile);
  scratch.lanes = cursor.take<Lane>(tile);
  scratch.bias_lanes = cursor.take<BiasLane>(tile);
  scratch.totals = reinterpret_cast<double*>(cursor.at);
  scratch.seen = scratch.unseen = 0;
  scratch.folded = scratch.referenced = scratch.described = false;
  return scratch;
}

// A tile, or all of a sequence and group where they share copies of its keys.
void run_tiles(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t group,
               std::int64_t tile, void* memory) {
  if (plan.whole_sequences && tile > 0) return;  // a sequence that decodes has as many tasks as chunks
  TileScratch scratch = TileScratch::at(memory, plan.tile, plan.key_block, attention.depth, plan.value_stride);
  const Sequences& sequences = attention.sequences();
  const std::int64_t shared = quotient(attention.heads, attention.groups);  // heads of a group
  const std::int64_t last_group = plan.all_groups ? attention.groups : group + 1;

  for (std::int64_t g = group; g < last_group; ++g) {
    const int columns = plan.value_panel > 0 ? plan.value_panel : static_cast<int>(attention.value_depth);
    HeadKeys keys = {attention.k, attention.v, sequences.packed() ? 0 : b, g, sequences.first_key(b), columns, quotient(attention.v.head_stride, attention.value_depth) * columns};
    if (plan.copy_keys || plan.copy_values) {
      copy_keys(attention, plan, b, static_cast<char*>(memory) + plan.tile_bytes, &keys);
    }
    // Of averaged weights, one head after the other has a share.
    const std::int64_t heads = attention.average_weights ? 1 : shared;
    const std::int64_t rows = heads * sequences.query_count(b);
    for (std::int64_t head = g * shared; head < (g + 1) * shared; head += heads) {
      for (std::int64_t t = plan.whole_sequences ? 0 : tile; t < (plan.whole_sequences ? plan.tiles : tile + 1); ++t) {
        const std::int64_t start = t * plan.tile;
        if (start < rows) run_rows(attention, plan, keys, scratch, b, head, start, smaller(plan.tile, rows - start));
      }
    }
  }
}

std::int64_t weight_chunks(const Attention& attention) {
  return (attention.sequences().keys + decode_chunk - 1) / decode_chunk;
}

void* scratch_of(const AttentionCall& call, int thread) {
  return call.memory + call.plan.shared_bytes + static_cast<std::size_t>(thread) * call.plan.thread_bytes;
}

void run_compute(const void* context, std::int64_t task, int thread) {
  const AttentionCall& call = *static_cast<const AttentionCall*>(context);
  const Attention& attention = call.attention;
  const AttentionPlan& plan = call.plan;
  const std::int64_t groups = plan.all_groups ? 1 : attention.groups;
  const std::int64_t parts = quotient(plan.tasks, attention.sequences().count * groups);
  const std::int64_t b = quotient(task, parts * groups), within = task - b * parts * groups;
  if (!decodes(attention, plan, b)) {
    const std::int64_t group = quotient(within, parts);
    run_tiles(attention, plan, b, group, within - group * parts, scratch_of(call, thread));
    return;
  }
  // Chunk by chunk, for all groups: token-major caches have their keys side by side, in the same pages
  // (28 % of the read bandwidth when a group took all its chunks first, 67 % so).
  const std::int64_t chunk = quotient(within, groups), first = plan.all_groups ? 0 : within - chunk * groups;
  const std::int64_t end = plan.all_groups ? attention.groups : first + 1;
  for (std::int64_t g = first; g < end; ++g) run_decode_chunk(attention, plan, b, g, chunk, call.memory, scratch_of(call, thread));
}

void run_merge(const void* context, std::int64_t task, int thread) {
  const AttentionCall& call = *static_cast<const AttentionCall*>(context);
  const std::int64_t b = quotient(task, call.attention.groups), group = task - b * call.attention.groups;
  if (decodes(call.attention, call.plan, b)) merge_decode_chunks(call.attention, call.plan, b, group, call.memory, scratch_of(call, thread));
}

void run_weights(const void* context, std::int64_t task, int thread) {
  const AttentionCall& call = *static_cast<const AttentionCall*>(context);
  const std::int64_t chunks = weight_chunks(call.attention), b = task / chunks, chunk = task % chunks;
  if (decodes(call.attention, call.plan, b)) write_decode_weights(call.attention, call.plan, b, chunk, call.memory, scratch_of(call, thread));
}

}  // namespace

void describe_lane(const Attention& attention, std::int64_t b, std::int64_t head, std::int64_t query, BiasLane* bias) {
  const Visibility& visibility = attention.visibility;
  const Biases& biases = attention.biases;
  bias->slope = biases.slopes.absent() ? 0.0f : biases.slopes.at(head);
  bias->position = visibility.position(b, query);
  bias->mask = visibility.mask.row(b, head, query);
  bias->additive = visibility.additive.row(b, head, query);
  bias->relative = biases.relative_of(head);
  bias->parents = visibility.parents.data;
  if (bias->parents == nullptr) return;
  bias->parents += b * visibility.parents.batch_stride;
  bias->node = query;
}

BiasStrides bias_strides(const Attention& attention) {
  const Visibility& visibility = attention.visibility;
  return {visibility.mask.strides[3], visibility.additive.strides[3], visibility.parents.stride, attention.biases.reach};
}

std::size_t TileScratch::bytes(std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                               std::int64_t value_stride) {
  Cursor cursor = {0};
  lay_out(cursor, tile, key_block, depth, value_stride);
  return cursor.at;
}

TileScratch TileScratch::at(void* memory, std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                            std::int64_t value_stride) {
  Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory)};
  return lay_out(cursor, tile, key_block, depth, value_stride);
}

Sequences sequences_of(const AttentionOptions& options, std::int64_t batch, std::int64_t queries, std::int64_t keys) {
  Sequences sequences;
  sequences.count = batch;
  sequences.queries = queries;
  sequences.keys = keys;
  if (options.query_starts.absent()) return sequences;
  sequences.query_starts = numbers_of(options.query_starts);
  sequences.key_starts = numbers_of(options.key_starts);
  sequences.count = options.query_starts.sizes[0] - 1;
  sequences.packed_keys = keys;
  if (options.query_starts.data == nullptr) return sequences;
  sequences.queries = sequences.keys = 0;
  for (std::int64_t b = 0; b < sequences.count; ++b) {
    sequences.queries = larger(sequences.queries, sequences.query_count(b));
    sequences.keys = larger(sequences.keys, sequences.key_count(b));
  }
  return sequences;
}

void apply_options(const AttentionOptions& options, const LengthsView& valid_lens, Attention* attention) {
  attention->scale = options.scale ? *options.scale : static_cast<float>(1.0 / sqrt(static_cast<double>(attention->depth)));
  attention->softcap = options.softcap;
  attention->average_weights = options.average_weights;
  attention->biases.slopes = numbers_of(options.alibi_slopes);
  attention->biases.sinks = numbers_of(options.sinks);
  attention->dropout_seed = options.dropout_seed;
  Visibility& visibility = attention->visibility;
  visibility.lengths = numbers_of(valid_lens);
  visibility.causal = options.causal || !options.tree_parents.absent();
  visibility.offset = options.offset;
  visibility.offsets = numbers_of(options.offsets);
  const std::int64_t widest = std::int64_t{1} << 48;  // so that no sum overflows
  visibility.window_left = smaller(options.window_left, widest);
  visibility.window_right = smaller(options.window_right, widest);
  visibility.parents = numbers_of(options.tree_parents);
  if (options.tree_parents.rank == 1) visibility.parents = {options.tree_parents.data, 0, options.tree_parents.strides[0]};
  visibility.mask = make_mask(options.mask);
  visibility.additive = make_mask(options.additive_mask);
  visibility.empty_rows = options.empty_rows;
}

Operand<float> weights_output(const AttentionOptions& options) {
  const TensorView& view = options.attention_weights;
  if (options.average_weights) return {view.data, view.strides[0], 0, view.strides[1], view.strides[2]};
  return {view.data, view.strides[0], view.strides[1], view.strides[2], view.strides[3]};
}

AttentionShape attention_shape(const Attention& attention) {
  const Sequences& sequences = attention.sequences();
  AttentionShape shape = {};
  shape.batch = sequences.count;
  shape.groups = attention.groups;
  shape.shared = attention.heads / attention.groups;
  shape.queries = sequences.queries;
  shape.keys = sequences.most_keys > 0 ? sequences.most_keys : sequences.keys;
  shape.depth = attention.depth;
  shape.value_depth = attention.value_depth;
  shape.key_row_stride = attention.k.row_stride;
  shape.value_row_stride = attention.v.row_stride;
  shape.value_stride = attention.v.stride;
  shape.source = sequences.most_keys > 0 ? KeySource::cached : KeySource::given;
  shape.ring = sequences.ring;
  shape.average_weights = attention.average_weights;
  shape.may_decode = attention.visibility.empty_rows == EmptyRows::zero;
  shape.mixed = sequences.packed_keys > 0 || !sequences.query_counts.absent();
  shape.packed_keys = sequences.packed_keys;
  return shape;
}

void write_padding(const Attention& attention) {
  const Sequences& sequences = attention.sequences();
  if (sequences.query_counts.absent()) return;
  for (std::int64_t b = 0; b < sequences.count; ++b) {
    for (std::int64_t h = 0; h < attention.heads; ++h) {
      for (std::int64_t i = sequences.query_count(b); i < sequences.queries; ++i) {
        const Lane lane = {nullptr, attention.output.row(b, h, i), attention.weights.data ? attention.weights.row(b, h, i) : nullptr,
                           attention.lse.data ? attention.lse.row(b, h, i) : nullptr, i, h};
        write_empty(attention, lane);
        write_empty_lse(attention, lane);
      }
    }
  }
}

int add_attention_stages(const AttentionCall& call, Stage* stages) {
  const std::int64_t sequences = call.attention.sequences().count;
  int count = 0;
  stages[count++] = {call.plan.tasks, run_compute, &call};
  if (call.plan.slots == 0) return count;
  stages[count++] = {sequences * call.attention.groups, run_merge, &call};
  if (call.attention.weights.data != nullptr) stages[count++] = {sequences * weight_chunks(call.attention), run_weights, &call};
  return count;
}

}  // namespace attend
