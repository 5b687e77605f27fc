// Visibility: which keys each query may attend to; ranges here, and where masks and trees cut holes into them.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "base/arithmetic.h"

namespace attend {

/// Keys [begin, end) of a sequence; empty where begin >= end.
struct KeyRange {
  std::int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

/// Numbers by batch entry, and by query where `stride` is not 0; null data: absent.
template <class Element>
struct Numbers {
  const Element* data = nullptr;
  std::int64_t batch_stride = 0, stride = 0;
  bool absent() const { return data == nullptr; }
  Element at(std::int64_t b, std::int64_t i = 0) const { return data[b * batch_stride + i * stride]; }
};

/// The numbers of a view (n,) or (n, m).
template <class Element>
Numbers<Element> numbers_of(const View<const Element>& view) {
  return {view.data, view.strides[0], view.rank == 2 ? view.strides[1] : 0};
}

/// The sequences of a call: the entries of a batch, or rows packed one after the other.
struct Sequences {
  std::int64_t count = 0;
  std::int64_t queries = 0, keys = 0;  // of each sequence; where they differ, of the longest
  Numbers<std::int64_t> query_starts, key_starts;  // absent: entries of a batch
  std::int64_t packed_keys = 0;                    // rows of keys in all, where sequences are packed
  std::int64_t most_keys = 0;                      // how many keys an entry of the cache may hold; no cache: 0
  bool ring = false;                               // whether the cache is one: its first keys may be gone
  const std::int64_t* key_counts = nullptr;  // keys of each entry of a cache
  Numbers<std::int64_t> query_counts;        // queries of each entry over a cache; the rows that follow are padding

  bool packed() const { return !query_starts.absent(); }
  std::int64_t first_query(std::int64_t b) const { return packed() ? query_starts.at(b) : 0; }
  std::int64_t query_count(std::int64_t b) const {
    if (!query_counts.absent()) return query_counts.at(b);
    return packed() ? query_starts.at(b + 1) - query_starts.at(b) : queries;
  }
  std::int64_t first_key(std::int64_t b) const { return key_starts.absent() ? 0 : key_starts.at(b); }
  std::int64_t key_count(std::int64_t b) const {
    if (key_counts != nullptr) return key_counts[b];
    return key_starts.absent() ? keys : key_starts.at(b + 1) - key_starts.at(b);
  }
};

/// A mask of any rank, its strides aligned to (B, H, L, S); null data: none.
template <class Element>
struct Mask {
  const Element* data = nullptr;
  std::int64_t strides[4] = {};
  const Element* row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return data == nullptr ? nullptr : data + b * strides[0] + h * strides[1] + i * strides[2];
  }
};

template <class Element>
Mask<Element> make_mask(const View<const Element>& view) {
  Mask<Element> mask;
  mask.data = view.data;
  for (int axis = 0; axis < view.rank; ++axis) {
    mask.strides[4 - view.rank + axis] = view.sizes[axis] == 1 ? 0 : view.strides[axis];
  }
  return mask;
}

/// The keys that each query of one sequence sees, but for holes; looks up once what all its queries have in common.
struct RowRanges {
  KeyRange kept;                         // keys that are there
  Numbers<std::int64_t> lengths;         // by entry, `entry`, and maybe by query
  std::int64_t entry;
  std::int64_t position;                 // where query 0 stands
  std::int64_t behind, ahead;            // keys before and after its position that a query sees; negative: all
  bool positional;

