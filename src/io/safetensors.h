// Named tensors in .safetensors files, Hugging Face's format.
#pragma once

#include "io/input_file.h"
#include "io/tensor.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attend::io {

/// Pairs of a key and a text: the __metadata__ of a file.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// What a file's header says of one tensor.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "F32", "BF16", "I64", ..., as the file spells it
  std::vector<std::int64_t> shape;
  std::size_t begin = 0, end = 0;  // bytes, counted from the end of the header
};

/// A file that has been opened and checked: the header's JSON is strict, its names are unique, and
/// the tensors' bytes fit their shapes and fill the file without overlap or hole.
///
/// The file is mapped into memory where that is possible, and must not be changed meanwhile.
class SafetensorsFile {
 public:
  static Status open(const std::string& path, SafetensorsFile* file) noexcept;
  /// The same from memory; `name` is for messages.
  static Status parse(std::vector<unsigned char> bytes, const std::string& name,
                      SafetensorsFile* file) noexcept;

  const std::string& path() const noexcept { return input_.path(); }
  /// Sorted by name.
  const std::vector<SafetensorsEntry>& entries() const noexcept { return entries_; }
  /// Sorted by key.
  const Metadata& metadata() const noexcept { return metadata_; }
  /// Null if there is none of that name.
  const SafetensorsEntry* find(std::string_view name) const noexcept;

  /// A tensor of at most four axes as float32: F32 in the file's own memory where that is aligned
  /// to 4 bytes, else a copy; F16, BF16 and F64 as a converted copy. Other dtypes are an error.
  /// The file must outlive the tensor.
  Status read(const std::string& name, FloatTensor* tensor) const noexcept;

 private:
  static Status load(InputFile input, SafetensorsFile* file);
  InputFile input_;
  std::size_t data_begin_ = 0;  // where the header ends
  std::vector<SafetensorsEntry> entries_;
  Metadata metadata_;
};

/// A tensor to write: contiguous float32 values, narrowed (to the nearest, ties to even) to dtype.
struct SafetensorsTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  const float* values = nullptr;
  std::string dtype = "F32";  // or "F16" or "BF16"
};

/// Writes a file as OutputFile does: whole, or not at all. Names are unique UTF-8.
Status write_safetensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                         const Metadata& metadata = {}) noexcept;

}  // namespace attend::io
