// Matrices of integers of 4 bits in .safetensors files, as compressed-tensors packs them ("pack-quantized").
#include "io/packed_matrix.h"

#include "io/shape.h"
#include "io/text.h"

#include <cstring>

namespace attend::io {

namespace {

using Shape = std::vector<std::int64_t>;

Status error(const TensorFile& file, const std::string& name, const std::string& what) { return tensor_error(file.path(), name, what); }

Status expect(const TensorFile& file, const TensorEntry& entry, const char* dtype, const Shape& shape, const char* what) {
  if (entry.dtype == dtype && entry.shape == shape) return {};
  return error(file, entry.name, entry.dtype + " of shape " + shape_text(entry.shape) + ", expected " + dtype + ' ' + shape_text(shape) + ": " + what);
}

std::int64_t rounded_up(std::int64_t count, std::int64_t step) { return (count + step - 1) / step; }

/// (rows, groups) of (rows, count): a copy, in which the one of a row that has no more stands for all of its groups.
template <class Element>
Tensor<Element> by_groups(const Element* from, std::int64_t rows, std::int64_t count, std::int64_t groups) {
  Tensor<Element> all;
  Element* to = all.own({rows, groups}, static_cast<std::size_t>(rows * groups));
  for (std::int64_t n = 0; n < rows; ++n) {
    for (std::int64_t g = 0; g < groups; ++g) *to++ = from[n * count + (count == 1 ? 0 : g)];
  }
  return all;
}

}  // namespace

Status read_packed_shape(const TensorFile& file, const std::string& name, Shape* shape) {
  const TensorEntry* entry = file.find(name + "_shape");
  if (entry == nullptr) return error(file, name + "_packed", "integers of 4 bits without " + quoted(name + "_shape") + ", which says how many rows and columns they are");
  const Status status = expect(file, *entry, "I64", {2}, "rows and columns");
  if (!status.ok()) return status;
  shape->resize(2);
  std::memcpy(shape->data(), file.bytes(*entry), 2 * sizeof(std::int64_t));
  for (const std::int64_t size : *shape) {
    if (size < 0 || size >= std::int64_t{1} << 32) return error(file, entry->name, "a size of " + std::to_string(size));
  }
  return {};
}

Status PackedMatrix::find(const TensorFile& file, const std::string& name, PackedMatrix* found) {
  Shape shape;
  Status status = read_packed_shape(file, name, &shape);
  if (!status.ok()) return status;
  PackedMatrix matrix = {file.find(name + "_packed"), file.find(name + "_scale"), file.find(name + "_zero_point"), shape[0], shape[1], 0};
  status = expect(file, *matrix.packed, "I32", {matrix.rows, rounded_up(matrix.columns, 8)}, "eight integers of 4 bits in each of a row");
  if (!status.ok()) return status;
  if (file.find(name + "_g_idx") != nullptr) return error(file, name + "_g_idx", "columns in groups of an order of their own, which attend does not have");
  if (matrix.scales == nullptr) return error(file, matrix.packed->name, "integers without " + quoted(name + "_scale") + ", a scale for each group of a row");
  const Shape& scales = matrix.scales->shape;
  matrix.groups = scales.size() == 2 ? scales[1] : 0;
  if (scales.size() != 2 || scales[0] != matrix.rows || matrix.usable_groups() == 0) {
    return error(file, matrix.scales->name, "shape " + shape_text(scales) + ", expected " + shape_text({matrix.rows, rounded_up(matrix.columns, 32)}) +
                                                ", or as many as groups of 64 or 128 are, or one: a scale for each group of a row of " + std::to_string(matrix.columns));
  }
  if (matrix.zeros != nullptr) status = expect(file, *matrix.zeros, "I32", {rounded_up(matrix.rows, 8), matrix.groups}, "those of eight rows in each");
  if (status.ok()) *found = matrix;
  return status;
}

int PackedMatrix::usable_groups() const {
  int sum = 0;
  for (const int group : {32, 64, 128}) sum += groups == 1 || rounded_up(columns, group) == groups ? group : 0;
  return sum;
}

Status PackedMatrix::read(const TensorFile& file, int group, LayerWeights* layer, StoredMatrix* stored) const {
  const std::int64_t all = rounded_up(columns, group);
  FloatTensor read;
  const Status status = file.read(scales->name, &read);
  if (!status.ok()) return status;
  layer->tensors.push_back(by_groups(read.view.data, rows, groups, all));
  stored->scales = layer->tensors.back().view;
  if (zeros != nullptr) {
    std::vector<std::uint8_t> each(static_cast<std::size_t>(rows * groups));
    const unsigned char* words = file.bytes(*zeros);
    for (std::int64_t n = 0; n < rows; ++n) {
      for (std::int64_t g = 0; g < groups; ++g) each[static_cast<std::size_t>(n * groups + g)] = words[(n / 8 * groups + g) * 4 + n % 8 / 2] >> n % 2 * 4 & 15;
    }
    layer->bytes.push_back(by_groups(each.data(), rows, groups, all));
    stored->zeros = layer->bytes.back().view;
  }
  stored->nibbles = View<const std::uint8_t>(file.bytes(*packed), rows, (columns + 1) / 2);
  stored->nibbles.strides[0] = 4 * packed->shape[1];
  return {};
}

}  // namespace attend::io
