// The frames of a tile's lanes: what their sums and outputs are relative to, a maximum and a reference bias.
#pragma once

#include <cstdint>

#include "run/tile.h"

namespace attend {

/// At the start of a tile's blocks: no lane has seen anything.
void begin_frames(const Tile& tile);

/// Scores a block until no frame has to move, then brings to theirs what lanes have so far.
void settle_frames(const Tile& tile, std::int64_t begin, std::int64_t end, bool biased);

/// Sinks come when all keys have been seen: scores that started from one would lose their last bits. A sink is the bias of a key
/// whose score is 0, and one far above all scores makes the frame.
void add_sinks(const Tile& tile);

/// How far the bias of a lane's reference is above that of `other`, natural units; a lane that has never been described has none.
double reference_above(const TileScratch& scratch, std::int64_t lane, const BiasReference& other);

}  // namespace attend
