// Tiles: up to W queries in lanes that share one key sequence, run over its key blocks.
//
// For each block of the absolute grid: scores and exponentials (softmax taken online, Milakov and
// Gimelshein 2018), then weights times values into the tile's output; the sum divides at the end.
#include "attention.h"

#include "dropout.h"
#include "keys.h"

namespace attend {

namespace {

constexpr float log2_e = 0x1.715476p+0f;
constexpr float infinity = __builtin_inff();

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

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

// A tile that runs: what its kernels and its steps share.
struct Tile {
  const Attention& attention;
  const AttentionPlan& plan;
  const KeyList& keys;
  TileScratch& scratch;
  std::int64_t b, h;
  std::int64_t count;      // lanes in use
  std::int64_t width;      // lanes computed: the narrow or the wide tile
  KeyRange all, inner;     // keys that some lane sees, and that every lane sees
};

// The part of a segment that lies in [begin, end), relative to its own start; empty if none does.
KeyRange part_of(const KeySegment& segment, std::int64_t begin, std::int64_t end) {
  return {larger(begin - segment.begin, 0), smaller(end - segment.begin, segment.count)};
}

// -inf where a lane does not see a key of [begin, end); else by how much its maximum has moved, mostly 0.
void fill_bias(const Tile& tile, std::int64_t begin, std::int64_t end) {
  const TileScratch& scratch = tile.scratch;
  for (std::int64_t j = begin; j < end; ++j) {
    float* row = scratch.bias + (j - begin) * tile.width;
    for (std::int64_t lane = 0; lane < tile.width; ++lane) {
      const bool hidden = lane < tile.count && (j < scratch.lanes[lane].range.begin || j >= scratch.lanes[lane].range.end);
      row[lane] = hidden ? -infinity : scratch.start[lane] - scratch.maximum[lane];
    }
  }
}

// Scores of keys [begin, end), one block or a part of it; true if a maximum has to move. `again`: it has
// moved since. The chains then start where they did before, and the difference comes at their end: begun
// anew, scores beyond 2^24 would round to something else.
bool score(const Tile& tile, std::int64_t begin, std::int64_t end, bool again) {
  const Attention& attention = tile.attention;
  TileScratch& scratch = tile.scratch;
  const bool plain = !again && tile.inner.begin <= begin && end <= tile.inner.end;
  if (!plain) fill_bias(tile, begin, end);
  for (std::int64_t lane = 0; lane < tile.width; ++lane) {
    scratch.block_sum[lane] = 0.0f;
    scratch.block_maximum[lane] = -infinity;
  }
  bool move = false;
  for (int s = 0; s < tile.keys.count; ++s) {
    const KeySegment& segment = tile.keys.segments[s];
    const KeyRange part = part_of(segment, begin, end);
    if (part.empty()) continue;
    const std::int64_t offset = (segment.begin + part.begin - begin) * tile.width;
    ScoreArguments arguments;
    arguments.keys = segment.keys + part.begin * segment.key_row_stride;
    arguments.key_row_stride = segment.key_row_stride;
    arguments.key_stride = segment.key_stride;
    arguments.key_count = part.end - part.begin;
    arguments.depth = attention.depth;
    arguments.queries = scratch.queries;
    arguments.width = tile.width;
    arguments.maximum = scratch.start;
    arguments.sum = scratch.sum;
    arguments.bias = scratch.bias + offset;
    arguments.weights = scratch.weights + offset;
    arguments.block_sum = scratch.block_sum;
    arguments.block_maximum = scratch.block_maximum;
    move = plain ? attention.kernels->scores_plain(&arguments)
                 : attention.kernels->scores_general(&arguments);
  }
  return move;
}

void drop_weights(const Tile& tile, std::int64_t begin, std::int64_t end) {
  const Attention& attention = tile.attention;
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    const std::uint64_t row = dropout_row(attention.dropout_seed, tile.b, tile.h, tile.scratch.lanes[lane].index);
    for (std::int64_t j = begin; j < end; ++j) {
      tile.scratch.weights[(j - begin) * tile.width + lane] *=
          dropout_factor(row, j, attention.dropout_rate);
    }
  }
}

// Weights of the block at `block`, keys [begin, end) of it, times their values, into some lanes.
void accumulate(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end,
                std::int64_t first_lane, std::int64_t lane_count) {
  for (int s = 0; s < tile.keys.count; ++s) {
    const KeySegment& segment = tile.keys.segments[s];
    const KeyRange part = part_of(segment, begin, end);
    if (part.empty()) continue;
    AccumulateArguments arguments;
    arguments.weights = tile.scratch.weights + (segment.begin + part.begin - block) * tile.width;
    arguments.width = tile.width;
    arguments.first_lane = first_lane;
    arguments.lane_count = lane_count;
    arguments.values = segment.values + part.begin * segment.value_row_stride;
    arguments.value_row_stride = segment.value_row_stride;
    arguments.key_count = part.end - part.begin;
    arguments.columns = tile.attention.value_depth;
    arguments.output = tile.scratch.output;
    arguments.output_stride = tile.plan.value_stride;
    tile.attention.kernels->accumulate(&arguments);
  }
}

void move_maximum(const Tile& tile) {
  MoveArguments arguments;
  arguments.width = tile.width;
  arguments.block_maximum = tile.scratch.block_maximum;
  arguments.maximum = tile.scratch.maximum;
  arguments.sum = tile.scratch.sum;
  arguments.output = tile.scratch.output;
  arguments.output_stride = tile.plan.value_stride;
  arguments.columns = tile.attention.value_depth;
  tile.attention.kernels->move_maximum(&arguments);
}

void begin_blocks(const Tile& tile) {
  TileScratch& scratch = tile.scratch;
  for (std::int64_t lane = 0; lane < tile.width; ++lane) {
    scratch.maximum[lane] = scratch.start[lane] = 0.0f;
    scratch.sum[lane] = 0.0f;
  }
}

// Unnormalised weights of the keys [begin, end) of a block, relative to 2^maximum, and their sums, after
// those of the blocks before. `uniform`: every key weighs the same, and no key is read.
void weigh(const Tile& tile, std::int64_t begin, std::int64_t end, bool uniform) {
  TileScratch& scratch = tile.scratch;
  if (uniform) {
    for (std::int64_t i = 0; i < (end - begin) * tile.width; ++i) scratch.weights[i] = 1.0f;
    for (std::int64_t lane = 0; lane < tile.width; ++lane) scratch.block_sum[lane] = static_cast<float>(end - begin);
  } else if (score(tile, begin, end, false)) {
    move_maximum(tile);
    score(tile, begin, end, true);
    for (std::int64_t lane = 0; lane < tile.width; ++lane) scratch.start[lane] = scratch.maximum[lane];
  }
  for (std::int64_t lane = 0; lane < tile.width; ++lane) scratch.sum[lane] += scratch.block_sum[lane];
}

// Outputs of all lanes, undivided, and their sums. `careful`: a value row meets only the lanes that see
// its key, for 0 times NaN is NaN.
void run_blocks(const Tile& tile, bool careful, bool uniform) {
  TileScratch& scratch = tile.scratch;
  begin_blocks(tile);
  for (std::int64_t i = 0; i < tile.count * tile.plan.value_stride; ++i) scratch.output[i] = 0.0f;
  const std::int64_t step = tile.plan.key_block;
  for (std::int64_t block = tile.all.begin / step * step; block < tile.all.end; block += step) {
    const std::int64_t begin = larger(block, tile.all.begin), end = smaller(block + step, tile.all.end);
    weigh(tile, begin, end, uniform);
    if (tile.attention.dropout_rate > 0.0f) drop_weights(tile, begin, end);
    if (!careful) {
      accumulate(tile, begin, begin, end, 0, tile.count);
      continue;
    }
    for (std::int64_t lane = 0; lane < tile.count; ++lane) {
      const KeyRange& range = scratch.lanes[lane].range;
      const std::int64_t from = larger(begin, range.begin), to = smaller(end, range.end);
      if (from < to) accumulate(tile, begin, from, to, lane, 1);
    }
  }
}

// Divides by the sums and writes the outputs; false if one of them is not finite.
bool finish(const Tile& tile) {
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    tile.scratch.rows[lane] = tile.scratch.lanes[lane].output;
  }
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

// The attention weights: the blocks once more, scored and moved as for the output, so that their weights
// are those behind it, then brought from the maximum of their block to the last one and divided by the sum.
void write_weights(const Tile& tile, bool uniform) {
  TileScratch& scratch = tile.scratch;
  const Kernels& kernels = *tile.attention.kernels;
  const std::int64_t stride = tile.attention.weights.stride, step = tile.plan.key_block;
  for (std::int64_t lane = 0; lane < tile.width; ++lane) {
    scratch.last_maximum[lane] = scratch.maximum[lane];
    // A score of +inf makes its row NaN, as it does the output.
    scratch.last_factors[lane] = scratch.sum[lane] < infinity ? 1.0f / scratch.sum[lane] : __builtin_nanf("");
  }
  begin_blocks(tile);
  for (std::int64_t block = tile.all.begin / step * step; block < tile.all.end; block += step) {
    const std::int64_t begin = larger(block, tile.all.begin), end = smaller(block + step, tile.all.end);
    weigh(tile, begin, end, uniform);
    for (std::int64_t lane = 0; lane < tile.width; ++lane) {
      // Above the last one is the maximum of lanes alone that have not seen a key: their weights are 0.
      const float below = scratch.maximum[lane] - scratch.last_maximum[lane];
      scratch.factors[lane] = below < 0.0f ? below : 0.0f;
    }
    kernels.exp2(scratch.factors, scratch.factors, tile.width);
    for (std::int64_t lane = 0; lane < tile.width; ++lane) scratch.factors[lane] *= scratch.last_factors[lane];
    for (std::int64_t lane = 0; lane < tile.count; ++lane) {
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
    kernels.write_weights(&arguments);
  }
  // Hidden keys weigh 0 even in a row that is NaN.
  for (std::int64_t lane = 0; lane < tile.count; ++lane) {
    float* row = scratch.lanes[lane].weights;
    const KeyRange& range = scratch.lanes[lane].range;
    kernels.fill(row, stride, range.begin, 0.0f);
    kernels.fill(row + range.end * stride, stride, tile.attention.keys - range.end, 0.0f);
  }
}

// Runs the lanes in scratch.lanes, which see at least one key each, or take all of them alike.
void run_tile(const Attention& attention, const AttentionPlan& plan, const KeyList& keys,
              TileScratch& scratch, std::int64_t b, std::int64_t h, std::int64_t count, bool uniform) {
  Tile tile = {attention, plan, keys, scratch, b, h, count, plan.tile,
               scratch.lanes[0].range, scratch.lanes[0].range};
  if (count <= attention.kernels->narrow_tile) tile.width = attention.kernels->narrow_tile;
  for (std::int64_t lane = 0; lane < count; ++lane) {
    const KeyRange& range = scratch.lanes[lane].range;
    tile.all = {smaller(tile.all.begin, range.begin), larger(tile.all.end, range.end)};
    tile.inner = {larger(tile.inner.begin, range.begin), smaller(tile.inner.end, range.end)};
    scratch.query_rows[lane] = scratch.lanes[lane].query;
  }
  if (!uniform) {
    PackQueriesArguments arguments;
    arguments.queries = scratch.query_rows;
    arguments.count = count;
    arguments.stride = attention.q.stride;
    arguments.depth = attention.depth;
    arguments.width = tile.width;
    arguments.scale = attention.scale * log2_e;
    arguments.panel = scratch.queries;
    attention.kernels->pack_queries(&arguments);
  }
  run_blocks(tile, false, uniform);
  const bool cut = tile.inner.begin != tile.all.begin || tile.inner.end != tile.all.end;
  if (!finish(tile) && cut) {
    run_blocks(tile, true, uniform);
    finish(tile);
  }
  if (attention.weights.data != nullptr) write_weights(tile, uniform);
}

// Queries [first, first + count) of one head: those that see keys, then, apart, those that see none.
void run_queries(const Attention& attention, const AttentionPlan& plan, const KeyList& keys,
                 TileScratch& scratch, std::int64_t b, std::int64_t h, std::int64_t first,
                 std::int64_t count) {
  std::int64_t seeing = 0;
  for (std::int64_t i = first; i < first + count; ++i) {
    const KeyRange range = attention.visibility.of(b, i);
    if (range.empty()) continue;
    scratch.lanes[seeing++] = {attention.q.row(b, h, i), attention.output.row(b, h, i),
                               attention.weights.data ? attention.weights.row(b, h, i) : nullptr, i, range};
  }
  if (seeing > 0) run_tile(attention, plan, keys, scratch, b, h, seeing, false);
  if (seeing == count) return;
  std::int64_t blind = 0;
  for (std::int64_t i = first; i < first + count; ++i) {
    if (!attention.visibility.of(b, i).empty()) continue;
    const Lane lane = {nullptr, attention.output.row(b, h, i),
                       attention.weights.data ? attention.weights.row(b, h, i) : nullptr, i,
                       {0, attention.keys}};
    if (attention.visibility.empty_rows == EmptyRows::uniform && attention.keys > 0) {
      scratch.lanes[blind++] = lane;
      continue;
    }
    attention.kernels->fill(lane.output, attention.output.stride, attention.value_depth, 0.0f);
    if (lane.weights) attention.kernels->fill(lane.weights, attention.weights.stride, attention.keys, 0.0f);
  }
  if (blind > 0) run_tile(attention, plan, keys, scratch, b, h, blind, true);
}

void copy_rows(const Kernels& kernels, const float* source, std::int64_t row_stride, std::int64_t stride,
               const KeyRange& range, std::int64_t columns, float* destination) {
  CopyArguments arguments;
  arguments.source = source + range.begin * row_stride;
  arguments.source_row_stride = row_stride;
  arguments.source_stride = stride;
  arguments.destination = destination + range.begin * columns;
  arguments.destination_row_stride = columns;
  arguments.destination_stride = 1;
  arguments.rows = range.end - range.begin;
  arguments.columns = columns;
  kernels.copy(&arguments);
}

TileScratch lay_out(Cursor& cursor, std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                    std::int64_t value_stride) {
  TileScratch scratch;
  scratch.queries = cursor.take<float>(depth * tile);
  scratch.weights = cursor.take<float>(key_block * tile);
  scratch.bias = cursor.take<float>(key_block * tile);
  scratch.output = cursor.take<float>(tile * value_stride);
  scratch.maximum = cursor.take<float>(tile);
  scratch.start = cursor.take<float>(tile);
  scratch.sum = cursor.take<float>(tile);
  scratch.block_sum = cursor.take<float>(tile);
  scratch.block_maximum = cursor.take<float>(tile);
  scratch.factors = cursor.take<float>(tile);
  scratch.last_maximum = cursor.take<float>(tile);
  scratch.last_factors = cursor.take<float>(tile);
  scratch.query_rows = cursor.take<const float*>(tile);
  scratch.rows = cursor.take<float*>(tile);
  scratch.lanes = cursor.take<Lane>(tile);
  return scratch;
}

}  // namespace

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

AttentionShape attention_shape(const Attention& attention) {
  return {attention.batch, attention.heads, attention.queries, attention.keys, attention.depth,
          attention.value_depth, attention.k.row_stride, attention.v.row_stride, attention.v.stride};
}

void run_attention_task(const Attention& attention, const AttentionPlan& plan, std::int64_t task,
                        void* memory) {
  const Kernels& kernels = *attention.kernels;
  TileScratch scratch = TileScratch::at(memory, plan.tile, plan.key_block, attention.depth, plan.value_stride);
  const bool copies = plan.copy_keys || plan.copy_values;
  const std::int64_t tiles = copies ? 1 : plan.tiles, sequence = task / tiles;
  const std::int64_t b = sequence / attention.heads, h = sequence % attention.heads;

  KeySegment segment = {attention.k.row(b, h, 0), attention.v.row(b, h, 0), attention.k.row_stride,
                        attention.k.stride, attention.v.row_stride, 0, attention.keys};
  if (copies) {
    Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory) +
                     aligned_bytes(TileScratch::bytes(plan.tile, plan.key_block, attention.depth, plan.value_stride))};
    const KeyRange visible = attention.visibility.of_entry(b);
    if (plan.copy_keys) {
      float* copied = cursor.take<float>(attention.keys * attention.depth);
      copy_rows(kernels, segment.keys, segment.key_row_stride, segment.key_stride, visible, attention.depth, copied);
      segment.keys = copied;
      segment.key_row_stride = attention.depth;
      segment.key_stride = 1;
    }
    if (plan.copy_values) {
      float* copied = cursor.take<float>(attention.keys * attention.value_depth);
      copy_rows(kernels, segment.values, segment.value_row_stride, attention.v.stride, visible,
                attention.value_depth, copied);
      segment.values = copied;
      segment.value_row_stride = attention.value_depth;
    }
  }
  const KeyList keys = {&segment, 1};
  const std::int64_t first = task % tiles, end = copies ? plan.tiles : first + 1;
  for (std::int64_t t = first; t < end; ++t) {
    const std::int64_t start = t * plan.tile;
    run_queries(attention, plan, keys, scratch, b, h, start, smaller(plan.tile, attention.queries - start));
  }
}

}  // namespace attend
