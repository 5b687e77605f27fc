// Named tensors in .safetensors files, Hugging Face's format.
#include "attend/io.hpp"

#include "io/guarded.h"
#include "io/json.h"
#include "io/output_file.h"
#include "io/recognise.h"
#include "io/shape.h"
#include "io/text.h"
#include "kernels/half_floats.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <tuple>

namespace attend::io {

namespace {

// The file: the header's length (8 bytes, little-endian), the header, the tensors' bytes.
// The header: {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3],
// "data_offsets": [0, 24]}}, padded with spaces.
constexpr std::size_t length_bytes = 8;
constexpr std::string_view metadata_name = "__metadata__";
constexpr const char* writer = "safetensors.torch.save_file writes .safetensors";

struct Dtype {
  std::string_view text;
  std::size_t bytes;  // bytes of one element
};
constexpr Dtype dtypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2},  {"BF16", 2},    {"I64", 8},
                            {"U64", 8}, {"I32", 4}, {"U32", 4},  {"I16", 2},     {"U16", 2},
                            {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

/// 0 for a dtype that is unknown here: its tensors are listed, but their sizes are not checked.
std::size_t dtype_bytes(std::string_view dtype) {
  for (const Dtype& known : dtypes) {
    if (known.text == dtype) return known.bytes;
  }
  return 0;
}

/// Reads {"dtype": ..., "shape": ..., "data_offsets": ...}; false with the reader's error, or with
/// one in `wrong`.
bool read_entry(JsonReader& json, SafetensorsEntry* entry, std::string* wrong) {
  constexpr const char* fields[] = {"dtype", "shape", "data_offsets"};
  bool seen[3] = {};
  std::string field;
  if (!json.enter_object()) return false;
  while (json.next_member(&field)) {
    const char* const* known = std::find(fields, fields + 3, field);
    const auto which = known - fields;
    if (which == 3 || seen[which]) {
      *wrong = (which == 3 ? "unknown field " : "two fields ") + quoted(field);
      return false;
    }
    seen[which] = true;
    if (which == 0) {
      json.read_string(&entry->dtype);
      continue;
    }
    std::vector<std::int64_t> offsets, &numbers = which == 1 ? entry->shape : offsets;
    std::int64_t number = 0;
    json.enter_array();
    while (json.next_element() && json.read_integer(&number)) numbers.push_back(number);
    if (which == 2 && !json.failed()) {
      if (offsets.size() != 2 || offsets[0] > offsets[1]) {
        *wrong = "data_offsets are not two ascending numbers";
        return false;
      }
      entry->begin = static_cast<std::size_t>(offsets[0]);
      entry->end = static_cast<std::size_t>(offsets[1]);
    }
  }
  for (int which = 0; which < 3 && !json.failed(); ++which) {
    if (!seen[which]) *wrong = std::string("no ") + fields[which];
  }
  return !json.failed() && wrong->empty();
}

bool read_metadata(JsonReader& json, Metadata* metadata) {
  std::pair<std::string, std::string> pair;
  if (!json.enter_object()) return false;
  while (json.next_member(&pair.first) && json.read_string(&pair.second)) metadata->push_back(pair);
  return !json.failed();
}

/// Checks that the tensors fit their shapes and follow each other from 0 to `size`.
Status check_bytes(const std::string& path, const std::vector<SafetensorsEntry>& entries,
                   std::size_t size) {
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : entries) {
    std::size_t expected = 0, element = dtype_bytes(entry.dtype);
    const std::string what = "shape " + shape_text(entry.shape) + " of " + quoted(entry.dtype);
    if (!byte_count(entry.shape, std::max<std::size_t>(element, 1), &expected)) {
      return tensor_error(path, entry.name, what + " is too large");
    }
    if (element > 0 && entry.end - entry.begin != expected) {
      return tensor_error(path, entry.name,
                          std::to_string(entry.end - entry.begin) + " bytes, expected " +
                              std::to_string(expected) + " for " + what);
    }
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::tie(a->begin, a->end) < std::tie(b->begin, b->end);
  });
  std::size_t end = 0;
  for (const SafetensorsEntry* entry : order) {
    if (entry->begin != end) {
      return tensor_error(path, entry->name,
                          "begins at byte " + std::to_string(entry->begin) + ", expected " +
                              std::to_string(end) + ", where the one before it ends");
    }
    end = entry->end;
  }
  if (end != size) {
    return file_error(path, "the tensors take " + std::to_string(end) + " bytes, but " +
                                std::to_string(size) + " follow the header");
  }
  return {};
}

