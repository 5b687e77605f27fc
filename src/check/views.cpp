// Checks single arguments.
#include "check/views.h"

#include <cstdio>

namespace attend {

ShapeText shape_text(int rank, const std::int64_t* sizes) {
  ShapeText shape = {"()"};
  int used = 0;
  for (int axis = 0; axis < rank && axis < max_rank; ++axis) {
    used += std::snprintf(shape.text + used, sizeof shape.text - static_cast<std::size_t>(used), "%s%lld",
                          axis == 0 ? "(" : ", ", Number{sizes[axis]});
  }
  if (rank > 0) std::snprintf(shape.text + used, sizeof shape.text - static_cast<std::size_t>(used), rank == 1 ? ",)" : ")");
  return shape;
}

bool has_elements(const AnyView& view) {
  for (int axis = 0; axis < view.rank; ++axis) {
    if (view.sizes[axis] == 0) return false;
  }
  return true;
}

Status check_view(const char* name, const AnyView& view) {
  if (view.rank < 0 || view.rank > max_rank) {
    return Status::error(invalid, "%s: rank %d%s, expected 0 to %d", name, view.rank, view.rank == -1 ? ", of an axis or a range that is not there" : "", max_rank);
  }
  for (int axis = 0; axis < view.rank; ++axis) {  // first, for strides may follow from them
    if (view.sizes[axis] < 0) return Status::error(invalid, "%s: shape %s has a negative size", name, shape_text(view).text);
  }
  std::int64_t last = 0, count = 0, bytes = 0, elements = 1;
  for (int axis = 0; axis < view.rank; ++axis) {
    const std::int64_t size = view.sizes[axis], stride = view.strides[axis];
    if (stride < 0) {
      return Status::error(invalid, "%s: stride %lld of axis %d, expected 0 or more", name, Number{stride}, axis);
    }
    std::int64_t span = 0;
    if (__builtin_mul_overflow(elements, size > 0 ? size : 1, &elements) ||
        __builtin_mul_overflow(size > 0 ? size - 1 : 0, stride, &span) || __builtin_add_overflow(last, span, &last) ||
        __builtin_add_overflow(last, 1, &count) || __builtin_mul_overflow(count, view.element_bytes, &bytes) ||
        __builtin_mul_overflow(elements, view.element_bytes, &bytes)) {
      return Status::error(invalid, "%s: shape %s overflows the address space", name, shape_text(view).text);
    }
  }
  if (view.data == nullptr && view.rank > 0 && has_elements(view)) {
    return Status::error(invalid, "%s: data is null, but its shape is %s", name, shape_text(view).text);
  }
  return Status();
}

Status check_view(const char* name, const AnyView& view, int rank, const std::int64_t* expected) {
  ATTEND_CHECK(check_view(name, view));
  if (view.rank != rank) {
    return Status::error(invalid, "%s: shape %s has %d axes, expected %d", name, shape_text(view).text, view.rank, rank);
  }
  std::int64_t sizes[max_rank];
  bool same = true;
  for (int axis = 0; axis < rank; ++axis) {
    sizes[axis] = expected[axis] < 0 ? view.sizes[axis] : expected[axis];
    same = same && sizes[axis] == view.sizes[axis];
  }
  if (same) return Status();
  return Status::error(invalid, "%s: shape %s, expected %s", name, shape_text(view).text, shape_text(rank, sizes).text);
}

Memory memory_of(const char* name, const AnyView& view) {
  if ((view.data == nullptr && view.rank == 0) || !has_elements(view)) return {name, 0, 0};
  std::int64_t last = 0;
  for (int axis = 0; axis < view.rank; ++axis) last += (view.sizes[axis] - 1) * view.strides[axis];
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(view.data);
  return {name, begin, begin + static_cast<std::uintptr_t>((last + 1) * view.element_bytes)};
}

// Sorted by stride, each axis has to step over all that the smaller ones span.
Status check_distinct(const char* name, const ConstTensorView& view) {
  if (!has_elements(view)) return Status();
  int order[max_rank] = {0, 1, 2, 3};
  for (int i = 1; i < view.rank; ++i) {
    for (int j = i; j > 0 && view.strides[order[j]] < view.strides[order[j - 1]]; --j) {
      const int other = order[j];
      order[j] = order[j - 1];
      order[j - 1] = other;
    }
  }
  std::int64_t spanned = 0;
  for (int i = 0; i < view.rank; ++i) {
    const int axis = order[i];
    if (view.sizes[axis] < 2) continue;
    if (view.strides[axis] <= spanned) {
      return Status::error(invalid, "%s: stride %lld of axis %d makes elements of an output share memory", name, Number{view.strides[axis]},
                           axis);
    }
    spanned += (view.sizes[axis] - 1) * view.strides[axis];
  }
  return Status();
}

Status check_apart(std::initializer_list<Memory> outputs, std::initializer_list<Memory> inputs) {
  for (const Memory* output = outputs.begin(); output != outputs.end(); ++output) {
    if (output->begin == output->end) continue;
    const auto meets = [&](const Memory& other) { return Status::error(invalid, "%s: its memory meets that of %s", output->name, other.name); };
    for (const Memory& input : inputs) {
      if (!apart(*output, input)) return meets(input);
    }
    for (const Memory* before = outputs.begin(); before != output; ++before) {
      if (!apart(*output, *before)) return meets(*before);
    }
  }
  return Status();
}

Status check_numbers(const char* name, const IndexView& numbers, std::int64_t least, std::int64_t most, const char* expected) {
  const std::int64_t columns = numbers.rank == 2 ? numbers.sizes[1] : 1, stride = numbers.rank == 2 ? numbers.strides[1] : 0;
  for (std::int64_t b = 0; b < numbers.sizes[0]; ++b) {
    for (std::int64_t i = 0; i < columns; ++i) {
      const std::int64_t number = numbers.data[b * numbers.strides[0] + i * stride];
      if (number >= least && number <= most) continue;
      char column[32] = "";
      if (numbers.rank == 2) std::snprintf(column, sizeof column, ", %lld", Number{i});
      return Status::error(invalid, "%s: [%lld%s] is %lld, expected %s", name, Number{b}, column, Number{number}, expected);
    }
  }
  return Status();
}

Status check_lengths(const LengthsView& lengths, std::int64_t batch, std::int64_t queries, bool by_query) {
  if (lengths.absent()) return Status();
  ATTEND_CHECK(check_view("valid_lens", lengths));
  if (by_query && lengths.rank != 1 && lengths.rank != 2) {
    return Status::error(invalid, "valid_lens: shape %s has %d axes, expected 1 or 2", shape_text(lengths).text, lengths.rank);
  }
  if (lengths.rank == 2 && by_query) {
    ATTEND_CHECK(check_view("valid_lens", lengths, batch, queries));
  } else {
    ATTEND_CHECK(check_view("valid_lens", lengths, batch));
  }
  return check_numbers("valid_lens", lengths, 0, INT64_MAX, "0 or more");
}

Status check_size(const char* name, std::int64_t size, std::int64_t least, std::int64_t most) {
  if (size >= least && size <= most) return Status();
  return Status::error(invalid, "%s: %lld, expected %lld to %lld", name, Number{size}, Number{least}, Number{most});
}

Status check_thread_count(const Threads& threads) {
  if (threads.count >= 1 && threads.count <= max_threads) return Status();
  return Status::error(invalid, "threads: count %d, expected 1 to %d", threads.count, max_threads);
}

Status check_threads(const Threads& threads) {
  ATTEND_CHECK(check_thread_count(threads));
  if (threads.count > 1 && threads.parallel_for == nullptr) {
    return Status::error(invalid, "threads: count %d needs a parallel_for, which is null", threads.count);
  }
  return Status();
}

}  // namespace attend
