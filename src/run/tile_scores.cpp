// Fills in the arguments of the kernels that score.
#include "run/tile.h"

#include <string.h>

#include "base/arithmetic.h"
#include "base/dropout.h"
#include "run/widened_rows.h"

namespace attend {

namespace {

// Keys and values that so few tiles read come from memory: kernels fetch them while they score the keys before. Two queries over a cache of 4096
// take 3.2 ms, not 4.7, eight 8.4, not 10.3; where more tiles read them, fetching costs 1 % (Zen 3).
constexpr std::int64_t few_tiles = 4;
// From so many keys on both are fetched to the L2, keys two tiles ahead: 16, 32 and 64 rows over 4096 keys take 22, 20 and 8 % less time
// with AVX-512, 15, 20 and 14 % with AVX2 (Zen 4). 128 keys would take 2 % more.
constexpr std::int64_t keys_beyond_l2 = 1024;

// Widens as many keys from row `row` on as there is room for, at most key_count.
__attribute__((noinline)) void widen_keys(const Tile& tile, std::int64_t row, ScoreArguments* arguments) {
  const Attention& attention = tile.attention;
  const std::int64_t stride = round_up(attention.depth, attention.kernels->lanes);
  arguments->key_count = smaller(arguments->key_count, widened_rows(stride));
  arguments->keys = tile.scratch.widened;
  arguments->key_row_stride = stride;
  widen_rows(*attention.stored, tile.keys.k, attention.k_scales, tile.keys.b, tile.keys.kv_head, row, arguments->key_count, 0, attention.depth,
             tile.scratch.widened, stride);
}

}  // namespace

void describe_lanes(const Tile& tile) {
  tile.scratch.described = true;
  for (std::int64_t n = 0; n < tile.count; ++n) {
    LaneRules& rules = tile.scratch.lane_rules[n];
    const Lane& lane = tile.scratch.lanes[n];
    const KeyRange range = {rules.begin, rules.end};
    if (tile.holes || tile.biased) {
      rules = tile.attention.rules_of(tile.b, lane.head, lane.index);
    } else {  // member by member: g++ clears a whole one by rep stos, which is 2 % of a short causal call
      auto& [shift, slope, reference, begin, end, position, mask, additive, relative, parents, node] = rules;
      shift = slope = reference.additive = reference.relative = 0.0f;
      reference.distance = begin = end = position = node = 0;
      mask = nullptr;
      additive = relative = nullptr;
      parents = nullptr;
    }
    rules.begin = range.begin;
    rules.end = range.end;
  }
}

int fill_visible(const Tile& tile, std::int64_t begin, std::int64_t end) {
  VisibleArguments arguments;
  arguments.lanes = tile.scratch.lane_rules;
  arguments.sequence = tile.sequence;
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
  arguments.lanes = scratch.lane_rules;
  arguments.sequence = tile.sequence;
  arguments.lane_count = tile.count;
  arguments.width = tile.width;
  arguments.key = begin;
  arguments.key_count = end - begin;
  arguments.bias = scratch.bias;
  tile.attention.kernels->fill_bias(&arguments);
}

int score(const Tile& tile, std::int64_t begin, std::int64_t end, bool plain, bool biased) {
  const Attention& attention = tile.attention;
  TileScratch& scratch = tile.scratch;
  attention.kernels->fill(scratch.block_sum, 1, tile.width, 0.0f);
  attention.kernels->fill(scratch.block_maximum, 1, tile.width, -infinity);
  // Lists are the general kernel's, which gives the bits of the plain one where every lane sees every key.
  const bool listed = attention.stored == nullptr && !tile.keys.k.adjacent(tile.keys.first + begin, tile.keys.first + end);
  if (plain && (listed || attention.core != nullptr)) memset(scratch.visible, 0xff, static_cast<std::size_t>(end - begin) * sizeof(std::uint32_t));
  int (*kernel)(const ScoreArguments*) = plain && !listed ? attention.kernels->scores_plain : attention.kernels->scores_general;
  if (attention.core != nullptr) kernel = attention.core->scores;
  ScoreArguments arguments;
  arguments.key_row_stride = tile.keys.k.row_stride;
  arguments.key_stride = tile.keys.k.stride;
  arguments.depth = attention.score_depth();
  arguments.fetches = tile.plan.tiles <= few_tiles;
  const bool many = arguments.fetches && tile.seen_by_any.end - tile.seen_by_any.begin >= keys_beyond_l2;
  const bool fetches_values = many && !listed && attention.stored == nullptr && attention.core == nullptr && tile.plan.value_panel == 0 && attention.v.stride == 1;
  arguments.values = nullptr;
  arguments.queries = scratch.queries;
  arguments.width = tile.width;
  arguments.start = scratch.start;
  arguments.unseen = scratch.unseen;
  arguments.cap = attention.cap();
  arguments.block_sum = scratch.block_sum;
  arguments.block_maximum = scratch.block_maximum;
  int bits = 0;
  const float* places[listed_rows];
  arguments.key_rows = listed ? places : nullptr;
  for (std::int64_t j = begin; j < end; j += arguments.key_count) {
    const std::int64_t row = tile.keys.first + j;
    arguments.key_count = end - j;
    if (attention.stored != nullptr) {
      widen_keys(tile, row, &arguments);
    } else if (listed) {
      arguments.key_count = smaller(arguments.key_count, listed_rows);
      tile.keys.k.list(tile.keys.b, tile.keys.kv_head, row, row + arguments.key_count, places);
    } else {
      arguments.keys = tile.keys.k.row(tile.keys.b, tile.keys.kv_head, row);
    }
    if (fetches_values) {
      arguments.values = tile.keys.v.row(tile.keys.b, tile.keys.kv_head, row);
      arguments.value_row_stride = tile.keys.v.row_stride;
      arguments.value_columns = attention.value_depth;
    }
    arguments.visible = scratch.visible + (j - begin);
    arguments.bias = biased ? scratch.bias + (j - begin) * tile.width : nullptr;
    arguments.weights = scratch.weights + (j - begin) * tile.width;
    bits = kernel(&arguments);
  }
  return bits;
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

}  // namespace attend
