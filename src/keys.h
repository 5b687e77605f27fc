// Rows of keys or values, in pages: contiguous memory is one page, a ring is one page that repeats.
#pragma once

#include <cstdint>

namespace attend {

/// (B, G, S, D): row j of an entry is row j % page_rows of its page j / page_rows.
template <class Element>
struct PagedRows {
  Element* data = nullptr;
  std::int64_t batch_stride = 0, head_stride = 0, row_stride = 0, stride = 1;
  std::int64_t page_rows = INT64_MAX;
  std::int64_t page_stride = 0;          // 0: each page is the same memory, a ring
  const std::int64_t* pages = nullptr;   // where page p of entry b is; null: at p
  std::int64_t pages_batch_stride = 0, pages_stride = 1;

  std::int64_t page_of(std::int64_t j) const { return j < page_rows ? 0 : j / page_rows; }

  Element* row(std::int64_t b, std::int64_t g, std::int64_t j) const {
    std::int64_t page = page_of(j);
    const std::int64_t within = j - page * page_rows;
    if (pages != nullptr) page = pages[b * pages_batch_stride + page * pages_stride];
    return data + b * batch_stride + g * head_stride + page * page_stride + within * row_stride;
  }

  operator PagedRows<const Element>() const {
    return {data, batch_stride, head_stride, row_stride, stride, page_rows, page_stride, pages, pages_batch_stride, pages_stride};
  }

  /// The end of the rows [j, end) that lie in one page.
  std::int64_t end_of_run(std::int64_t j, std::int64_t end) const {
    const std::int64_t left = page_rows - (j - page_of(j) * page_rows);
    return end - j < left ? end : j + left;
  }
};

}  // namespace attend