  /// Inline, for every lane of a tile calls it: 1 % of a short tile.
  __attribute__((always_inline)) KeyRange of(std::int64_t i) const {
    KeyRange range = kept;
    if (!lengths.absent()) range.end = smaller(range.end, lengths.at(entry, i));
    if (positional) {
      const std::int64_t stands = position + i;
      if (ahead >= 0) range.end = smaller(range.end, stands + ahead + 1);
      if (behind >= 0) range.begin = larger(range.begin, stands - behind);
    }
    return range.empty() ? KeyRange() : range;
  }
};

/// What lengths, causal, window, masks and trees leave of the keys, and what a row gives that sees none.
struct Visibility {
  Sequences sequences;
  Numbers<std::int64_t> lengths;
  bool causal = false;
  bool queries_at_end = false;  // query 0 stands where its entry's last query_count keys begin
  bool mask_hides = false;      // what is not 0 in `mask` and `padding` hides its key; else what is 0 does
  EmptyRows empty_rows = EmptyRows::zero;
  std::int64_t offset = 0;
  Numbers<std::int64_t> offsets;
  std::int64_t window_left = -1, window_right = -1;
  const std::int64_t* first_kept = nullptr;  // the first key that each entry still has; null: all are there
  Numbers<std::int64_t> parents;
  Numbers<std::int64_t> starts;              // the first key of each sequence that is not hidden
  Mask<std::uint8_t> mask;
  Numbers<std::uint8_t> padding;             // by sequence and key
  Mask<float> additive;

  /// Where query i of sequence b stands among its keys.
  std::int64_t position(std::int64_t b, std::int64_t i) const {
    return i + offset + (offsets.absent() ? 0 : offsets.at(b)) + (queries_at_end ? sequences.key_count(b) - sequences.query_count(b) : 0);
  }

  std::int64_t first_of(std::int64_t b) const { return first_kept == nullptr ? 0 : first_kept[b]; }

  /// Whether some keys within the ranges may be hidden.
  bool has_holes() const { return mask.data != nullptr || !padding.absent() || additive.data != nullptr || !parents.absent(); }

  /// Whether what a query sees depends on where it stands.
  bool positional() const { return causal || window_left >= 0 || window_right >= 0; }

  /// Whether all queries of a sequence see the same keys, but for holes.
  bool same_for_all_queries() const { return lengths.stride == 0 && !positional(); }

  RowRanges of_rows(std::int64_t b) const {
    const std::int64_t begin = starts.absent() ? first_of(b) : larger(first_of(b), starts.at(b));
    return {{begin, sequences.key_count(b)}, lengths, b, position(b, 0), window_left, causal ? 0 : window_right, positional()};
  }
  /// The keys that query i of sequence b sees, but for holes.
  KeyRange of(std::int64_t b, std::int64_t i) const { return of_rows(b).of(i); }

  /// The keys that any query of sequence b reads: no others are projected.
  KeyRange of_sequence(std::int64_t b) const { return of_sequence(b, of_rows(b)); }
  KeyRange of_sequence(std::int64_t b, const RowRanges& rows) const {
    const std::int64_t queries = sequences.query_count(b), count = same_for_all_queries() ? smaller(queries, 1) : queries;
    KeyRange all;
    for (std::int64_t i = 0; i < count; ++i) {
      const KeyRange row = rows.of(i);
      if (empty_rows == EmptyRows::uniform && (row.empty() || has_holes())) {
        return {first_of(b), sequences.key_count(b)};
      }
      if (row.empty()) continue;
      if (all.empty() || row.begin < all.begin) all.begin = row.begin;
      if (row.end > all.end) all.end = row.end;
    }
    return all;
  }
};

/// Where rows stand, for their rotation: as given, or counted.
struct RowPositions {
  Numbers<std::int64_t> given;   // by row; absent: rows are counted, from the first one of each sequence on
  Numbers<std::int64_t> starts;  // packed sequences: their first rows
  const Visibility* queries;     // what says where queries stand; null: the rows are keys,
  const std::int64_t* before;    // which stand after so many of each entry; null: none

  std::int64_t first(std::int64_t b) const { return starts.absent() ? 0 : starts.at(b); }
  std::int64_t of(std::int64_t b, std::int64_t row) const {
    if (!given.absent()) return given.at(b, row);
    const std::int64_t i = row - first(b);
    return queries != nullptr ? queries->position(b, i) : i + (before != nullptr ? before[b] : 0);
  }
};

}  // namespace attend
