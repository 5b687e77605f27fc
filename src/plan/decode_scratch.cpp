// Lays the arrays of a decoding task out.
#include "plan/decode_scratch.h"

#include "base/cursor.h"

namespace attend {

DecodeScratch::DecodeScratch(void* memory, std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride) {
  Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory)};
  queries = cursor.take<float>(rows * query_stride);
  weights = cursor.take<float>(rows * decode_block);
  bias = cursor.take<float>(decode_block);
  partial = cursor.take<float>(rows * value_stride);
  end = reinterpret_cast<void*>(cursor.at);
}

std::size_t decode_partial_bytes(std::int64_t slots, std::int64_t heads, std::int64_t value_stride) {
  return aligned_bytes(static_cast<std::size_t>(slots * heads) * (static_cast<std::size_t>(value_stride) * sizeof(float) + sizeof(Partial)));
}

}  // namespace attend