/// What a tensor to write takes in the file.
std::size_t bytes_of(const SafetensorsTensor& tensor) {
  std::size_t bytes = tensor.stored.size();
  if (tensor.stored.data() == nullptr) byte_count(tensor.shape, dtype_bytes(tensor.dtype), &bytes);
  return bytes;
}

}  // namespace

Status SafetensorsFile::load(InputFile input, SafetensorsFile* file) {
  const std::string path = input.path();
  const std::string_view bytes(reinterpret_cast<const char*>(input.data()), input.size());
  if (bytes.size() < length_bytes) {
    return file_error(path, "not a .safetensors file: it is only " + std::to_string(bytes.size()) +
                                " bytes long" + recognised(bytes, writer));
  }
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > bytes.size() - length_bytes) {
    const std::string known = recognised(bytes, writer);
    return file_error(path, "not a .safetensors file" + (!known.empty() ? known : ", or cut short: its header is said to be " + std::to_string(length) +
                                " bytes long, but only " + std::to_string(bytes.size() - length_bytes) + " follow"));
  }
  const std::string_view header = bytes.substr(length_bytes, static_cast<std::size_t>(length));
  if (header.substr(0, 1) != "{") return file_error(path, "its header does not begin with '{'" + recognised(bytes, writer));

  SafetensorsFile loaded;
  JsonReader json(header);
  bool has_metadata = false;
  std::string name, wrong;
  json.enter_object();
  while (json.next_member(&name)) {
    if (name == metadata_name) {
      if (has_metadata) return file_error(path, "two members '__metadata__'");
      has_metadata = true;
      if (!read_metadata(json, &loaded.metadata_)) break;
      continue;
    }
    SafetensorsEntry entry;
    entry.name = name;
    if (!read_entry(json, &entry, &wrong)) break;
    loaded.entries_.push_back(std::move(entry));
  }
  if (!wrong.empty()) return tensor_error(path, name, wrong);
  if (!json.at_end()) return file_error(path, "header, " + json.error());

  std::sort(loaded.metadata_.begin(), loaded.metadata_.end());
  for (std::size_t i = 1; i < loaded.metadata_.size(); ++i) {
    if (loaded.metadata_[i].first == loaded.metadata_[i - 1].first) {
      return file_error(path, "two metadata keys " + quoted(loaded.metadata_[i].first));
    }
  }
  std::vector<SafetensorsEntry>& entries = loaded.entries_;
  const Status sorted = loaded.sort_by_name(path);
  if (!sorted.ok()) return sorted;
  const std::size_t data_begin = length_bytes + header.size();
  const Status status = check_bytes(path, entries, bytes.size() - data_begin);
  if (!status.ok()) return status;
  loaded.path_ = path;
  loaded.shards_.push_back({std::move(input), data_begin});
  *file = std::move(loaded);
  return {};
}

