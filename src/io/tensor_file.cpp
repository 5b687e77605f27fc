// Named tensors of a file of weights, whatever its format.
#include "attend/io.hpp"

#include "io/blocks.h"
#include "io/guarded.h"
#include "io/shape.h"
#include "io/text.h"

#include <algorithm>
#include <cstdint>

namespace attend::io {

Status TensorFile::open(const std::string& path, TensorFile* file) noexcept {
  return guarded([&]() -> Status {
    if (file == nullptr) return Status::error(StatusCode::invalid_argument, "file: null");
    InputFile input;
    Status status = InputFile::open(path, &input);
    if (!status.ok()) return status;
    const bool is_gguf = std::string_view(reinterpret_cast<const char*>(input.data()), std::min<std::size_t>(input.size(), 4)) == "GGUF";
    GgufFile gguf;
    SafetensorsFile safetensors;
    status = is_gguf ? GgufFile::load(std::move(input), &gguf) : SafetensorsFile::load_any(std::move(input), &safetensors);
    if (status.ok()) *file = is_gguf ? static_cast<TensorFile&&>(gguf) : static_cast<TensorFile&&>(safetensors);
    return status;
  });
}

Status TensorFile::sort_by_name(const std::string& path) {
  std::sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  return twice == entries_.end() ? Status()
                                 : file_error(path, "two tensors " + quoted(twice->name));
}

const TensorEntry* TensorFile::find(std::string_view name) const noexcept {
  const auto found = std::lower_bound(
      entries_.begin(), entries_.end(), name,
      [](const TensorEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != entries_.end() && found->name == name ? &*found : nullptr;
}

const unsigned char* TensorFile::bytes(const TensorEntry& entry) const noexcept {
  const Shard& shard = shards_[entry.shard];
  return shard.input.data() + shard.data_begin + entry.begin;
}

Status TensorFile::read(const std::string& name, FloatTensor* tensor) const noexcept {
  return guarded([&]() -> Status {
    const TensorEntry* entry = find(name);
    if (entry == nullptr) return tensor_error(path(), name, "there is none of that name");
    if (entry->shape.size() > max_rank) {
      return tensor_error(path(), name,
                          "shape " + shape_text(entry->shape) + ", expected at most four axes");
    }
    const unsigned char* bytes = this->bytes(*entry);
    FloatTensor read;
    if (const BlockType* blocks = find_block_type(entry->dtype)) {
      const std::size_t count = (entry->end - entry->begin) / blocks->bytes, elements = static_cast<std::size_t>(blocks->elements);
      float* numbers = read.own(entry->shape, count * elements);
      for (std::size_t block = 0; block < count; ++block) blocks->widen(bytes + block * blocks->bytes, numbers + block * elements);
      *tensor = std::move(read);
      return {};
    }
    ElementType type;
    if (entry->dtype == "F32") type = ElementType::float32;
    else if (entry->dtype == "F16") type = ElementType::float16;
    else if (entry->dtype == "BF16") type = ElementType::bfloat16;
    else if (entry->dtype == "F64") type = ElementType::float64;
    else {
      return tensor_error(path(), name, "dtype " + quoted(entry->dtype) + ", expected F32, F16, BF16 or F64" + (model_.architecture.empty() ? "" : ", or blocks of Q8_0, Q4_0 or Q4_1"));
    }
    const std::size_t count = (entry->end - entry->begin) / element_bytes(type);
    if (type == ElementType::float32 && count > 0 &&
        reinterpret_cast<std::uintptr_t>(bytes) % alignof(float) == 0) {
      read.view = contiguous_view(reinterpret_cast<const float*>(bytes), entry->shape);
    } else {
      convert_to_float32(type, bytes, count, read.own(entry->shape, count));
    }
    *tensor = std::move(read);
    return {};
  });
}

Status TensorFile::read(const std::string& name, const std::vector<std::int64_t>& shape, FloatTensor* tensor) const noexcept {
  return guarded([&]() -> Status {
    const TensorEntry* entry = find(name);
    if (entry == nullptr || entry->shape == shape) return read(name, tensor);
    return tensor_error(path(), name, "shape " + shape_text(entry->shape) + ", expected " + shape_text(shape));
  });
}

}  // namespace attend::io
