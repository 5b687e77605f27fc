// Cuts the queries of a sequence into tiles, and copies its keys and values where the plan says so.
#include "run/tiles.h"

#include "base/arithmetic.h"
#include "base/cursor.h"
#include "plan/scratch.h"
#include "run/tile.h"

namespace attend {

namespace {

// Rows of a sequence that run as tiles: `count` from query `index` of `head` on, head after head.
struct TileRows {
  const Attention& attention;
  std::int64_t b, entry, row, queries;  // the sequence, where its rows are, the first of them, and how many a head has
  std::int64_t head, index, count;

  Lane lane_of(std::int64_t h, std::int64_t i) const {
    const std::int64_t weight_head = attention.average_weights ? 0 : h;
    return Lane{attention.q.row(entry, h, row + i), attention.output.row(entry, h, row + i),
                attention.weights.data ? attention.weights.row(b, weight_head, i) : nullptr,
                attention.lse.data ? attention.lse.row(entry, h, row + i) : nullptr, i, h};
  }
};

void take_lane(TileScratch& scratch, std::int64_t n, const Lane& lane, const KeyRange& range) {
  scratch.lanes[n] = lane;
  scratch.lane_rules[n].begin = range.begin;
  scratch.lane_rules[n].end = range.end;
}

// Puts rows whose range has keys into lanes, and writes the output of the others, but for uniform weights. Returns how many lanes.
std::int64_t take_seeing(const TileRows& rows, const RowRanges& ranges, bool uniform, TileScratch& scratch) {
  const Attention& attention = rows.attention;
  const std::int64_t query_step = attention.q.row_stride, output_step = attention.output.row_stride;
  const std::int64_t weight_step = attention.weights.row_stride, lse_step = attention.lse.row_stride;
  const bool same_for_all_queries = attention.visibility.same_for_all_queries();
  KeyRange range;
  Lane lane = rows.lane_of(rows.head, rows.index);
  std::int64_t seeing = 0;
  for (std::int64_t n = 0;;) {
    if (n == 0 || !same_for_all_queries) range = ranges.of(lane.index);
    if (range.empty()) {
      if (lane.lse != nullptr) *lane.lse = attention.empty_lse(lane.head);
      if (!uniform) attention.write_empty_row(lane.head, lane.output, lane.weights);
    } else {
      take_lane(scratch, seeing++, lane, range);
    }
    if (++n == rows.count) return seeing;
    if (++lane.index == rows.queries) {
      lane = rows.lane_of(lane.head + 1, 0);
    } else {
      lane.query += query_step;
      lane.output += output_step;
      if (lane.weights != nullptr) lane.weights += weight_step;
      if (lane.lse != nullptr) lane.lse += lse_step;
    }
  }
}

// Puts rows that see no key into lanes, to take all of `held` alike. scratch.seen tells the lanes whose keys masks have all hidden.
std::int64_t take_blind(const TileRows& rows, const RowRanges& ranges, const KeyRange& held, TileScratch& scratch) {
  std::int64_t blind = 0, lane = 0;
  for (std::int64_t n = 0, h = rows.head, i = rows.index; n < rows.count; ++n) {
    if (ranges.of(i).empty() || (scratch.seen >> lane++ & 1) == 0) take_lane(scratch, blind++, rows.lane_of(h, i), held);
    if (++i == rows.queries) i = 0, ++h;
  }
  return blind;
}

// Rows [first, first + count) of the heads from `head` on that share one key sequence, head after head.
void run_rows(const Attention& attention, const AttentionPlan& plan, const HeadKeys& keys, TileScratch& scratch,
              std::int64_t b, std::int64_t head, std::int64_t first, std::int64_t count) {
  const Sequences& sequences = attention.sequences();
  const KeyRange held = {attention.visibility.first_of(b), sequences.key_count(b)};
  const bool uniform = attention.visibility.empty_rows == EmptyRows::uniform && !held.empty();
  const std::int64_t queries = sequences.query_count(b), first_head = head + quotient(first, queries);
  const TileRows rows = {attention, b, sequences.packed() ? 0 : b, sequences.first_query(b), queries,
                         first_head, first - (first_head - head) * queries, count};
  const RowRanges ranges = attention.visibility.of_rows(b);
  const std::int64_t seeing = take_seeing(rows, ranges, uniform, scratch);
  if (seeing > 0) run_tile(attention, plan, keys, scratch, b, seeing, false);
  if (!uniform) return;
  const std::int64_t blind = take_blind(rows, ranges, held, scratch);
  if (blind > 0) run_tile(attention, plan, keys, scratch, b, blind, true);
}

// Copies `rows`, keys.k or keys.v, into panels of some columns; a few rows at a time for all panels, so that it reads them once.
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
      arguments.source = rows.row(keys.b, keys.kv_head, keys.first + j) + c * rows.stride;
      arguments.destination = destination + c / panel * panel_stride + j * panel;
      kernels.copy(&arguments);
    }
  }
}

