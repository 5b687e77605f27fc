// A matrix of floats in a type of low precision, as files store it.
#include "io/narrow.h"

#include "kernels/half_floats.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace attend::io {

namespace {

// An element of the file, and the number that it stands for.
struct Rounded {
  std::uint16_t bits;
  float number;
};

Rounded rounded(WeightType type, float number, float scale) {
  if (type == WeightType::bfloat16) {
    const std::uint16_t bits = bfloat16_from_float(number);
    return {bits, float_from_bfloat16(bits)};
  }
  if (type == WeightType::float16) {
    const std::uint16_t bits = float16_from_float(number);
    return {bits, float_from_float16(bits)};
  }
  const std::int8_t integer = int8_from_float(number, scale);
  return {static_cast<std::uint8_t>(integer), scale * static_cast<float>(integer)};
}

}  // namespace

Status narrow(const ConstTensorView& matrix, WeightType type, bool transposed, NarrowedMatrix* narrowed) {
  const std::int64_t rows = matrix.sizes[0], columns = matrix.sizes[1];
  const std::size_t element = type == WeightType::int8 ? 1 : 2;
  NarrowedMatrix made;
  made.bytes.resize(static_cast<std::size_t>(rows * columns) * element);
  double all = 0.0, off = 0.0;
  for (std::int64_t n = 0; n < rows; ++n) {
    const auto number = [&](std::int64_t k) { return matrix.data[n * matrix.strides[0] + k * matrix.strides[1]]; };
    const auto wrong = [&](std::int64_t k, const char* what) {
      return Status::error(StatusCode::invalid_argument, "%g at (%lld, %lld), %s", static_cast<double>(number(k)), static_cast<long long>(transposed ? k : n),
                           static_cast<long long>(transposed ? n : k), what);
    };
    float largest = 0.0f;
    for (std::int64_t k = 0; k < columns; ++k) {
      if (!std::isfinite(number(k))) return wrong(k, "expected finite numbers");
      largest = std::max(largest, std::abs(number(k)));
    }
    const float scale = int8_scale(largest);
    if (type == WeightType::int8) made.scales.push_back(scale);
    for (std::int64_t k = 0; k < columns; ++k) {
      const Rounded to = rounded(type, number(k), scale);
      if (!std::isfinite(to.number)) return wrong(k, "beyond what the type can hold");
      std::memcpy(made.bytes.data() + static_cast<std::size_t>(transposed ? k * rows + n : n * columns + k) * element, &to.bits, element);
      const double exact = static_cast<double>(number(k)), difference = static_cast<double>(to.number) - exact;
      all += exact * exact;
      off += difference * difference;
    }
  }
  made.error = off > 0.0 ? std::sqrt(off / all) : 0.0;
  *narrowed = std::move(made);
  return {};
}

}  // namespace attend::io
