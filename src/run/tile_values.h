// Weights times values: what the blocks of a tile add to its output.
#pragma once

#include <cstdint>

#include "run/tile.h"

namespace attend {

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
