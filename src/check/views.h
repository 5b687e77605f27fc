// Checks single arguments: the shape of a view, where its memory lies, how many threads there are.
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

struct AnyView {
  const void* data;
  int rank;
  const std::int64_t *sizes, *strides;
  std::int64_t element_bytes;

  template <class Element>
  AnyView(const View<Element>& view)
      : data(view.data), rank(view.rank), sizes(view.sizes), strides(view.strides), element_bytes(sizeof(Element)) {}
};

struct ShapeText {
  char text[112];
};

/// "(2, 3)", "(2,)", "()", as Python spells tuples.
ShapeText shape_text(int rank, const std::int64_t* sizes);
inline ShapeText shape_text(const AnyView& view) { return shape_text(view.rank, view.sizes); }

bool has_elements(const AnyView& view);

/// Whether sizes and strides make sense; only a view without elements may have null data.
Status check_view(const char* name, const AnyView& view);
/// Whether a view makes sense and has that shape; -1 stands for any size.
Status check_view(const char* name, const AnyView& view, int rank, const std::int64_t* expected);
template <class... Sizes>
Status check_view(const char* name, const AnyView& view, std::int64_t first, Sizes... rest) {
  const std::int64_t expected[] = {first, static_cast<std::int64_t>(rest)...};
  return check_view(name, view, 1 + static_cast<int>(sizeof...(rest)), expected);
}

/// Checks that each element of an output has a place of its own.
Status check_distinct(const char* name, const ConstTensorView& view);

/// The memory of an argument, from its first element to its last; none without elements.
struct Memory {
  const char* name;
  std::uintptr_t begin, end;
};

/// The memory of a view that check_view has let through.
Memory memory_of(const char* name, const AnyView& view);

inline bool apart(const Memory& a, const Memory& b) { return a.end <= b.begin || b.end <= a.begin; }

/// Checks that every output lies apart from every input and from the outputs before it.
Status check_apart(std::initializer_list<Memory> outputs, std::initializer_list<Memory> inputs);

/// Checks that two views are exactly the same (the stride of a single element means nothing), or apart.
Status check_in_place(const TensorView& output, const ConstTensorView& input, const char* output_name = "output",
                      const char* input_name = "input");

/// Whether all numbers of a view of rank 1 or 2 lie in the range that `expected` describes.
Status check_numbers(const char* name, const IndexView& numbers, std::int64_t least, std::int64_t most, const char* expected);

/// Checks lengths: at least 0, (batch,) or by query (batch, queries).
Status check_lengths(const LengthsView& lengths, std::int64_t batch, std::int64_t queries, bool by_query);

Status check_size(const char* name, std::int64_t size, std::int64_t least, std::int64_t most);

Status check_thread_count(const Threads& threads);
Status check_threads(const Threads& threads);

}  // namespace attend
