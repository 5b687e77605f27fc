// Tensors for tests and checks: in memory of their own, at any strides, which show what is read or written beside their elements.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend.hpp"
#include "random.h"
#include "reference/reference.h"

namespace attend::checks {

using reference::Shape;

/// A tensor with memory of its own. The gaps between its elements, a margin on both sides, and at first
/// the elements too, hold a canary: a NaN of its own bits, so that reading it shows as well as writing it.
class Tensor {
 public:
  TensorView view;

  /// An absent tensor.
  Tensor() = default;
  /// A contiguous tensor.
  explicit Tensor(const Shape& shape) { lay_out(shape, nullptr); }
  /// A tensor whose axes lie in any order in memory, with gaps, at any multiple of an element.
  Tensor(const Shape& shape, Random& layout) { lay_out(shape, &layout); }
  /// A tensor at such strides, of random numbers.
  static Tensor random(Random& random, const Shape& shape, float largest = 1.0f) {
    Tensor tensor(shape, random);
    for (std::int64_t n = 0; n < tensor.count(); ++n) tensor[n] = random.number(largest);
    return tensor;
  }

  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&&) = default;

  std::int64_t count() const { return static_cast<std::int64_t>(places_.size()); }
  /// The n-th element, row-major.
  float& operator[](std::int64_t n) { return memory_[places_[static_cast<std::size_t>(n)]]; }
  float operator[](std::int64_t n) const { return memory_[places_[static_cast<std::size_t>(n)]]; }
  template <class... Indices>
  float& at(Indices... indices) { return (*this)[flat_index(indices...)]; }
  template <class... Indices>
  float at(Indices... indices) const { return (*this)[flat_index(indices...)]; }

  Tensor& fill(float value) {
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = value;
    return *this;
  }
  Tensor& fill(Random& random, float scale = 1.0f) {
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = scale * random.number();
    return *this;
  }
  Tensor& fill(std::initializer_list<float> values) {
    require_count(static_cast<std::int64_t>(values.size()));
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = values.begin()[n];
    return *this;
  }
  Tensor& copy(const Tensor& other) {
    require_count(other.count());
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = other[n];
    return *this;
  }

  Shape shape() const { return Shape(view.sizes, view.sizes + view.rank); }
  reference::Array array() const { return reference::Array(view); }

  /// Whether nobody has written an element or a byte around them.
  bool untouched() const { return canaries_from(false); }
  /// Whether nobody has written a byte but the elements.
  bool gaps_untouched() const { return canaries_from(true); }

 private:
  void require_count(std::int64_t expected) const {
    if (expected != count()) throw std::invalid_argument("Tensor: " + std::to_string(expected) + " values for " + std::to_string(count()) + " elements");
  }

  static constexpr std::size_t margin = 80;  // floats: more than any ISA's vector or tile row
  static bool is_canary(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits == 0x7fc0beadu;
  }

  template <class... Indices>
  std::int64_t flat_index(Indices... indices) const {
    const std::int64_t list[] = {static_cast<std::int64_t>(indices)...};
    std::int64_t flat = 0;
    for (std::size_t axis = 0; axis < sizeof...(indices); ++axis) flat = flat * view.sizes[axis] + list[axis];
    return flat;
  }

  void lay_out(const Shape& shape, Random* layout) {
    view.rank = static_cast<int>(shape.size());
    int order[max_rank] = {0, 1, 2, 3};  // innermost last
    std::int64_t stride = layout ? layout->one_of<std::int64_t>({1, 1, 2, 3}) : 1;
    if (layout && layout->one_in(2)) std::swap(order[layout->between(0, view.rank - 1)], order[layout->between(0, view.rank - 1)]);
    for (int place = view.rank - 1; place >= 0; --place) {
      const std::size_t axis = static_cast<std::size_t>(order[place]);
      view.sizes[axis] = shape[axis];
      view.strides[axis] = stride;
      stride *= shape[axis] > 0 ? shape[axis] : 1;
      if (layout) stride += layout->one_of<std::int64_t>({0, 0, 1, 5});
    }
    const std::uint32_t canary = 0x7fc0beadu;
    float value;
    std::memcpy(&value, &canary, sizeof value);
    const std::size_t first = margin + static_cast<std::size_t>(layout ? layout->between(0, 3) : 0);
    memory_.assign(static_cast<std::size_t>(stride) + first + margin, value);
    view.data = memory_.data() + first;
    const std::int64_t elements = reference::count_of(shape);
    for (std::int64_t n = 0; n < elements; ++n) {
      std::int64_t rest = n, place = 0;
      for (int axis = view.rank - 1; axis >= 0; --axis) {
        place += rest % view.sizes[axis] * view.strides[axis];
        rest /= view.sizes[axis];
      }
      places_.push_back(first + static_cast<std::size_t>(place));
    }
  }

  bool canaries_from(bool gaps_alone) const {
    std::vector<bool> element(memory_.size(), false);
    if (gaps_alone) {
      for (std::size_t place : places_) element[place] = true;
    }
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      if (!element[i] && !is_canary(memory_[i])) return false;
    }
    return true;
  }

  std::vector<float> memory_;
  std::vector<std::size_t> places_;
};

/// Elements [first, first + count) of an axis.
template <class Element>
View<Element> part_of(View<Element> view, int axis, std::int64_t first, std::int64_t count) {
  return view.slice(axis, first, count);
}

}  // namespace attend::checks
