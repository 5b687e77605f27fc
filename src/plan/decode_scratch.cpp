// Lays the arrays of a decoding task out.
#include "plan/decode_scratch.h"

#include "base/cursor.h"

namespace attend {

namespace {

DecodeScratch lay_out(Cursor& cursor, std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride) {
  DecodeScratch scratch;
  scratch.queries = cursor.take<float>(rows * query_stride);
  scratch.weights = cursor.take<float>(rows * decode_block);
  scratch.bias = cursor.take<float>(decode_block);
  scratch.partial = cursor.take<float>(rows * value_stride);
  return scratch;
}

}  // namespace

std::size_t DecodeScratch::bytes(std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride) {
  Cursor cursor = {0};
  lay_out(cursor, rows, query_stride, value_stride);
  return cursor.at;
}

DecodeScratch DecodeScratch::at(void* memory, std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride) {
  Cursor cursor = {reinterpret_cast<std::uintptr_t>(memory)};
  return lay_out(cursor, rows, query_stride, value_stride);
}

std::size_t decode_partial_bytes(std::int64_t slots, std::int64_t heads, std::int64_t value_stride) {
  return aligned_bytes(static_cast<std::size_t>(slots * heads) * (static_cast<std::size_t>(value_stride) * sizeof(float) + sizeof(Partial)));
}

}  // namespace attend
