// The checks of the kernels, each against plain double loops.
#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>

#include "dispatch.h"
#include "kernel_checks.h"
#include "reference/bounds.h"

namespace attend::checks {

namespace {

using reference::Data;
using reference::linear_bound;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t cache_line = 64;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {  // splitmix64
    std::uint64_t bits = state_ += 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return bits ^ (bits >> 31);
  }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool one_in(std::int64_t count) { return between(1, count) == 1; }
  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(next() >> 40) * 0x1p-24f;
  }
  /// Of magnitude 1/4 to 1, so that every term of a sum is far larger than the sum's error.
  float value() { return one_in(2) ? uniform(0.25f, 1.0f) : -uniform(0.25f, 1.0f); }

 private:
  std::uint64_t state_;
};

/// What a check found: its first disagreement.
class Report {
 public:
  __attribute__((format(printf, 6, 7)))
  Report(const Kernels& kernels, const char* kernel, std::uint64_t seed, ArgumentMemory& memory, int, const char* shape, ...)
      : memory_(memory) {
    memory.clear();
    char sizes[128];
    va_list arguments;
    va_start(arguments, shape);
    std::vsnprintf(sizes, sizeof(sizes), shape, arguments);
    va_end(arguments);
    std::snprintf(what_, sizeof(what_), "%s %s, %s, seed %llu", isa_name(kernels.isa), kernel, sizes,
                  static_cast<unsigned long long>(seed));
  }

  /// An element of an output: within the tolerance, or the same infinity, or both NaN.
  void close(const char* array, std::int64_t i, std::int64_t j, float* element, double expected, double tolerance) {
    const double got = *element;
    const bool same = std::isnan(expected) ? std::isnan(got) : got == expected || std::abs(got - expected) <= tolerance;
    if (!same || ArgumentMemory::untouched(element)) fail("%s[%lld][%lld] is %.9g, not %.9g", array, i, j, got, expected);
    ArgumentMemory::restore(element);
  }
  void equal(const char* array, std::int64_t i, std::int64_t j, float* element, double expected) {
    close(array, i, j, element, expected, 0.0);
  }
  void returned(bool got, bool expected) {
    if (got != expected) fail("returned %s", got ? "true" : "false");
  }

  /// The result, once every element that the kernel had to write was looked at.
  Result result() {
    const ArgumentMemory::Damage damage = memory_.damage();
    if (damage.name) fail("wrote %s[%lld], which it must not", damage.name, damage.index);
    return result_;
  }

 private:
  template <class... Values>
  void fail(const char* format, Values... values) {
    if (!result_.ok) return;
    result_.ok = false;
    const int length = std::snprintf(result_.message, sizeof(result_.message), "%s: ", what_);
    char* end = result_.message + length;
    std::snprintf(end, sizeof(result_.message) - static_cast<std::size_t>(length), format, values...);
  }

  ArgumentMemory& memory_;
  char what_[180];
  Result result_;
};

/// Numbers of an input, random where they are read and poison in between.
struct Matrix {
  float* data;
  std::int64_t row_stride, stride;
  float* at(std::int64_t r, std::int64_t c) const { return data + r * row_stride + c * stride; }
  float* row(std::int64_t r) const { return at(r, 0); }
};

std::int64_t extent(std::int64_t rows, std::int64_t columns, std::int64_t row_stride, std::int64_t stride) {
  return rows == 0 || columns == 0 ? 0 : (rows - 1) * row_stride + (columns - 1) * stride + 1;
}

Matrix input_matrix(ArgumentMemory& memory, Random& random, const char* name, std::int64_t rows, std::int64_t columns,
                    std::int64_t row_stride, std::int64_t stride, std::size_t alignment = sizeof(float)) {
  const std::int64_t count = extent(rows, columns, row_stride, stride);
  const Matrix matrix = {memory.input<float>(name, count, alignment), row_stride, stride};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) *matrix.at(r, c) = random.value();
  }
  return matrix;
}

Matrix output_matrix(ArgumentMemory& memory, const char* name, std::int64_t rows, std::int64_t columns,
                     std::int64_t row_stride, std::int64_t stride, std::size_t alignment = sizeof(float)) {
  return {memory.output(name, extent(rows, columns, row_stride, stride), alignment), row_stride, stride};
}

std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

double exp2_error(Isa isa) { return isa == Isa::avx512 ? 1.6e-7 : 2.2e-7; }

Result check_pack(const Kernels& kernels, const PackShape& shape, std::uint64_t seed, ArgumentMemory& memory) {
  Report report(kernels, "pack", seed, memory, "depth %td columns %td width %td strides %td %td", shape.depth,
                shape.columns, shape.width, shape.k_stride, shape.n_stride);
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "source", shape.depth, shape.columns, shape.k_stride, shape.n_stride);
  const Matrix panel = output_matrix(memory, "panel", shape.depth, shape.width, shape.width, 1);
  const PackArguments arguments = {source.data, shape.k_stride, shape.n_stride, shape.depth,
                                   shape.columns, shape.width,   panel.data};
  kernels.pack(&arguments);
  for (std::int64_t k = 0; k < shape.depth; ++k) {
    for (std::int64_t n = 0; n < shape.width; ++n) {
      report.equal("panel", k, n, panel.at(k, n), n < shape.columns ? *source.at(k, n) : 0.0);
    }
  }
  return report.result();
}