// The rows of a copy, one after the other.
PagedRows<const float> copied_rows(const float* data, std::int64_t columns) {
  PagedRows<const float> rows;
  rows.data = data;
  rows.row_stride = columns;
  return rows;
}

// Copies keys and values as bfloat16, in words of two elements. A pair of values with one key that the sequence may read has 0 for the other.
void copy_pairs(const Attention& attention, std::int64_t count, const KeyRange& range, Cursor* cursor, HeadKeys* keys) {
  const std::int64_t key_words = words_of_keys(attention.depth), value_words = words_of_values(attention.value_depth);
  float* const k = cursor->take<float>(count * key_words);
  float* const v = cursor->take<float>(steps_to(count, 2) * value_words);
  if (!range.empty()) {
    const std::int64_t first = keys->first + range.begin, rows = range.end - range.begin;
    CopyArguments copy;
    copy.source = keys->k.row(keys->b, keys->kv_head, first);
    copy.source_row_stride = keys->k.row_stride;
    copy.source_stride = keys->k.stride;
    copy.destination = k + range.begin * key_words;
    copy.destination_row_stride = key_words;
    copy.rows = rows;
    copy.columns = attention.depth;
    attention.core->round_keys(&copy);
    const float* const values = keys->v.row(keys->b, keys->kv_head, first);
    const PairValuesArguments pair = {values, keys->v.row_stride, keys->v.stride, rows, attention.value_depth, range.begin % 2 != 0,
                                      v + range.begin / 2 * value_words, value_words};
    attention.core->pair_values(&pair);
  }
  keys->k = copied_rows(k, key_words);
  keys->v = copied_rows(v, value_words / 2);  // an even row is where its pair is
  keys->value_panel_stride = 0;
  keys->first = 0;
}

// Copies keys and values to `memory` as the plan says. A function of its own, for all kernels stand on the stack of run_tiles.
__attribute__((noinline)) void copy_keys(const Attention& attention, const AttentionPlan& plan, std::int64_t b, void* memory, HeadKeys* keys) {
  const Kernels& kernels = *attention.kernels;
  const std::int64_t count = attention.sequences().keys;
  Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory)};
  const KeyRange visible = attention.visibility.of_sequence(b);
  if (attention.core != nullptr) {
    copy_pairs(attention, count, visible, &cursor, keys);
    return;
  }
  float* k = plan.copy_keys ? cursor.take<float>(count * attention.depth) : nullptr;
  float* v = plan.copy_values ? cursor.take<float>(count * attention.value_depth) : nullptr;
  if (k != nullptr) copy_rows(kernels, *keys, keys->k, visible, attention.depth, attention.depth, 0, k);
  if (v != nullptr) {
    keys->value_panel_stride = count * keys->value_columns;
    copy_rows(kernels, *keys, keys->v, visible, attention.value_depth, keys->value_columns, keys->value_panel_stride, v);
  }
  // A copy starts with its sequence; from here on, so does what tiles read in place.
  if (k != nullptr) keys->k = copied_rows(k, attention.depth);
  else keys->k.data += keys->first * keys->k.row_stride;
  if (v != nullptr) keys->v = copied_rows(v, keys->value_columns);
  else keys->v.data += keys->first * keys->v.row_stride;
  keys->first = 0;
}

}  // namespace

void run_tiles(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head,
               std::int64_t tile, void* memory) {
  if (plan.whole_sequences && tile > 0) return;  // a sequence that decodes has as many tasks as chunks
  TileScratch scratch(memory, plan.tile, plan.key_block, attention.depth, plan.value_stride);
  if (attention.stored != nullptr) scratch.widened = reinterpret_cast<float*>(static_cast<char*>(memory) + plan.tile_bytes);
  const Sequences& sequences = attention.sequences();
  const std::int64_t last_kv_head = plan.all_kv_heads ? attention.kv_heads : kv_head + 1;

  for (std::int64_t g = kv_head; g < last_kv_head; ++g) {
    const int columns = plan.value_panel > 0 ? plan.value_panel : static_cast<int>(attention.value_depth);
    HeadKeys keys = {attention.k, attention.v, sequences.packed() ? 0 : b, g, sequences.first_key(b), columns, attention.value_panel_stride};
    if (plan.copy_keys || plan.copy_values) {
      copy_keys(attention, plan, b, static_cast<char*>(memory) + plan.tile_bytes, &keys);
    }
    // Each head adds its share of averaged weights, one after the other.
    const std::int64_t heads = attention.average_weights ? 1 : plan.heads_per_kv_head;
    const std::int64_t rows = heads * sequences.query_count(b);
    for (std::int64_t head = g * plan.heads_per_kv_head; head < (g + 1) * plan.heads_per_kv_head; head += heads) {
      for (std::int64_t t = plan.whole_sequences ? 0 : tile; t < (plan.whole_sequences ? plan.tiles : tile + 1); ++t) {
        const std::int64_t start = t * plan.tile;
        if (start < rows) run_rows(attention, plan, keys, scratch, b, head, start, smaller(plan.tile, rows - start));
      }
    }
  }
}

}  // namespace attend
