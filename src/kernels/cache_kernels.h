// The kernels of a cache whose elements are not float32: rows stored and widened, and decoding over them.
//
// Rows are whole numbers of stored_step elements, those behind the last one 0, and are counted in floats, each of which stands for 32
// bits. Integers have a scale for each row, apart from it: an element is the integer times the scale.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/kernels.h"

namespace attend {

inline constexpr std::int64_t stored_step = 16;
inline constexpr std::int64_t largest_stored = 576;  // elements of a row, as heads have them at most

/// Stores source[d * stride], d < columns, as a row; *scale gets what its integers are to be multiplied by.
struct StoreRowArguments {
  const float* source;
  std::int64_t stride, columns;
  float* row;
  float* scale;  // of int8
};

/// destination[r][c] = element first + c of rows[r], c < columns, as a float, times *scales[r]; rounded up to whole vectors.
struct WidenRowsArguments {
  const float* const* rows;
  const float* const* scales;  // null: none
  std::int64_t row_count;
  std::int64_t first, columns;  // first: a multiple of the lanes
  float* destination;
  std::int64_t destination_stride;
};

/// The kernels of one type. Those of decoding take what float32's take, of rows in places and strides of 32 bits, and give the bits that
/// float32's give on the widened elements; scales of integers are not theirs.
struct CacheKernels {
  CacheType type;
  unsigned features;  // what a CPU must have beside the ISA
  int bytes;          // of an element
  void (*store_row)(const StoreRowArguments*);
  void (*widen_rows)(const WidenRowsArguments*);
  void (*decode_scores)(const DecodeScoresArguments*);
  void (*decode_values)(const DecodeValuesArguments*);
  void (*scale)(float* numbers, const float* scales, std::int64_t count);  // numbers[i] *= scales[i]; null: the type has no scales
};

}  // namespace attend
