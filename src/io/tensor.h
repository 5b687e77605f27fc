// A tensor read from a file: a view, with the memory that it needs of its own.
#pragma once

#include <attend/attend.hpp>
#include <cstdint>
#include <vector>

namespace attend::io {

/// The contiguous view of a shape of at most max_rank axes.
template <class Element>
View<Element> contiguous_view(Element* data, const std::vector<std::int64_t>& shape) noexcept {
  View<Element> view;
  view.data = data;
  view.rank = static_cast<int>(shape.size());
  std::int64_t stride = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    view.sizes[axis] = shape[static_cast<std::size_t>(axis)];
    view.strides[axis] = stride;
    stride *= view.sizes[axis];
  }
  return view;
}

/// A contiguous view into `owned`, or into the object that it was read from, which then must
/// outlive it. Moving it leaves the view valid. `view.data` is never null once it was read.
template <class Element>
struct Tensor {
  View<const Element> view;
  std::vector<Element> owned;

  Tensor() = default;
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;

  /// Makes it own `count` elements of that shape, all zero, and gives the memory.
  Element* own(const std::vector<std::int64_t>& shape, std::size_t count) {
    owned.reserve(count > 0 ? count : 1);
    owned.assign(count, Element{});
    view = contiguous_view<const Element>(owned.data(), shape);
    return owned.data();
  }
};

using FloatTensor = Tensor<float>;
using Int64Tensor = Tensor<std::int64_t>;

}  // namespace attend::io
