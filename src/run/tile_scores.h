// The scores of a tile's keys: who sees which of them, what is added to them, and their weights.
#pragma once

#include <cstdint>

#include "run/tile.h"

namespace attend {

/// Before the first block of a tile that needs it: most tiles have none.
void describe_lanes(const Tile& tile);

/// Who sees which key of a block: its BlockBits.
int fill_visible(const Tile& tile, std::int64_t begin, std::int64_t end);
void fill_bias(const Tile& tile, std::int64_t begin, std::int64_t end);

/// Scores of keys [begin, end), one block or a part of it; returns block_moves and block_vanishes. Where a lane moves, its chains
/// start at 0, and its maximum is taken from the bias before that is added: a score is rounded as one of its own size.
int score(const Tile& tile, std::int64_t begin, std::int64_t end, bool plain, bool biased);

void drop_weights(const Tile& tile, std::int64_t begin, std::int64_t end);

}  // namespace attend