// {"metadata": {..}, "weight_map": {"tensor": "file", ..}}, files beside the index.
Status SafetensorsFile::load_index(const InputFile& index, SafetensorsFile* file) {
  const std::string& path = index.path();
  JsonReader json(std::string_view(reinterpret_cast<const char*>(index.data()), index.size()));
  std::map<std::string, std::vector<std::string>> tensors;  // by file
  std::string member, name, shard;
  json.enter_object();
  while (json.next_member(&member)) {
    if (member != "weight_map") {
      json.skip_value();
      continue;
    }
    json.enter_object();
    while (json.next_member(&name) && json.read_string(&shard)) tensors[shard].push_back(name);
  }
  if (!json.at_end()) return file_error(path, "not an index of shards, " + json.error());
  if (tensors.empty()) return file_error(path, "not an index of shards: no weight_map that names files");
  const std::string folder = path.substr(0, path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
  SafetensorsFile loaded;
  for (const auto& [name_of_shard, names] : tensors) {
    if (name_of_shard.find('/') != std::string::npos) return file_error(path, "file " + quoted(name_of_shard) + ", expected a name without folders");
    SafetensorsFile one;
    InputFile input;
    Status status = InputFile::open(folder + name_of_shard, &input);
    if (status.ok()) status = load(std::move(input), &one);
    if (!status.ok()) return status;  // which names the shard
    for (const std::string& tensor : names) {
      if (one.find(tensor) == nullptr) return tensor_error(path, tensor, "expected in " + quoted(name_of_shard) + ", which has none of that name");
    }
    for (SafetensorsEntry& entry : one.entries_) {
      entry.shard = loaded.shards_.size();
      loaded.entries_.push_back(std::move(entry));
    }
    loaded.shards_.push_back(std::move(one.shards_[0]));
  }
  const Status status = loaded.sort_by_name(path);
  if (!status.ok()) return status;
  loaded.path_ = path;
  *file = std::move(loaded);
  return {};
}

Status SafetensorsFile::open(const std::string& path, SafetensorsFile* file) noexcept {
  return guarded([&]() -> Status {
    if (file == nullptr) return Status::error(StatusCode::invalid_argument, "file: null");
    InputFile input;
    const Status status = InputFile::open(path, &input);
    return status.ok() ? load_any(std::move(input), file) : status;
  });
}

Status SafetensorsFile::load_any(InputFile input, SafetensorsFile* file) {
  const std::string& path = input.path();
  const bool is_index = path.size() >= 5 && path.compare(path.size() - 5, 5, ".json") == 0;
  return is_index ? load_index(input, file) : load(std::move(input), file);
}

Status SafetensorsFile::parse(std::vector<unsigned char> bytes, const std::string& name,
                              SafetensorsFile* file) noexcept {
  return guarded([&] { return load(InputFile(name, std::move(bytes)), file); });
}

namespace {

/// What a file begins with, and the order that its tensors follow in.
struct Layout {
  std::string beginning;
  std::vector<const SafetensorsTensor*> order;
};

Status check_tensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors, const Metadata& metadata) {
  std::vector<std::string_view> names, keys;
  for (const SafetensorsTensor& tensor : tensors) {
    std::size_t bytes = 0;
    const std::size_t element = dtype_bytes(tensor.dtype);
    const bool is_narrowed = tensor.stored.data() == nullptr;
    if (is_narrowed && tensor.dtype != "F32" && tensor.dtype != "F16" && tensor.dtype != "BF16") {
      return tensor_error(path, tensor.name, "dtype " + quoted(tensor.dtype) + ", expected F32, F16 or BF16");
    }
    if (!byte_count(tensor.shape, is_narrowed ? sizeof(float) : std::max<std::size_t>(element, 1), &bytes)) {
      return tensor_error(path, tensor.name, "shape " + shape_text(tensor.shape) + ", expected sizes of 0 or more");
    }
    if (!is_narrowed && element > 0 && tensor.stored.size() != bytes) {
      return tensor_error(path, tensor.name, "stored: " + std::to_string(tensor.stored.size()) + " bytes, expected " + std::to_string(bytes) +
                                                 " for shape " + shape_text(tensor.shape) + " of " + quoted(tensor.dtype));
    }
    names.push_back(tensor.name);
  }
  names.push_back(metadata_name);
  for (const auto& [key, value] : metadata) {
    if (!is_utf8(value)) return file_error(path, "metadata " + quoted(key) + ": expected UTF-8");
    keys.push_back(key);
  }
  for (std::vector<std::string_view>* list : {&names, &keys}) {
    std::sort(list->begin(), list->end());
    const auto twice = std::adjacent_find(list->begin(), list->end());
    if (twice != list->end()) return file_error(path, "two names " + quoted(*twice));
    for (std::string_view name : *list) {
      if (!is_utf8(name)) return file_error(path, "name " + quoted(name) + ": expected UTF-8");
    }
  }
  return {};
}

Layout layout_of(const std::vector<SafetensorsTensor>& tensors, const Metadata& metadata) {
  Layout layout;
  for (std::size_t width : {8, 4, 2, 1, 0}) {  // the widest first, so that each is aligned
    for (const SafetensorsTensor& tensor : tensors) {
      if (dtype_bytes(tensor.dtype) == width) layout.order.push_back(&tensor);
    }
  }
  std::string header = "{", separator;
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      header += separator + json_string(key) + ':' + json_string(value);
      separator = ",";
    }
    header += '}';
  }
  std::size_t end = 0;
  for (const SafetensorsTensor* tensor : layout.order) {
    const std::size_t begin = end;
    end += bytes_of(*tensor);
    header += separator + json_string(tensor->name) + ":{\"dtype\":" + json_string(tensor->dtype) + ",\"shape\":[";
    separator.clear();
    for (std::int64_t size : tensor->shape) {
      header += separator + std::to_string(size);
      separator = ",";
    }
    header += "],\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(end) + "]}";
    separator = ",";
  }
  header += '}';
  while (header.size() % length_bytes != 0) header += ' ';
  const std::uint64_t length = header.size();
  layout.beginning.assign(reinterpret_cast<const char*>(&length), sizeof length);
  layout.beginning += header;
  return layout;
}

