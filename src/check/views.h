// Checks of single arguments: what shape a view has, where its memory lies, how many threads there are.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "attend/attend.hpp"
#include "base/status.h"
#include "data/rows.h"

namespace attend {

constexpr StatusCode invalid = StatusCode::invalid_argument;
using Number = long long;  // what messages print by %lld
constexpr std::int64_t largest_offset = std::int64_t{1} << 40;

struct ShapeText {
  char text[112];
};

ShapeText shape_text(int rank, const std::int64_t* sizes);

template <class Element>
ShapeText shape_text(const View<Element>& view) {
  return shape_text(view.rank, view.sizes);
}

template <class Element>
bool has_elements(const View<Element>& view) {
  for (int axis = 0; axis < view.rank; ++axis) {
    if (view.sizes[axis] == 0) return false;
  }
  return true;
}

// Sizes and strides that make sense; null data where there are elements.
template <class Element>
Status check_view(const char* name, const View<Element>& view) {
  if (view.rank < 0 || view.rank > max_rank) {
    return Status::error(invalid, "%s: rank %d, expected 0 to %d", name, view.rank, max_rank);
  }
  std::int64_t last = 0, count = 0, bytes = 0, elements = 1;
  for (int axis = 0; axis < view.rank; ++axis) {
    const std::int64_t size = view.sizes[axis], stride = view.strides[axis];
    if (size < 0) {
      return Status::error(invalid, "%s: shape %s has a negative size", name, shape_text(view).text);
    }
    if (stride < 0) {
      return Status::error(invalid, "%s: stride %lld of axis %d, expected 0 or more", name, Number{stride}, axis);
    }
    std::int64_t span = 0;
    if (__builtin_mul_overflow(elements, size > 0 ? size : 1, &elements) ||
        __builtin_mul_overflow(size > 0 ? size - 1 : 0, stride, &span) ||
        __builtin_add_overflow(last, span, &last) || __builtin_add_overflow(last, 1, &count) ||
        __builtin_mul_overflow(count, static_cast<std::int64_t>(sizeof(Element)), &bytes) ||
        __builtin_mul_overflow(elements, static_cast<std::int64_t>(sizeof(Element)), &bytes)) {
      return Status::error(invalid, "%s: shape %s overflows the address space", name, shape_text(view).text);
    }
  }
  if (view.data == nullptr && view.rank > 0 && has_elements(view)) {
    return Status::error(invalid, "%s: data is null, but its shape is %s", name, shape_text(view).text);
  }
  return Status();
}

Status check_shape(const char* name, int rank, const std::int64_t* sizes, int expected_rank, const std::int64_t* expected);

// A view, of the shape given: -1 stands for any size.
template <class Element, class... Sizes>
Status check_view(const char* name, const View<Element>& view, Sizes... sizes) {
  ATTEND_CHECK(check_view(name, view));
  std::int64_t expected[] = {static_cast<std::int64_t>(sizes)...};
  constexpr int rank = static_cast<int>(sizeof...(sizes));
  if (view.rank != rank) {
    return Status::error(invalid, "%s: shape %s has %d axes, expected %d", name, shape_text(view).text, view.rank, rank);
  }
  for (int axis = 0; axis < rank; ++axis) {
    if (expected[axis] < 0) expected[axis] = view.sizes[axis];
  }
  return check_shape(name, view.rank, view.sizes, rank, expected);
}

// Whether each element of an output has a place of its own.
Status check_distinct(const char* name, const ConstTensorView& view);

/// What an argument covers: from its first element to its last. Views without elements cover nothing.
struct Memory {
  const char* name;
  std::uintptr_t begin, end;
};

/// Of a view that check_view has let through.
template <class Element>
Memory memory_of(const char* name, const View<Element>& view) {
  if (view.absent() || !has_elements(view)) return {name, 0, 0};
  std::int64_t last = 0;
  for (int axis = 0; axis < view.rank; ++axis) last += (view.sizes[axis] - 1) * view.strides[axis];
  return {name, reinterpret_cast<std::uintptr_t>(view.data), reinterpret_cast<std::uintptr_t>(view.data + last + 1)};
}

inline bool apart(const Memory& a, const Memory& b) { return a.end <= b.begin || b.end <= a.begin; }

/// Whether every output lies apart from every input and from the outputs before it.
Status check_apart(std::initializer_list<Memory> outputs, std::initializer_list<Memory> inputs);

// The same view exactly (the stride of a single element means nothing), or apart.
Status check_in_place(const TensorView& output, const ConstTensorView& input);

/// Whether all numbers of a view of rank 1 or 2 are among those that `expected` describes.
Status check_numbers(const char* name, const IndexView& numbers, std::int64_t least, std::int64_t most, const char* expected);

// Lengths of at least 0: (batch,), or by query, too, (batch, queries).
Status check_lengths(const LengthsView& lengths, std::int64_t batch, std::int64_t queries, bool by_query);

Status check_size(const char* name, std::int64_t size, std::int64_t least, std::int64_t most);

Status check_thread_count(const Threads& threads);
Status check_threads(const Threads& threads);

}  // namespace attend
