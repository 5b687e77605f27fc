// Visibility: which keys each query may attend to, reduced to ranges.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

/// Keys [begin, end) of a sequence; empty where begin == end.
struct KeyRange {
  std::int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

/// The valid lengths of a call, and what a row that sees no key gives.
struct Visibility {
  const std::int64_t* lengths = nullptr;  // null: all keys
  std::int64_t batch_stride = 0, query_stride = 0;
  std::int64_t queries = 0, keys = 0;
  EmptyRows empty_rows = EmptyRows::zero;

  /// The keys that query i of entry b sees.
  KeyRange of(std::int64_t b, std::int64_t i) const {
    if (lengths == nullptr) return {0, keys};
    const std::int64_t length = lengths[b * batch_stride + i * query_stride];
    return {0, length < keys ? length : keys};
  }

  /// The keys that any query of entry b reads: those outside are not projected.
  KeyRange of_entry(std::int64_t b) const {
    KeyRange range;
    const std::int64_t distinct = query_stride == 0 ? (queries > 0 ? 1 : 0) : queries;
    for (std::int64_t i = 0; i < distinct; ++i) {
      const KeyRange row = of(b, i);
      if (row.empty() && empty_rows == EmptyRows::uniform) return {0, keys};
      if (row.end > range.end) range.end = row.end;
    }
    return range;
  }
};

inline Visibility make_visibility(const LengthsView& lengths, std::int64_t queries,
                                  std::int64_t keys, EmptyRows empty_rows) {
  Visibility visibility;
  visibility.queries = queries;
  visibility.keys = keys;
  visibility.empty_rows = empty_rows;
  if (!lengths.absent()) {
    visibility.lengths = lengths.data;
    visibility.batch_stride = lengths.strides[0];
    visibility.query_stride = lengths.rank == 2 ? lengths.strides[1] : 0;
  }
  return visibility;
}

}  // namespace attend
