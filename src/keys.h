// Keys and values of one sequence: a list of segments, so that a cache need not be contiguous.
#pragma once

#include <cstdint>

namespace attend {

/// Keys [begin, begin + count) of a sequence, somewhere in memory; row strides in elements. The
/// values' elements are contiguous within a row.
struct KeySegment {
  const float* keys;
  const float* values;
  std::int64_t key_row_stride, key_stride;
  std::int64_t value_row_stride;
  std::int64_t begin, count;
};

/// Ascending, without gaps: contiguous memory is one segment, a ring two, pages many.
struct KeyList {
  const KeySegment* segments;
  int count;
};

}  // namespace attend
