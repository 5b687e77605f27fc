// Array: a shape with values in double precision, what every reference function takes and gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend.hpp"

namespace attend {
namespace reference {

using Shape = std::vector<std::int64_t>;

/// The product of the sizes; 1 for no axes.
inline std::int64_t count_of(const Shape& shape) {
  std::int64_t count = 1;
  for (std::int64_t size : shape) count *= size;
  return count;
}

/// Throws std::invalid_argument: the reference is for tests, where a wrong shape is a wrong test.
inline void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("attend::reference: ") + what);
}

/// A tensor of doubles, row-major. `Array{}` (no axes, no values) stands for "absent".
///
/// A view of floats (or bytes, as a bool mask) converts to one by copying: float32 is exact in
/// double, and absent views give absent arrays. So every function that takes an Array takes a view.
struct Array {
  Shape shape;
  std::vector<double> values;

  Array() = default;

  Array(Shape sizes, std::vector<double> numbers)
      : shape(std::move(sizes)), values(std::move(numbers)) {
    require(count_of(shape) == static_cast<std::int64_t>(values.size()),
            "as many values as the shape says");
  }

  template <class Element>
  Array(const View<Element>& view) {
    if (view.absent()) return;
    shape.assign(view.sizes, view.sizes + view.rank);
    const std::int64_t count = count_of(shape);
    values.reserve(static_cast<std::size_t>(count));
    for (std::int64_t flat = 0; flat < count; ++flat) {
      std::int64_t rest = flat, element = 0;
      for (int axis = view.rank - 1; axis >= 0; --axis) {
        element += rest % view.sizes[axis] * view.strides[axis];
        rest /= view.sizes[axis];
      }
      values.push_back(static_cast<double>(view.data[element]));
    }
  }

  static Array filled(Shape sizes, double value) {
    const std::size_t count = static_cast<std::size_t>(count_of(sizes));
    return Array(std::move(sizes), std::vector<double>(count, value));
  }
  static Array zeros(Shape sizes) { return filled(std::move(sizes), 0.0); }

  bool absent() const { return shape.empty(); }
  int rank() const { return static_cast<int>(shape.size()); }
  std::int64_t size(int axis) const { return shape[static_cast<std::size_t>(axis)]; }
  std::int64_t count() const { return static_cast<std::int64_t>(values.size()); }

  /// An array of these values under another shape of as many elements.
  Array reshaped(Shape sizes) const { return Array(std::move(sizes), values); }

  /// One element: at(b, h, i, j), as many indices as axes.
  template <class... Indices>
  double& at(Indices... indices) {
    return values[flat_index(indices...)];
  }
  template <class... Indices>
  const double& at(Indices... indices) const {
    return values[flat_index(indices...)];
  }

  /// The last axis at the other indices: row(b, h, i)[j].
  template <class... Indices>
  double* row(Indices... indices) {
    return values.data() + flat_index(indices..., 0);
  }
  template <class... Indices>
  const double* row(Indices... indices) const {
    return values.data() + flat_index(indices..., 0);
  }

 private:
  template <class... Indices>
  std::size_t flat_index(Indices... indices) const {
    const std::int64_t list[] = {static_cast<std::int64_t>(indices)...};
    std::int64_t flat = 0;
    for (std::size_t axis = 0; axis < sizeof...(indices); ++axis) {
      flat = flat * shape[axis] + list[axis];
    }
    return static_cast<std::size_t>(flat);
  }
};

}  // namespace reference
}  // namespace attend
