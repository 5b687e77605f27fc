// What the checks of kernels share: one check a kernel, at one explicit shape; `attend verify` draws the shapes, the tests go through them.
//
// A check fills arguments of that shape with random numbers from the seed, calls the kernel, and
// compares every element with plain loops in double precision written from the contract in
// kernels.h; what the contract says is not read is NaN, and what is not written must stay. A stride
// that a shape lacks is the smallest that fits plus its `gap`.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "../argument_memory.h"
#include "../checks.h"
#include "../random.h"
#include "base/arithmetic.h"
#include "data/rows.h"
#include "kernels/kernels.h"
#include "reference/bounds.h"

namespace attend::checks {

using Seed = std::uint64_t;

using reference::Data;
using reference::linear_bound;

inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
inline constexpr double smallest_normal = std::numeric_limits<float>::min();
inline constexpr std::size_t cache_line = 64;

/// What one check finds: its first disagreement.
class Report {
 public:
  struct Size {
    const char* name;
    std::int64_t value;
  };

  Report(const Kernels& kernels, const std::string& kernel, const std::vector<Size>& shape, Seed seed,
         ArgumentMemory& memory)
      : memory_(memory), kernels_(kernels), kernel_(kernel), shape_(shape), seed_(seed) {
    memory.clear();
  }

  /// An element of an output: within the tolerance, or the same infinity, or both NaN.
  void close(const char* array, std::int64_t i, std::int64_t j, float* element, double expected, double tolerance) {
    const double got = *element;
    const bool same = std::isnan(expected) ? std::isnan(got) : got == expected || std::abs(got - expected) <= tolerance;
    if (!same || ArgumentMemory::untouched(element)) fail(array, i, j, got, expected);
    ArgumentMemory::restore(element);
  }
  void equal(const char* array, std::int64_t i, std::int64_t j, float* element, double expected) {
    close(array, i, j, element, expected, 0.0);
  }
  /// The same number, of the same sign even where it is 0, or both NaN.
  void identical(const char* array, std::int64_t i, std::int64_t j, float* element, double expected) {
    if (ArgumentMemory::untouched(element)) fail(array, i, j, *element, expected);
    identical(array, i, j, static_cast<double>(*element), expected);
    ArgumentMemory::restore(element);
  }
  /// Of an element that is no float; its memory is to be restored when all were looked at.
  void identical(const char* array, std::int64_t i, std::int64_t j, double got, double expected) {
    const bool same = std::isnan(expected) ? std::isnan(got) : got == expected && std::signbit(got) == std::signbit(expected);
    if (!same) fail(array, i, j, got, expected);
  }

  void returned(bool got, bool expected) {
    if (got != expected) fail(got ? "returned true" : "returned false");
  }

  /// To be asked when all that the kernel may write was looked at or restored.
  Result result() {
    const ArgumentMemory::Damage damage = memory_.damage();
    if (damage.name) {
      char text[128];
      std::snprintf(text, sizeof(text), "wrote %s[%lld], which it must not", damage.name,
                    static_cast<long long>(damage.index));
      fail(text);
    }
    return result_;
  }

  void fail(const char* text) {
    if (!result_.ok) return;
    result_.ok = false;
    char sizes[160] = {};
    std::size_t length = 0;
    for (const Size& size : shape_) {
      if (length >= sizeof(sizes)) break;
      length += static_cast<std::size_t>(std::snprintf(sizes + length, sizeof(sizes) - length, " %s %lld", size.name,
                                                       static_cast<long long>(size.value)));
    }
    const int written = std::snprintf(result_.message, sizeof(result_.message), "%s %s: %s;%s, data seed %llu",
                                      isa_name(kernels_.isa), kernel_.c_str(), text, sizes,
                                      static_cast<unsigned long long>(seed_));
    static_cast<void>(written);  // cut where it does not fit
  }

 private:
  void fail(const char* array, std::int64_t i, std::int64_t j, double got, double expected) {
    char text[128];
    std::snprintf(text, sizeof(text), "%s[%lld][%lld] is %.9g, not %.9g", array, static_cast<long long>(i),
                  static_cast<long long>(j), got, expected);
    fail(text);
  }

  ArgumentMemory& memory_;
  const Kernels& kernels_;
  std::string kernel_;
  std::vector<Size> shape_;
  Seed seed_;
  Result result_;
};

/// An array with strides; what lies between its elements stays poison.
struct Matrix {
  float* data;
  std::int64_t row_stride, stride;
  float* at(std::int64_t r, std::int64_t c) const { return data + r * row_stride + c * stride; }
};

inline std::int64_t extent(std::int64_t rows, std::int64_t columns, std::int64_t row_stride, std::int64_t stride) {
  return rows == 0 || columns == 0 ? 0 : (rows - 1) * row_stride + (columns - 1) * stride + 1;
}

inline Matrix input_matrix(ArgumentMemory& memory, Random& random, const char* name, std::int64_t rows, std::int64_t columns,
                    std::int64_t row_stride, std::int64_t stride, std::size_t alignment = sizeof(float)) {
  const std::int64_t count = extent(rows, columns, row_stride, stride);
  const Matrix matrix = {memory.input<float>(name, count, alignment), row_stride, stride};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) *matrix.at(r, c) = random.value();
  }
  return matrix;
}

inline Matrix output_matrix(ArgumentMemory& memory, const char* name, std::int64_t rows, std::int64_t columns,
                     std::int64_t row_stride, std::int64_t stride, std::size_t alignment = sizeof(float)) {
  return {memory.output(name, extent(rows, columns, row_stride, stride), alignment), row_stride, stride};
}

/// Where each row of an input is, for kernels that may be told by a list; two times in three none, and its rows lie a stride apart.
inline std::vector<const float*> draw_places(Random& random, const Matrix& input, std::int64_t rows) {
  std::vector<const float*> places;
  const bool listed = random.one_in(3);
  for (std::int64_t r = 0; r < rows && listed; ++r) places.push_back(input.at(r, 0));
  return places;
}

/// Mostly around the tile's size and its double, sometimes far above.
inline std::int64_t draw_size(Random& random, std::int64_t least, std::int64_t tile) {
  return random.one_in(16) ? random.between(least, 150) : random.between(least, 2 * tile + 1);
}
/// The width of a head's row: now and then up to the widest.
inline std::int64_t draw_width(Random& random, std::int64_t least, std::int64_t tile) {
  return random.one_in(24) ? random.between(least, largest_head) : draw_size(random, least, tile);
}

/// The stride of an input's elements: 0 repeats the element.
inline std::int64_t draw_stride(Random& random, std::int64_t least) { return random.one_in(2) ? 1 : random.between(least, 3); }

/// What is added to the smallest row stride; for an input sometimes so little that all rows are one.
inline std::int64_t draw_gap(Random& random) { return random.one_in(2) ? 0 : random.between(1, 9); }
inline std::int64_t draw_input_gap(Random& random, std::int64_t row) { return random.one_in(16) ? -row : draw_gap(random); }

inline std::int64_t draw_tile(const Kernels& kernels, Random& random) {
  return random.one_in(2) ? kernels.wide_tile : random.one_in(2) ? kernels.middle_tile : kernels.narrow_tile;
}

}  // namespace attend::checks
