// A projection's matrix in a file: its numbers as floats, or as the file stores them.
#include "io/file_matrix.h"

#include "io/blocks.h"
#include "io/packed_matrix.h"
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

/// Whether all of a tensor's blocks are integers of 4 bits; writes them if there is where.
bool narrow_blocks(const TensorFile& file, const TensorEntry& entry, LayerWeights* layer, StoredMatrix* stored) {
  const BlockType* type = find_block_type(entry.dtype);
  if (type == nullptr || type->narrow == nullptr || entry.shape.size() != 2) return false;
  const unsigned char* bytes = file.bytes(entry);
  const std::int64_t rows = entry.shape[0], columns = entry.shape[1], blocks = columns / type->elements;
  const std::size_t count = static_cast<std::size_t>(rows * blocks);
  FloatTensor scales;
  Tensor<std::uint8_t> nibbles, zeros;
  if (layer != nullptr) {
    scales.own({rows, blocks}, count);
    zeros.own({rows, blocks}, count);
    nibbles.own({rows, columns / 2}, count * sizeof Int4Block().nibbles);
  }
  for (std::size_t n = 0; n < count; ++n) {
    Int4Block block;
    if (!type->narrow(bytes + n * type->bytes, &block)) return false;
    if (layer == nullptr) continue;
    scales.owned[n] = block.scale;
    zeros.owned[n] = block.zero;
    std::memcpy(nibbles.owned.data() + n * sizeof block.nibbles, block.nibbles, sizeof block.nibbles);
  }
  if (layer == nullptr) return true;
  *stored = {};
  stored->scales = scales.view;
  stored->nibbles = nibbles.view;
  stored->zeros = zeros.view;
  layer->tensors.push_back(std::move(scales));
  layer->bytes.push_back(std::move(nibbles));
  layer->bytes.push_back(std::move(zeros));
  return true;
}

/// What a matrix of that dtype is stored as, beside blocks. False if it is no dtype of weights.
bool type_of(const std::string& dtype, WeightType* type) {
  constexpr std::pair<std::string_view, WeightType> types[] = {
      {"F32", WeightType::float32}, {"F64", WeightType::float32}, {"F16", WeightType::float16}, {"BF16", WeightType::bfloat16}, {"I8", WeightType::int8}};
  for (const auto& [text, weight_type] : types) {
    if (dtype != text) continue;
    *type = weight_type;
    return true;
  }
  *type = WeightType::float32;
  return find_block_type(dtype) != nullptr;
}

}  // namespace

const TensorEntry* find_matrix(const TensorFile& file, const std::string& name) noexcept {
  const TensorEntry* entry = file.find(name);
  return entry != nullptr ? entry : file.find(name + "_packed");
}

Status read_matrix_shape(const TensorFile& file, const std::string& name, Shape* shape) {
  const TensorEntry& entry = *find_matrix(file, name);
  if (entry.name != name) return read_packed_shape(file, name, shape);
  *shape = entry.shape;
  return {};
}

bool find_form(const TensorFile& file, const std::string& name, StoredForm* form) {
  const TensorEntry& entry = *find_matrix(file, name);
  StoredForm found;
  if (entry.name != name) {
    PackedMatrix packed;
    if (!PackedMatrix::find(file, name, &packed).ok()) return false;
    found = {WeightType::int4, packed.usable_groups()};
  } else if (narrow_blocks(file, entry, nullptr, nullptr)) {
    found = {WeightType::int4, 32};
  } else if (!type_of(entry.dtype, &found.type)) {
    return false;
  }
  *form = found;
  return true;
}

