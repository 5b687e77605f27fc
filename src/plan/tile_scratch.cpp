// Lays the arrays of a tile out.
#include "plan/tile_scratch.h"

#include "base/cursor.h"

namespace attend {

namespace {

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
  scratch.lane_rules = cursor.take<LaneRules>(tile);
  scratch.totals = reinterpret_cast<double*>(cursor.at);
  scratch.seen = scratch.unseen = 0;
  scratch.folded = scratch.referenced = scratch.described = false;
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

}  // namespace attend
