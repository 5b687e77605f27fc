// A projection's matrix in a type of low precision, as .safetensors files store it.
#include "io/narrow.h"

#include "kernels/half_floats.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace attend::io {

namespace {

std::int64_t rounded_up(std::int64_t count, std::int64_t step) { return (count + step - 1) / step; }

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
  if (type == WeightType::int4) {
    const std::uint8_t integer = int4_from_float(number, scale);
    return {integer, scale * static_cast<float>(integer - 8)};
  }
  const std::int8_t integer = int8_from_float(number, scale);
  return {static_cast<std::uint8_t>(integer), scale * static_cast<float>(integer)};
}

/// Room for a matrix, with the sizes of all that belongs to it.
NarrowedMatrix room_for(const FileMatrix& matrix, WeightType type, int group, bool transposed) {
  NarrowedMatrix made;
  made.type = type;
  made.rows = matrix.rows;
  made.columns = matrix.columns;
  made.transposed = transposed;
  made.shape[transposed] = matrix.rows;
  made.shape[!transposed] = matrix.columns;
  const bool int4 = type == WeightType::int4, int8 = type == WeightType::int8;
  if (int4) made.groups = rounded_up(matrix.columns, group);
  made.bytes.resize(static_cast<std::size_t>(matrix.rows * (int4 ? rounded_up(matrix.columns, 8) * 4 : matrix.columns * (int8 ? 1 : 2))));
  made.scales.resize(static_cast<std::size_t>(int4 ? matrix.rows * made.groups : int8 ? matrix.rows : 0));
  return made;
}

/// Packs zeros of groups along rows, unless all are 8.
void pack_zeros(const View<const std::uint8_t>& zeros, NarrowedMatrix* made) {
  const std::int64_t rows = made->rows, groups = made->groups;
  const auto zero = [&](std::int64_t n, std::int64_t g) { return zeros.data[n * zeros.strides[0] + g * zeros.strides[1]]; };
  std::vector<unsigned char> packed(static_cast<std::size_t>(rounded_up(rows, 8) * groups * 4));
  bool all_8 = true;
  for (std::int64_t n = 0; n < rows; ++n) {
    for (std::int64_t g = 0; g < groups; ++g) {
      all_8 = all_8 && zero(n, g) == 8;
      unsigned char& place = packed[static_cast<std::size_t>((n / 8 * groups + g) * 4 + n % 8 / 2)];
      place = static_cast<unsigned char>(place | zero(n, g) << n % 2 * 4);
    }
  }
  if (!all_8) made->zeros = std::move(packed);
}

/// Copies rows of contiguous elements.
template <class Element>
void copy_rows(const View<const Element>& from, void* to, std::size_t row_bytes) {
  for (std::int64_t n = 0; n < from.sizes[0]; ++n) {
    std::memcpy(static_cast<unsigned char*>(to) + static_cast<std::size_t>(n) * row_bytes, from.data + n * from.strides[0], static_cast<std::size_t>(from.sizes[1]) * sizeof(Element));
  }
}

}  // namespace

std::size_t NarrowedMatrix::size() const {
  return bytes.size() + scales.size() * sizeof(float) + zeros.size() + (type == WeightType::int4 ? sizeof shape : 0);
}

std::vector<SafetensorsTensor> NarrowedMatrix::tensors(const std::string& name) const {
  const auto view = [](const auto* data, std::size_t size) { return std::string_view(reinterpret_cast<const char*>(data), size); };
  const std::string_view all = view(bytes.data(), bytes.size());
  if (type == WeightType::int4) {
    std::vector<SafetensorsTensor> list = {{name + "_packed", {rows, rounded_up(columns, 8)}, nullptr, "I32", all},
                                           {name + "_scale", {rows, groups}, scales.data(), "F32"},
                                           {name + "_shape", {2}, nullptr, "I64", view(shape, sizeof shape)}};
    if (!zeros.empty()) list.push_back({name + "_zero_point", {rounded_up(rows, 8), groups}, nullptr, "I32", view(zeros.data(), zeros.size())});
    return list;
  }
  const std::vector<std::int64_t> sizes(shape, shape + 2);
  if (type != WeightType::int8) return {{name, sizes, nullptr, type == WeightType::bfloat16 ? "BF16" : "F16", all}};
  return {{name, sizes, nullptr, "I8", all}, {name + "_scale", transposed ? std::vector<std::int64_t>{1, rows} : std::vector<std::int64_t>{rows, 1}, scales.data(), "F32"}};
}

Status narrow(const FileMatrix& matrix, WeightType type, int group, bool transposed, NarrowedMatrix* narrowed) {
  const std::int64_t rows = matrix.rows, columns = matrix.columns;
  NarrowedMatrix made = room_for(matrix, type, group, transposed);
  const std::size_t row_bytes = made.bytes.size() / static_cast<std::size_t>(rows);
  if (matrix.is_stored()) {
    const StoredMatrix& stored = matrix.stored;
    if (type == WeightType::int4) {
      copy_rows(stored.nibbles, made.bytes.data(), row_bytes);
      copy_rows(stored.scales, made.scales.data(), static_cast<std::size_t>(made.groups) * sizeof(float));
      if (!stored.zeros.absent()) pack_zeros(stored.zeros, &made);
    } else if (type == WeightType::int8) {
      copy_rows(stored.integers, made.bytes.data(), row_bytes);
      std::copy(stored.scales.data, stored.scales.data + rows, made.scales.begin());
    } else {
      copy_rows(stored.halves, made.bytes.data(), row_bytes);
    }
    *narrowed = std::move(made);
    return {};
  }
  const bool int4 = type == WeightType::int4;
  const std::size_t element = type == WeightType::int8 ? 1 : 2;
  const std::int64_t step = int4 ? group : columns;  // numbers of a scale
  double all = 0.0, off = 0.0;
  for (std::int64_t at = 0; at < rows * rounded_up(columns, step); ++at) {
    const std::int64_t n = at / rounded_up(columns, step), first = at % rounded_up(columns, step) * step, end = std::min(first + step, columns);
    const auto number = [&](std::int64_t k) { return matrix.floats.data[n * matrix.floats.strides[0] + k * matrix.floats.strides[1]]; };
    const auto wrong = [&](std::int64_t k, const char* what) {
      return Status::error(StatusCode::invalid_argument, "%g at (%lld, %lld), %s", static_cast<double>(number(k)), static_cast<long long>(transposed ? k : n),
                           static_cast<long long>(transposed ? n : k), what);
    };
    float largest = 0.0f;  // of several the first
    for (std::int64_t k = first; k < end; ++k) {
      if (!std::isfinite(number(k))) return wrong(k, "expected finite numbers");
      if (std::abs(number(k)) > std::abs(largest)) largest = number(k);
    }
    const float scale = int4 ? int4_scale(largest) : int8_scale(std::abs(largest));
    if (!made.scales.empty()) made.scales[static_cast<std::size_t>(at)] = scale;
    for (std::int64_t k = first; k < end; ++k) {
      const Rounded to = rounded(type, number(k), scale);
      if (!std::isfinite(to.number)) return wrong(k, "beyond what the type can hold");
      if (int4) {
        unsigned char& place = made.bytes[static_cast<std::size_t>(n) * row_bytes + static_cast<std::size_t>(k / 2)];
        place = static_cast<unsigned char>(place | to.bits << k % 2 * 4);
      } else {
        std::memcpy(made.bytes.data() + static_cast<std::size_t>(transposed ? k * rows + n : n * columns + k) * element, &to.bits, element);
      }
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