FloatTensor widened(const FileMatrix& matrix) {
  const StoredMatrix& stored = matrix.stored;
  FloatTensor floats;
  float* to = floats.own({matrix.rows, matrix.columns}, static_cast<std::size_t>(matrix.rows * matrix.columns));
  const auto at = [](const auto& view, std::int64_t n, std::int64_t k) { return view.data[n * view.strides[0] + k * view.strides[1]]; };
  for (std::int64_t n = 0; n < matrix.rows; ++n) {
    for (std::int64_t k = 0; k < matrix.columns; ++k) {
      if (!stored.nibbles.absent()) {
        const int zero = stored.zeros.absent() ? 8 : at(stored.zeros, n, k / matrix.group), number = at(stored.nibbles, n, k / 2) >> k % 2 * 4 & 15;
        *to++ = at(stored.scales, n, k / matrix.group) * static_cast<float>(number - zero);
      } else if (!stored.integers.absent()) {
        *to++ = stored.scales.data[n] * static_cast<float>(at(stored.integers, n, k));
      } else {
        const std::uint16_t half = at(stored.halves, n, k);
        convert_to_float32(matrix.type == WeightType::float16 ? ElementType::float16 : ElementType::bfloat16, &half, 1, to++);
      }
    }
  }
  return floats;
}

FileMatrix FileMatrix::slice(std::int64_t first, std::int64_t count) const {
  FileMatrix part = *this;
  part.rows = count;
  const auto cut = [&](auto* view) {
    if (!view->absent()) *view = view->slice(0, first, count);
  };
  cut(&part.floats);
  cut(&part.stored.halves);
  cut(&part.stored.integers);
  cut(&part.stored.scales);
  cut(&part.stored.nibbles);
  cut(&part.stored.zeros);
  return part;
}

Status read_matrix(const TensorFile& file, const std::string& name, bool transposed, LayerWeights* layer, std::vector<std::string>* used,
                   FileMatrix* matrix) {
  const TensorEntry& entry = *find_matrix(file, name);
  const MultiHeadAttentionConfig& wanted = layer->config;
  FileMatrix read;
  read.name = name;
  read.dtype = entry.dtype;
  read.rows = entry.shape[transposed ? 1 : 0];
  read.columns = entry.shape[transposed ? 0 : 1];
  const auto keep_floats = [&](FloatTensor floats) {
    read.floats = floats.view;
    read.stored = {};
    layer->tensors.push_back(std::move(floats));
  };
  if (entry.name != name) {
    if (transposed) return error(file, entry.name, "integers of 4 bits, which have no form for matrices that are (in, out), as this one by its name");
    PackedMatrix packed;
    Status status = PackedMatrix::find(file, name, &packed);
    if (!status.ok()) return status;
    const bool stays = wanted.weight_type == WeightType::int4 && (packed.usable_groups() & wanted.weight_group) != 0;
    read.dtype = "int4";
    read.type = WeightType::int4;
    read.rows = packed.rows;
    read.columns = packed.columns;
    read.group = stays ? wanted.weight_group : largest_group(packed.usable_groups());
    status = packed.read(file, read.group, layer, &read.stored);
    if (!status.ok()) return status;
    *used = {entry.name, name + "_scale", name + "_zero_point", name + "_shape"};
    if (!stays) keep_floats(widened(read));
    *matrix = std::move(read);
    return {};
  }
  *used = {name};
  if (!type_of(entry.dtype, &read.type)) {
    return error(file, name, "dtype " + quoted(entry.dtype) + ", expected F32, F16, BF16, F64" + (file.model().architecture.empty() ? ", or I8 with scales" : ", Q8_0, Q4_0 or Q4_1"));
  }
  if (read.type == WeightType::int8) {
    const std::string zero_points = name + "_zero_point";
    Status status = check_zero_points(file, zero_points);
    if (status.ok()) status = read_scales(file, name, read.rows, transposed, layer, &read.stored.scales);
    if (!status.ok()) return status;
    used->push_back(name + "_scale");
    used->push_back(zero_points);
    read.stored.integers = turned(elements_of(file, entry, &layer->integers), transposed);
    if (read.type != wanted.weight_type) keep_floats(widened(read));
  } else if (read.type == wanted.weight_type && read.type != WeightType::float32) {
    read.stored.halves = turned(elements_of(file, entry, &layer->halves), transposed);
  } else if (wanted.weight_type == WeightType::int4 && wanted.weight_group == 32 && narrow_blocks(file, entry, layer, &read.stored)) {
    read.type = WeightType::int4;
    read.group = 32;
  } else {
    FloatTensor floats;
    const Status status = file.read(name, &floats);
    if (!status.ok()) return status;
    keep_floats(std::move(floats));
    read.floats = turned(read.floats, transposed);
  }
  *matrix = std::move(read);
  return {};
}

}  // namespace attend::io
