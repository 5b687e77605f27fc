// A projection's matrix in a file: its numbers as floats, or as the file stores them.
#include "io/file_matrix.h"

#include "io/blocks.h"
#include "io/shape.h"
#include "io/text.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace attend::io {

namespace {

using Shape = std::vector<std::int64_t>;

Status error(const TensorFile& file, const std::string& name, const std::string& what) { return tensor_error(file.path(), name, what); }

template <class Element>
View<Element> turned(View<Element> view, bool transposed) {
  if (!transposed) return view;
  std::swap(view.sizes[0], view.sizes[1]);
  std::swap(view.strides[0], view.strides[1]);
  return view;
}

/// A view of the file's own bytes where they are aligned, else of a copy.
template <class Element>
View<const Element> elements_of(const TensorFile& file, const TensorEntry& entry, std::vector<Tensor<Element>>* kept) {
  const unsigned char* bytes = file.bytes(entry);
  if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(Element) == 0) return contiguous_view(reinterpret_cast<const Element*>(bytes), entry.shape);
  Tensor<Element> copy;
  const std::size_t size = entry.end - entry.begin;
  std::memcpy(copy.own(entry.shape, size / sizeof(Element)), bytes, size);
  kept->push_back(std::move(copy));
  return kept->back().view;
}

/// The scale of each of `rows` channels, as (rows,).
Status read_scales(const TensorFile& file, const std::string& name, std::int64_t rows, bool transposed, LayerWeights* layer, ConstTensorView* scales) {
  const std::string scale_name = name + "_scale";
  const TensorEntry* entry = file.find(scale_name);
  if (entry == nullptr) return error(file, name, "integers without " + quoted(scale_name) + ", a scale for each of its " + std::to_string(rows) + " channels");
  const Shape flat = {rows}, broadcast = transposed ? Shape{1, rows} : Shape{rows, 1};
  if (entry->shape != flat && entry->shape != broadcast) {
    return error(file, scale_name, "shape " + shape_text(entry->shape) + ", expected " + shape_text(flat) + " or " + shape_text(broadcast) + ": a scale for each output channel");
  }
  FloatTensor read;
  const Status status = file.read(scale_name, &read);
  if (!status.ok()) return status;
  read.view = contiguous_view(read.view.data, flat);
  *scales = read.view;
  layer->tensors.push_back(std::move(read));
  return {};
}

/// Refuses zero points that are not zero.
Status check_zero_points(const TensorFile& file, const std::string& name) {
  const TensorEntry* entry = file.find(name);
  if (entry == nullptr) return {};
  const unsigned char *begin = file.bytes(*entry), *end = begin + (entry->end - entry->begin);
  const bool zeros = std::all_of(begin, end, [](unsigned char byte) { return byte == 0; });
  return zeros ? Status() : error(file, name, "not all zeros, but attend's integers of 8 bits have no zero point");
}

/// The numbers of integers as floats.
FloatTensor dequantised(const StoredMatrix& stored) {
  const auto& integers = stored.integers;
  const std::int64_t rows = integers.sizes[0], columns = integers.sizes[1];
  FloatTensor floats;
  float* to = floats.own({rows, columns}, static_cast<std::size_t>(rows * columns));
  for (std::int64_t n = 0; n < rows; ++n) {
    const std::int8_t* from = integers.data + n * integers.strides[0];
    for (std::int64_t k = 0; k < columns; ++k) *to++ = stored.scales.data[n] * static_cast<float>(from[k * integers.strides[1]]);
  }
  return floats;
}

}  // namespace

FileMatrix FileMatrix::slice(std::int64_t first, std::int64_t count) const {
  FileMatrix part = *this;
  if (!floats.absent()) part.floats = floats.slice(0, first, count);
  if (!stored.halves.absent()) part.stored.halves = stored.halves.slice(0, first, count);
  if (!stored.integers.absent()) part.stored.integers = stored.integers.slice(0, first, count);
  if (!stored.scales.absent()) part.stored.scales = stored.scales.slice(0, first, count);
  return part;
}

std::int64_t FileMatrix::size(int axis) const {
  return !floats.absent() ? floats.sizes[axis] : !stored.halves.absent() ? stored.halves.sizes[axis] : stored.integers.sizes[axis];
}

bool weight_type_of(const std::string& dtype, WeightType* type) noexcept {
  constexpr std::pair<std::string_view, WeightType> types[] = {
      {"F32", WeightType::float32}, {"F64", WeightType::float32}, {"F16", WeightType::float16}, {"BF16", WeightType::bfloat16}, {"I8", WeightType::int8}};
  for (const auto& [text, weight_type] : types) {
    if (dtype != text) continue;
    *type = weight_type;
    return true;
  }
  if (find_block_type(dtype) == nullptr) return false;
  *type = WeightType::float32;
  return true;
}

Status read_matrix(const TensorFile& file, const std::string& name, bool transposed, WeightType wanted, LayerWeights* layer,
                   std::vector<std::string>* used, FileMatrix* matrix) {
  const TensorEntry& entry = *file.find(name);
  WeightType type;
  if (!weight_type_of(entry.dtype, &type)) return error(file, name, "dtype " + quoted(entry.dtype) + ", expected F32, F16, BF16, F64" + (file.model().architecture.empty() ? ", or I8 with scales" : ", Q8_0, Q4_0 or Q4_1"));
  FileMatrix read;
  if (type == WeightType::int8) {
    const std::string zero_points = name + "_zero_point";
    const std::int64_t rows = entry.shape[transposed ? 1 : 0];
    Status status = check_zero_points(file, zero_points);
    if (status.ok()) status = read_scales(file, name, rows, transposed, layer, &read.stored.scales);
    if (!status.ok()) return status;
    used->push_back(name + "_scale");
    used->push_back(zero_points);
    read.stored.integers = turned(elements_of(file, entry, &layer->integers), transposed);
    if (type != wanted) {
      layer->tensors.push_back(dequantised(read.stored));
      read = {layer->tensors.back().view, {}};
    }
  } else if (type == wanted && type != WeightType::float32) {
    read.stored.halves = turned(elements_of(file, entry, &layer->halves), transposed);
  } else {
    FloatTensor floats;
    const Status status = file.read(name, &floats);
    if (!status.ok()) return status;
    read.floats = turned(floats.view, transposed);
    layer->tensors.push_back(std::move(floats));
  }
  *matrix = read;
  return {};
}

}  // namespace attend::io
