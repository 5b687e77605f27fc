// How the memory of tasks is laid out: a tile's, decoding's, and the partial results of chunks of keys.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace attend {

/// Rows of several pages, and rows to widen, are taken from lists of their places: so many at a time, for those stand on the stack.
inline constexpr std::int64_t listed_rows = 32;

/// One query of a tile: where it reads and writes.
struct Lane {
  const float* query;
  float* output;
  float* weights;  // null where the caller does not ask for weights
  float* lse;
  std::int64_t index, head;
};

/// A tile's memory: everything its kernels touch but keys, values and outputs.
struct TileScratch {
  float* queries;        // [D][tile]
  float* weights;        // [key block][tile]
  std::uint32_t* visible;  // [key block], a bit for each lane
  float* bias;           // [key block][tile]
  float* output;         // [tile][Dv rounded up]
  double* sum;           // [tile], as all arrays that follow
  double* level;         // while a lane moves to another frame: where its sum stands in the new one, log2
  float* maximum;        // with the lane's reference bias its frame: what sums and outputs are relative to
  float* start;          // what scores start from: the maximum, or 0 while the lane moves to another frame
  float* block_sum;
  float* block_maximum;
  float* factors;
  float* last_maximum;   // behind the output, while the weights are written, as the two that follow
  float* last_factors;
  BiasReference* last_references;
  float** rows;          // queries, then outputs, then weights
  Lane* lanes;
  LaneRules* lane_rules;  // what each lane sees
  float* widened;        // of a cache that is not float32: widened_floats, not part of the tile
  double* totals;        // [tile][Dv rounded up], not part of the tile: outputs of the spans before this one
  std::uint32_t seen;    // a bit for each lane that has seen a key
  std::uint32_t unseen;  // a bit for each lane whose sum is still 0
  bool described;        // whether lane_rules say more than the lanes' ranges
  bool folded;           // whether totals holds anything
  bool referenced;       // some lane's reference has an additive bias, from which blocks that add nothing differ

  TileScratch(void* memory, std::int64_t tile, std::int64_t key_block, std::int64_t depth, std::int64_t value_stride);
  static std::size_t bytes(std::int64_t tile, std::int64_t key_block, std::int64_t depth, std::int64_t value_stride) {
    return reinterpret_cast<std::uintptr_t>(TileScratch(nullptr, tile, key_block, depth, value_stride).totals);
  }
};

/// Rows of a cache that is not float32 are widened so many at a time: 16 KiB of floats.
inline constexpr std::int64_t widened_floats = 4096;
inline constexpr std::int64_t widened_rows(std::int64_t width) {
  const std::int64_t fit = widened_floats / (4 * width) * 4;
  return fit < 4 ? 4 : fit < listed_rows ? fit : listed_rows;
}

/// What sums and outputs of a row are relative to.
struct Frame {
  float maximum = -infinity;  // log2 units, an integer until the reference moves; -inf: no score
  BiasReference reference = {};
};

/// The partial result of a row over a chunk of keys; merging leaves that of all chunks in the first one.
struct Partial {
  Frame frame, merged_frame;
  float sum;
  float factor;  // takes output and sum to the common frame; in the first chunk, once merged, 1 / the merged sum
  bool seen;     // whether a key of the chunk is visible
  bool merged_seen;
};

/// A task's scratch.
struct DecodeScratch {
  float* queries;  // [rows][query_stride], times scale
  float* weights;  // [rows][decode_block]
  float* bias;     // [decode_block], for one row at a time
  float* partial;  // [rows][value_stride]: sums of a group of keys that is not complete
  const float** places;  // [decode_block]: where keys or values are, if their pages are small

  void* end;

  DecodeScratch(void* memory, std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride);
  static std::size_t bytes(std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride) {
    return reinterpret_cast<std::uintptr_t>(DecodeScratch(nullptr, rows, query_stride, value_stride).end);
  }
};

/// Bytes of the partial results of `rows` rows over `slots` chunks.
std::size_t decode_partial_bytes(std::int64_t slots, std::int64_t rows, std::int64_t value_stride);

}  // namespace attend
