// A tile: up to W queries in lanes that share one key sequence, run over its key blocks.
#pragma once

#include <cstdint>

#include "data/attention.h"
#include "plan/plan.h"
#include "plan/scratch.h"

namespace attend {

/// Where keys and values of one head of one sequence are: rows of entry b, from row `first` on. Values may come in panels of
/// `value_columns` columns, `value_panel_stride` apart.
struct HeadKeys {
  PagedRows<const float> k, v;
  std::int64_t b, kv_head, first;
  int value_columns;
  std::int64_t value_panel_stride;
};

/// What the steps of a tile share.
struct Tile {
  const Attention& attention;
  const AttentionPlan& plan;
  const HeadKeys& keys;
  TileScratch& scratch;
  std::int64_t b;          // the sequence
  std::int64_t count;      // lanes in use
  std::int64_t width;      // lanes computed: a narrow, middle or wide tile
  KeyRange seen_by_any;    // keys that some lane sees, but for holes
  KeyRange seen_by_all;    // keys that every lane sees, but for holes
  bool uniform;            // every key weighs the same, and no key is read
  bool holes;              // keys may be hidden within the ranges
  bool biased;             // something is added to scores
  SequenceRules sequence;  // zeros where there is neither

  bool cut() const { return holes || seen_by_all.begin != seen_by_any.begin || seen_by_all.end != seen_by_any.end; }
  bool inside(std::int64_t begin, std::int64_t end) const { return seen_by_all.begin <= begin && end <= seen_by_all.end; }
  bool described() const { return cut() || biased || attention.softcap > 0.0f; }  // whether lane_rules are filled from the start
};

/// Runs the lanes in scratch.lanes: each sees a key, but for holes, or takes all keys alike.
void run_tile(const Attention& attention, const AttentionPlan& plan, const HeadKeys& keys,
              TileScratch& scratch, std::int64_t b, std::int64_t count, bool uniform);

// tile_scores.cpp: which lanes see a key, what is added to its scores, and its weights.

/// Fills lane_rules, before the first block that needs them: in most tiles none does.
void describe_lanes(const Tile& tile);

/// Which lanes see which keys of a block; returns BlockBits.
int fill_visible(const Tile& tile, std::int64_t begin, std::int64_t end);
void fill_bias(const Tile& tile, std::int64_t begin, std::int64_t end);

/// Scores of keys [begin, end), one block or a part of it; returns block_moves and block_vanishes. The chains of a lane that moves start
/// at 0, and its bias has the maximum subtracted before it is added: a score is rounded as one of its own size.
int score(const Tile& tile, std::int64_t begin, std::int64_t end, bool plain, bool biased);

void drop_weights(const Tile& tile, std::int64_t begin, std::int64_t end);

// tile_frames.cpp: the frame of a lane, a maximum and a reference bias, to which its sum and output are relative.

/// Starts the blocks of a tile: no lane has seen anything.
void begin_frames(const Tile& tile);

/// Scores a block until no frame has to move, then brings the sums and outputs of lanes to their frames.
void settle_frames(const Tile& tile, std::int64_t begin, std::int64_t end, bool biased);

/// Adds the sinks, after all keys: scores that started from a sink would lose their last bits. A sink is the bias of a key whose score
/// is 0; one far above all scores makes the frame.
void add_sinks(const Tile& tile);

/// How far the bias of a lane's reference is above that of `other`, in natural units; 0 in a lane that has never been described.
double reference_above(const TileScratch& scratch, std::int64_t lane, const BiasReference& other);

// tile_values.cpp: weights times values, which blocks add to a tile's output.

/// Weights of keys [begin, end), in the block that starts at `block`, times their values, into some lanes. A block's
/// sums start at 0 and are added to the output, or begin it (`first`): no chain is longer than a block, and the bits do not depend on
/// which lanes and keys go together.
void accumulate(const Tile& tile, std::int64_t block, std::int64_t begin, std::int64_t end,
                std::int64_t first_lane, std::int64_t lane_count, bool first = false);

/// A few lanes at a time, the values of all keys that one of them may see: a key outside a lane's range weighs 0.
void accumulate_ranges(const Tile& tile, std::int64_t block, std::int64_t end);

/// For all lanes, the values of the keys that each sees: 0 times NaN is NaN.
void accumulate_visible(const Tile& tile, std::int64_t block, std::int64_t end);

/// Adds the outputs of a span of key blocks to the totals, in double: sums of floats over a long row lose digits.
void fold(const Tile& tile);

/// Multiplies outputs by the lanes' factors.
void rescale(const Tile& tile);

}  // namespace attend
