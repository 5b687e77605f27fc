// A tile: up to W queries in lanes that share one key sequence, run over its key blocks.
#pragma once

#include <cstdint>

#include "data/attention.h"
#include "plan/plan.h"
#include "plan/scratch.h"

namespace attend {

/// Where keys and values of one head of one sequence are: rows of entry b, from row `first` on; of values, rows of the first
/// `value_columns` columns, and `value_panel_stride` further on of the next ones.
struct HeadKeys {
  PagedRows<const float> k, v;
  std::int64_t b, kv_head, first;
  int value_columns;
  std::int64_t value_panel_stride;
};

/// A tile that runs: what its kernels and its steps share.
struct Tile {
  const Attention& attention;
  const AttentionPlan& plan;
  const HeadKeys& keys;
  TileScratch& scratch;
  std::int64_t b;          // the sequence
  std::int64_t count;      // lanes in use
  std::int64_t width;      // lanes computed: the narrow or the wide tile
  KeyRange seen_by_any;    // keys that some lane sees, but for holes
  KeyRange seen_by_all;    // keys that every lane sees, but for holes
  bool uniform;            // every key weighs the same, and no key is read
  bool holes;              // keys may be hidden within the ranges
  bool biased;             // something is added to scores

  bool cut() const { return holes || seen_by_all.begin != seen_by_any.begin || seen_by_all.end != seen_by_any.end; }
  bool inside(std::int64_t begin, std::int64_t end) const { return seen_by_all.begin <= begin && end <= seen_by_all.end; }
  bool described() const { return cut() || biased || attention.softcap > 0.0f; }  // by lane_rules, from the start
};

/// Runs the lanes in scratch.lanes, which see at least one key each but for holes, or take all alike.
void run_tile(const Attention& attention, const AttentionPlan& plan, const HeadKeys& keys,
              TileScratch& scratch, std::int64_t b, std::int64_t count, bool uniform);

// The scores of a tile's keys: who sees which of them, what is added to them, and their weights. (tile_scores.cpp)

/// Before the first block of a tile that needs it: most tiles have none.
void describe_lanes(const Tile& tile);

/// Who sees which key of a block: its BlockBits.
int fill_visible(const Tile& tile, std::int64_t begin, std::int64_t end);
void fill_bias(const Tile& tile, std::int64_t begin, std::int64_t end);

/// Scores of keys [begin, end), one block or a part of it; returns block_moves and block_vanishes. Where a lane moves, its chains
/// start at 0, and its maximum is taken from the bias before that is added: a score is rounded as one of its own size.
int score(const Tile& tile, std::int64_t begin, std::int64_t end, bool plain, bool biased);

void drop_weights(const Tile& tile, std::int64_t begin, std::int64_t end);

// The frames of a tile's lanes: what their sums and outputs are relative to, a maximum and a reference bias. (tile_frames.cpp)

/// At the start of a tile's blocks: no lane has seen anything.
void begin_frames(const Tile& tile);

/// Scores a block until no frame has to move, then brings to theirs what lanes have so far.
void settle_frames(const Tile& tile, std::int64_t begin, std::int64_t end, bool biased);

/// Sinks come when all keys have been seen: scores that started from one would lose their last bits. A sink is the bias of a key
/// whose score is 0, and one far above all scores makes the frame.
void add_sinks(const Tile& tile);

/// How far the bias of a lane's reference is above that of `other`, natural units; a lane that has never been described has none.
double reference_above(const TileScratch& scratch, std::int64_t lane, const BiasReference& other);

// Weights times values: what the blocks of a tile add to its output. (tile_values.cpp)

/// Weights of the block that starts at `block`, keys [begin, end) of it, times their values, into some lanes; with `lane`, of
/// those that this one sees alone. A block's sums start at 0 and are added to the output, or begin it (`first`): so no chain is
/// longer than a block, and who takes part with which keys does not change a bit.
void accumulate(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end,
                std::int64_t first_lane, std::int64_t lane_count, bool first = false, std::int64_t lane = -1);

/// Values of the keys that each few lanes may see: what lies beyond their ranges weighs 0.
void accumulate_ranges(const Tile& tile, std::int64_t block, std::int64_t end);

/// Values of the keys that each lane sees: 0 times NaN is NaN.
void accumulate_visible(const Tile& tile, std::int64_t block, std::int64_t end);

/// Outputs of a span of key blocks to the totals of those before, in double: sums of floats over a long row lose digits.
void fold(const Tile& tile);

/// Outputs by the lanes' factors.
void rescale(const Tile& tile);

}  // namespace attend