/// Gives the bytes of a file, piece by piece, to write(data, size), until that fails.
template <class Write>
Status write_pieces(const Layout& layout, Write write) {
  Status status = write(layout.beginning.data(), layout.beginning.size());
  std::vector<std::uint16_t> narrowed;
  for (const SafetensorsTensor* tensor : layout.order) {
    if (!status.ok()) return status;
    const std::size_t bytes = bytes_of(*tensor);
    const void* elements = tensor->values;
    if (tensor->stored.data() != nullptr) {
      elements = tensor->stored.data();
    } else if (tensor->dtype != "F32") {
      narrowed.resize(bytes / sizeof narrowed[0]);
      std::transform(tensor->values, tensor->values + narrowed.size(), narrowed.begin(),
                     tensor->dtype == "F16" ? float16_from_float : bfloat16_from_float);
      elements = narrowed.data();
    }
    if (bytes > 0) status = write(elements, bytes);
  }
  return status;
}

}  // namespace

Status write_safetensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                         const Metadata& metadata) noexcept {
  return guarded([&]() -> Status {
    OutputFile file;
    Status status = check_tensors(path, tensors, metadata);
    if (status.ok()) status = file.open(path);
    if (status.ok()) status = write_pieces(layout_of(tensors, metadata), [&](const void* data, std::size_t bytes) { return file.write(data, bytes); });
    if (status.ok()) status = file.commit();
    return status;
  });
}

Status write_safetensors(std::vector<unsigned char>* bytes, const std::vector<SafetensorsTensor>& tensors, const Metadata& metadata) noexcept {
  return guarded([&]() -> Status {
    const Status status = check_tensors("memory", tensors, metadata);
    if (!status.ok()) return status;
    std::vector<unsigned char> written;
    const Status whole = write_pieces(layout_of(tensors, metadata), [&](const void* data, std::size_t size) {
      const unsigned char* from = static_cast<const unsigned char*>(data);
      written.insert(written.end(), from, from + size);
      return Status();
    });
    *bytes = std::move(written);
    return whole;
  });
}

}  // namespace attend::io
