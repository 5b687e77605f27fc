// A tile: up to W queries in lanes that share one key sequence, run over its key blocks.
#pragma once

#include <cstdint>

#include "data/attention.h"
#include "plan/plan.h"
#include "plan/tile_scratch.h"

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

}  // namespace attend
