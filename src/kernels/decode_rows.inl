// Rows that decoding reads: fetched ahead of their use, and found in lists.

// Fetches the rows of a matrix ahead of their use, cache line after cache line.
struct Stream {
  const float *line, *stop;      // the line to fetch next, and the end of its row's last line
  std::int64_t row_stride, gap;  // from there to the next row's first, floats
  std::int64_t far;              // whether into the L2: as wide as the rest, or a copy by words waits for its store

  // `count` lines at a time, for a check of each costs as much as all else does. Where a tile is too rare for its own code, all go into the L1.
  template <bool rare>
  ATTEND_INLINE void fetch(int count) {
    if (!has_prefetch) return;
    if (has_prefetch_far && !rare && far != 0) {
      ATTEND_UNROLL_BY(1)  // unrolled, these were 6 KB of code
      for (int i = 0; i < count; ++i) prefetch_far(line + 16 * i);
    } else {
      ATTEND_UNROLL
      for (int i = 0; i < count; ++i) prefetch(line + 16 * i);
    }
    line += 16 * count;
    if (line < stop) return;
    line = stop + gap;
    stop += row_stride;
  }
};
ATTEND_INLINE Stream stream_from(const float* rows, std::int64_t row_stride, std::int64_t columns, std::int64_t ahead) {
  const std::int64_t width = (columns + 15) / 16 * 16;
  const float* const first = rows + (ahead + columns - 1) / columns * row_stride;
  return {first, first + width, row_stride, row_stride - width, ahead >= far_ahead ? 1 : 0};
}
// A stream for data that has been fetched already: it fetches one line again and again.
ATTEND_INLINE Stream stream_of(const float* line) { return {line, line, 0, 0, 0}; }

// A stream in step with work of which each key takes `whole` parts: bursts would wait for memory, and memory for the work after them.
// (4 heads of 128 over 32768 keys of bfloat16, AVX2 on Zen 4: 14.4 ms where the first of eight tiles of columns fetched all, 10.7 so.)
struct PacedStream {
  Stream stream;              // without a gap: rows that lie side by side, however many lines they have
  std::int64_t words, whole;  // floats of a key that are fetched, and parts
  std::int64_t due = 0;

  // Fetches for `part` parts of the work of each of some keys.
  ATTEND_INLINE void fetch(std::int64_t keys, std::int64_t part) {
    due += keys * words * part;
    std::int64_t count = due / (16 * whole);
    due -= count * (16 * whole);
    while (count > 0) {
      const std::int64_t left = (stream.stop - stream.line) / 16, some = stream.gap == 0 || count < left ? count : left;
      const float* const end = stream.line + 16 * some;
      if (has_prefetch_far && stream.far != 0) {
        ATTEND_UNROLL_BY(1)
        for (; stream.line != end; stream.line += 16) prefetch_far(stream.line);
      } else {
        ATTEND_UNROLL_BY(1)
        for (; stream.line != end; stream.line += 16) prefetch(stream.line);
      }
      count -= some;
      if (stream.gap == 0 || stream.line != stream.stop) continue;
      stream.line += stream.gap;
      stream.stop += stream.row_stride;
    }
  }
};
ATTEND_INLINE PacedStream paced_from(const float* rows, std::int64_t row_stride, std::int64_t columns, std::int64_t ahead, std::int64_t whole) {
  Stream stream = stream_from(rows, row_stride, columns, ahead);
  if (row_stride == columns) stream.gap = 0;
  return {stream, row_stride - stream.gap, whole};
}
// One that fetches nothing.
ATTEND_INLINE PacedStream paced_of(const float* line) { return {stream_of(line), 0, 1}; }

// Rows by fours pass over the same keys again and again, and take turns to fetch: if the first pass did all of it, it would wait for memory,
// and memory for the others. (Two queries of four heads over 4096 keys, AVX2 on Zen 3: 5 to 11 % less time so.)
struct Turns {
  Stream ahead, here;
  std::int64_t passes, left;
  ATTEND_INLINE Stream& next() {
    if (has_prefetch && --left > 0) return here;
    left = passes;
    return ahead;
  }
};

// Fetches rows of a list, some places after the one that is read next: they may lie anywhere.
ATTEND_INLINE void fetch_rows(const float* const* rows, std::int64_t next, std::int64_t count, std::int64_t stop, std::int64_t columns) {
  constexpr std::int64_t places = 64;
  for (int k = 0; k < count && next + places + k < stop; ++k) {
    for (int c = 0; c < columns; c += 16) prefetch(rows[next + places + k] + c);
  }
}

// Keys [begin, end), whose values lie a stride apart from `values` on.
struct KeyRun {
  std::int64_t begin, end;
  const float* values;
  std::int64_t stride;
};

// The keys from `begin` on whose rows the list has a stride apart, at most `count`.
ATTEND_INLINE KeyRun run_of(const float* const* list, std::int64_t begin, std::int64_t count) {
  const std::int64_t stride = count > 1 ? list[begin + 1] - list[begin] : 0;
  std::int64_t end = begin + 1;
  while (end < begin + count && list[end] - list[end - 1] == stride) ++end;
  return {begin, end, list[begin], stride};
}
