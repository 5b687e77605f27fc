// The memory of decoding: of a task, and of what chunks of keys came to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace attend {

/// What sums and outputs of a row are relative to.
struct Frame {
  float maximum = -infinity;  // log2 units, an integer until the reference moves; -inf: no score
  BiasReference reference = {};
};

/// What a row of a chunk came to; the first chunk's has what all of them did, once merged.
struct Partial {
  Frame frame, merged_frame;
  float sum;
  float factor;  // of its output and sum, where chunks are merged; then, of the first one, 1 / the merged sum
  bool seen;     // whether a key of it is visible
  bool merged_seen;
};

/// A task's scratch.
struct DecodeScratch {
  float* queries;  // [rows][query_stride], times scale
  float* weights;  // [rows][decode_block]
  float* bias;     // [decode_block], of one row
  float* partial;  // [rows][value_stride], of a group of keys that is not complete

  void* end;

  DecodeScratch(void* memory, std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride);
  static std::size_t bytes(std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride) {
    return reinterpret_cast<std::uintptr_t>(DecodeScratch(nullptr, rows, query_stride, value_stride).end);
  }
};

/// Bytes of the partial results of `slots` chunks of `heads` heads.
std::size_t decode_partial_bytes(std::int64_t slots, std::int64_t heads, std::int64_t value_stride);

}  // namespace attend
