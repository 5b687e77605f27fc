// Rows by entry and head: in one block of memory, or in pages.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

/// The widest row of a head, of queries and keys as of values: latent attention (DeepSeek) has 512 columns and 64 that are rotated. A
/// tile of AVX-512's 16 lanes takes 79 KiB of a thread's 80 then.
inline constexpr std::int64_t largest_head = 576;

/// A (B, H, n, D) operand by strides alone; null data: absent.
template <class Element>
struct Rows {
  Element* data = nullptr;
  std::int64_t batch_stride = 0, head_stride = 0, row_stride = 0, stride = 1;

  Element* row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return data + b * batch_stride + h * head_stride + i * row_stride;
  }
  operator Rows<const Element>() const { return {data, batch_stride, head_stride, row_stride, stride}; }
};

/// The rows of a view (B, H, n, D), or (B, H, n): one element each.
template <class Element>
Rows<Element> by_heads(const View<Element>& view) {
  return {view.data, view.strides[0], view.strides[1], view.strides[2], view.rank == 4 ? view.strides[3] : 1};
}

/// The rows of a view (B, n, D), whose one head serves any number of heads.
template <class Element>
Rows<Element> by_entries(const View<Element>& view) {
  return {view.data, view.strides[0], 0, view.strides[1], view.strides[2]};
}

/// The stride of an axis; 0 where the view lacks it.
template <class Element>
std::int64_t stride_from_end(const View<Element>& view, int axis) {
  return axis <= view.rank ? view.strides[view.rank - axis] : 0;
}

/// The rows of a view (n, D) or (B, n, D), whose entry is the only one where it lacks the axis.
template <class Element>
Rows<Element> by_matrices(const View<Element>& view) {
  return {view.data, stride_from_end(view, 3), 0, stride_from_end(view, 2), stride_from_end(view, 1)};
}

/// (B, G, n, D) in pages: row j of an entry is row j % page_rows of its page j / page_rows. A block is one page, a ring one that repeats.
template <class Element>
struct PagedRows : Rows<Element> {
  std::int64_t page_rows = INT64_MAX;
  std::int64_t page_stride = 0;          // 0: each page is the same memory, a ring
  const std::int64_t* pages = nullptr;   // where page p of entry b is; null: at p
  std::int64_t pages_batch_stride = 0, pages_stride = 1;

  PagedRows() = default;
  PagedRows(const Rows<Element>& rows) : Rows<Element>(rows) {}

  std::int64_t page_of(std::int64_t j) const { return j < page_rows ? 0 : j / page_rows; }

  Element* row(std::int64_t b, std::int64_t g, std::int64_t j) const {
    std::int64_t page = page_of(j);
    const std::int64_t within = j - page * page_rows;
    if (pages != nullptr) page = pages[b * pages_batch_stride + page * pages_stride];
    return Rows<Element>::row(b, g, within) + page * page_stride;
  }

  operator PagedRows<const Element>() const {
    PagedRows<const Element> rows = Rows<const Element>(*this);
    rows.page_rows = page_rows;
    rows.page_stride = page_stride;
    rows.pages = pages;
    rows.pages_batch_stride = pages_batch_stride;
    rows.pages_stride = pages_stride;
    return rows;
  }

  /// Whether the rows [j, end) lie in one page.
  bool adjacent(std::int64_t j, std::int64_t end) const { return end_of_run(j, end) == end; }

  /// Writes where each of the rows [j, end) is.
  void list(std::int64_t b, std::int64_t g, std::int64_t j, std::int64_t end, Element** places) const {
    Element* const first = Rows<Element>::row(b, g, 0);
    std::int64_t page = page_of(j), within = j - page * page_rows;
    for (; j < end; ++page, within = 0) {
      const std::int64_t at = pages != nullptr ? pages[b * pages_batch_stride + page * pages_stride] : page;
      Element* place = first + within * this->row_stride + at * page_stride;
      for (; within < page_rows && j < end; ++within, ++j, place += this->row_stride) *places++ = place;
    }
  }

  /// The end of the rows [j, end) that lie in one page.
  std::int64_t end_of_run(std::int64_t j, std::int64_t end) const {
    const std::int64_t left = page_rows - (j - page_of(j) * page_rows);
    return end - j < left ? end : j + left;
  }
};

}  // namespace attend
