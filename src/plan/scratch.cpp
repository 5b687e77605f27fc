// Lays out the arrays of a task in its scratch memory.
#include "plan/scratch.h"

#include "base/cursor.h"

namespace attend {

TileScratch::TileScratch(void* memory, std::int64_t tile, std::int64_t key_block, std::int64_t depth, std::int64_t value_stride) {
  Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory)};
  queries = cursor.take<float>(depth * tile);
  weights = cursor.take<float>(key_block * tile);
  visible = cursor.take<std::uint32_t>((key_block + 15) / 16 * 16);
  bias = cursor.take<float>(key_block * tile);
  output = cursor.take<float>(tile * value_stride);
  sum = cursor.take<double>(tile);
  level = cursor.take<double>(tile);
  maximum = cursor.take<float>(tile);
  start = cursor.take<float>(tile);
  block_sum = cursor.take<float>(tile);
  block_maximum = cursor.take<float>(tile);
  factors = cursor.take<float>(tile);
  last_maximum = cursor.take<float>(tile);
  last_factors = cursor.take<float>(tile);
  last_references = cursor.take<BiasReference>(tile);
  rows = cursor.take<float*>(tile);
  lanes = cursor.take<Lane>(tile);
  lane_rules = cursor.take<LaneRules>(tile);
  totals = reinterpret_cast<double*>(cursor.at);
  widened = nullptr;
  seen = unseen = 0;
  folded = referenced = described = false;
}

DecodeScratch::DecodeScratch(void* memory, std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride) {
  Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory)};
  const std::int64_t readable = decode_readable(rows);
  queries = cursor.take<float>(readable * query_stride);
  weights = cursor.take<float>(readable * decode_block);
  bias = cursor.take<float>(decode_block);
  partial = cursor.take<float>(rows * value_stride);
  places = cursor.take<const float*>(decode_block);
  end = reinterpret_cast<void*>(cursor.at);
}

std::size_t decode_partial_bytes(std::int64_t slots, std::int64_t rows, std::int64_t value_stride) {
  return aligned_bytes(static_cast<std::size_t>(slots * rows) * (static_cast<std::size_t>(value_stride) * sizeof(float) + sizeof(Partial)));
}

}  // namespace attend
