// Arrays in .npy files, numpy's format: versions 1 to 3, up to four axes, little-endian.
#include "attend/io.hpp"

#include "io/guarded.h"
#include "io/output_file.h"
#include "io/recognise.h"
#include "io/shape.h"
#include "io/text.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace attend::io {

namespace {

// The file: "\x93NUMPY", major, minor, header length (2 bytes in version 1, 4 after), header,
// elements. The header is a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (3,)}.
constexpr std::string_view magic{"\x93NUMPY", 6};
constexpr std::size_t alignment = 64;  // where elements begin in files that are written

struct Dtype {
  std::string_view text;
  ElementType type;
};
constexpr Dtype dtypes[] = {  // the first one of a type is the one written
    {"<f2", ElementType::float16}, {"<V2", ElementType::bfloat16}, {"|V2", ElementType::bfloat16},
    {"<f4", ElementType::float32}, {"<f8", ElementType::float64},  {"<i4", ElementType::int32},
    {"<i8", ElementType::int64},   {"|b1", ElementType::boolean},  {"|u1", ElementType::uint8}};

struct Header {
  std::string_view dtype;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// Reads the dict; stops at the first error and says where it stands.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}

  bool read(Header* header) {
    constexpr std::string_view keys[] = {"descr", "fortran_order", "shape"};
    bool seen[3] = {};
    if (!expect('{')) return false;
    while (!accept('}')) {
      std::string_view key;
      if (!read_string(&key) || !expect(':')) return false;
      const auto field = std::find(keys, keys + 3, key) - keys;
      if (field == 3) return fail("a known key instead of " + quoted(key));
      if (seen[field]) return fail(quoted(key) + " only once");
      seen[field] = true;
      if (field == 0 && !read_string(&header->dtype)) return false;
      if (field == 1 && !read_bool(&header->fortran_order)) return false;
      if (field == 2 && !read_shape(&header->shape)) return false;
      if (!accept(',') && peek() != '}') return fail("',' or '}'");
    }
    skip_spaces();
    if (at_ < text_.size()) return fail("nothing more");
    for (int field = 0; field < 3; ++field) {
      if (!seen[field]) return fail("the key " + quoted(keys[field]) + " before it");
    }
    return true;
  }

  const std::string& error() const { return error_; }

 private:
  bool fail(const std::string& expected) {
    error_ = "header byte " + std::to_string(at_) + ": expected " + expected;
    return false;
  }
  void skip_spaces() {
    while (at_ < text_.size() && std::strchr(" \t\n\r", text_[at_]) && text_[at_] != '\0') ++at_;
  }
  char peek() {
    skip_spaces();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char character) {
    if (peek() != character || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  bool expect(char character) {
    return accept(character) || fail(std::string("'") + character + "'");
  }
  bool read_string(std::string_view* value) {
    const char quote = peek();
    if (quote == '[' || quote == '(') return fail("a simple dtype, not a structured one");
    if (quote != '\'' && quote != '"') return fail("a string in quotes");
    const std::size_t begin = at_ + 1, end = text_.find(quote, begin);
    if (end == std::string_view::npos) return fail("a closing quote");
    *value = text_.substr(begin, end - begin);
    at_ = end + 1;
    return true;
  }
  bool read_bool(bool* value) {
    skip_spaces();
    for (std::string_view word : {"False", "True"}) {
      if (text_.substr(at_, word.size()) != word) continue;
      *value = word == "True";
      at_ += word.size();
      return true;
    }
    return fail("True or False");
  }
  bool read_shape(std::vector<std::int64_t>* shape) {
    if (!expect('(')) return false;
    while (!accept(')')) {
      if (shape->size() == max_rank) return fail("at most four axes in the shape");
      if (peek() < '0' || peek() > '9') return fail("a size of 0 or more in the shape");
      std::int64_t size = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        if (__builtin_mul_overflow(size, 10, &size) ||
            __builtin_add_overflow(size, text_[at_] - '0', &size)) {
          return fail("sizes below 2^63 in the shape");
        }
      }
      shape->push_back(size);
      // (3) is a number in Python, (3,) is a tuple.
      if (!accept(',') && (peek() != ')' || shape->size() == 1)) return fail("',' in the shape");
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string error_;
};

std::string unknown_dtype(std::string_view dtype) {
  const std::string what = "dtype " + quoted(dtype);
  if (!dtype.empty() && dtype[0] == '>') return what + " is big-endian; expected little-endian";
  const bool integers = dtype.size() == 3 && (dtype[1] == 'i' || dtype[1] == 'u');
  return what + " is not one of <f2 <f4 <f8 <i4 <i8 |u1 |b1 and <V2 (bfloat16)" + (integers ? "; expected int32 or int64 of integers" : "");
}

/// Copies elements whose first axis varies fastest into the order in which the last one does.
void copy_from_fortran_order(const std::vector<std::int64_t>& shape, std::size_t element,
                             const unsigned char* from, std::vector<unsigned char>* to) {
  std::size_t strides[max_rank] = {}, stride = element;
  std::int64_t index[max_rank] = {};
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    strides[axis] = stride;
    stride *= static_cast<std::size_t>(shape[axis]);
  }
  for (std::size_t at = 0; at < to->size(); at += element) {
    std::memcpy(to->data() + at, from, element);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * static_cast<std::size_t>(shape[axis]);
      index[axis] = 0;
    }
  }
}

Status parse(const unsigned char* data, std::size_t size, const std::string& name, Array* array) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  if (file.substr(0, magic.size()) != magic) {
    return file_error(name, "not a .npy file: it does not begin with \\x93NUMPY" + recognised(file, "numpy.save writes .npy"));
  }
  if (size < 10) return file_error(name, "cut short in its first 10 bytes");
  const int version = data[6];
  if (version < 1 || version > 3 || data[7] != 0) {
    return file_error(name, "version " + std::to_string(version) + "." + std::to_string(data[7]) +
                                ", expected 1.0, 2.0 or 3.0");
  }
  const std::size_t begin = version == 1 ? 10 : 12;
  if (size < begin) return file_error(name, "cut short in its first 12 bytes");
  std::size_t length = 0;
  for (std::size_t i = begin; i-- > 8;) length = length << 8 | data[i];
  if (length > size - begin) {
    return file_error(name, "its header is " + std::to_string(length) + " bytes long, but only " +
                                std::to_string(size - begin) + " follow");
  }

  Header header;
  HeaderReader reader(file.substr(begin, length));
  if (!reader.read(&header)) return file_error(name, reader.error());
  const Dtype* dtype = nullptr;
  for (const Dtype& known : dtypes) {
    if (known.text == header.dtype) dtype = &known;
  }
  if (dtype == nullptr) return file_error(name, unknown_dtype(header.dtype));
  const std::string what =
      "shape " + shape_text(header.shape) + " of " + element_type_name(dtype->type);
  const std::size_t element = element_bytes(dtype->type), held = size - begin - length;
  std::size_t expected = 0;
  if (!byte_count(header.shape, element, &expected)) return file_error(name, what + " is too large");
  if (held != expected) {
    return file_error(name, std::to_string(held) + " bytes of elements, expected " +
                                std::to_string(expected) + " for " + what);
  }

  const unsigned char* elements = data + begin + length;
  Array read;
  if (header.fortran_order && header.shape.size() > 1) {
    read.bytes.resize(expected);
    copy_from_fortran_order(header.shape, element, elements, &read.bytes);
  } else {
    read.bytes.assign(elements, elements + expected);
  }
  if (dtype->type == ElementType::boolean) {
    for (unsigned char& byte : read.bytes) byte = byte != 0;
  }
  read.type = dtype->type;
  read.shape = std::move(header.shape);
  read.name = name;
  *array = std::move(read);
  return {};
}

}  // namespace

Status read_npy(const std::string& path, Array* array) noexcept {
  return guarded([&]() -> Status {
    if (array == nullptr) return Status::error(StatusCode::invalid_argument, "array: null");
    InputFile file;
    const Status status = InputFile::open(path, &file);
    return status.ok() ? parse(file.data(), file.size(), path, array) : status;
  });
}

Status read_npy(const std::string& path, FloatTensor* tensor) noexcept {
  return guarded([&]() -> Status {
    if (tensor == nullptr) return Status::error(StatusCode::invalid_argument, "tensor: null");
    Array array;
    FloatTensor read;
    Status status = read_npy(path, &array);
    if (status.ok()) status = to_float32(array, &read);
    if (!status.ok()) return status;
    read.keep();
    *tensor = std::move(read);
    return {};
  });
}

Status read_npy(const std::string& path, Int64Tensor* tensor) noexcept {
  if (tensor == nullptr) return Status::error(StatusCode::invalid_argument, "tensor: null");
  Array array;
  const Status status = read_npy(path, &array);
  return status.ok() ? to_int64(array, tensor) : status;
}

Status read_npy(const std::string& path, BoolTensor* tensor) noexcept {
  return guarded([&]() -> Status {
    if (tensor == nullptr) return Status::error(StatusCode::invalid_argument, "tensor: null");
    Array array;
    const Status status = read_npy(path, &array);
    if (!status.ok()) return status;
    BoolTensor read;
    if (array.type == ElementType::int32 || array.type == ElementType::int64) {  // a tokenizer's mask
      Int64Tensor integers;
      const Status converted = to_int64(array, &integers);
      if (!converted.ok()) return converted;
      const std::int64_t* const from = integers.view.data;
      std::uint8_t* const to = read.own(array.shape, integers.owned.size());
      for (std::size_t i = 0; i < integers.owned.size(); ++i) {
        if (from[i] != 0 && from[i] != 1) {
          return file_error(array.name, "element " + std::to_string(i) + " is " + std::to_string(from[i]) + ", expected 0 or 1 among " + element_type_name(array.type));
        }
        to[i] = from[i] != 0;
      }
    } else if (array.type != ElementType::boolean && array.type != ElementType::uint8) {
      return file_error(array.name, std::string("elements of ") + element_type_name(array.type) + ", expected bool, uint8, or int32 or int64 of 0 and 1");
    } else {
      std::uint8_t* const to = read.own(array.shape, array.bytes.size());
      for (std::size_t i = 0; i < array.bytes.size(); ++i) to[i] = array.bytes[i] != 0;
    }
    *tensor = std::move(read);
    return {};
  });
}

Status parse_npy(const void* data, std::size_t size, const std::string& name,
                 Array* array) noexcept {
  return guarded(
      [&] { return parse(static_cast<const unsigned char*>(data), size, name, array); });
}

Status to_float32(const Array& array, FloatTensor* tensor, bool accept_integers) noexcept {
  return guarded([&]() -> Status {
    if (!accept_integers && !is_floating(array.type)) {
      return file_error(array.name, std::string("elements of ") + element_type_name(array.type) +
                                        ", expected float32, float16, bfloat16 or float64");
    }
    const std::size_t count = array.bytes.size() / element_bytes(array.type);
    FloatTensor converted;
    if (array.type == ElementType::float32 && count > 0) {
      converted.view =
          contiguous_view(reinterpret_cast<const float*>(array.bytes.data()), array.shape);
    } else {
      convert_to_float32(array.type, array.bytes.data(), count, converted.own(array.shape, count));
    }
    *tensor = std::move(converted);
    return {};
  });
}

Status to_int64(const Array& array, Int64Tensor* tensor) noexcept {
  return guarded([&]() -> Status {
    const bool wide = array.type == ElementType::int64;
    if (!wide && array.type != ElementType::int32) {
      return file_error(array.name, std::string("elements of ") + element_type_name(array.type) +
                                        ", expected int32 or int64");
    }
    const std::size_t count = array.bytes.size() / element_bytes(array.type);
    Int64Tensor converted;
    std::int64_t* output = converted.own(array.shape, count);
    for (std::size_t i = 0; i < count; ++i) {
      std::int32_t narrow = 0;
      if (wide) std::memcpy(&output[i], &array.bytes[i * sizeof *output], sizeof *output);
      else std::memcpy(&narrow, &array.bytes[i * sizeof narrow], sizeof narrow);
      if (!wide) output[i] = narrow;
    }
    *tensor = std::move(converted);
    return {};
  });
}

Status write_npy(const std::string& path, ElementType type, const std::vector<std::int64_t>& shape,
                 const void* elements) noexcept {
  return guarded([&]() -> Status {
    std::size_t bytes = 0;
    if (shape.size() > max_rank || !byte_count(shape, element_bytes(type), &bytes)) {
      return file_error(path, "cannot write shape " + shape_text(shape) +
                                  ", expected at most four axes of sizes of 0 or more");
    }
    const Dtype* dtype = dtypes;
    while (dtype->type != type) ++dtype;
    std::string header = "{'descr': '" + std::string(dtype->text) +
                         "', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
    const std::size_t begin = magic.size() + 4;
    while ((begin + header.size() + 1) % alignment != 0) header += ' ';
    header += '\n';
    std::string start(magic);
    start += {'\x01', '\x00', static_cast<char>(header.size() & 0xFF),
              static_cast<char>(header.size() >> 8)};
    start += header;

    OutputFile file;
    Status status = file.open(path);
    if (status.ok()) status = file.write(start.data(), start.size());
    if (status.ok()) status = file.write(elements, bytes);
    if (status.ok()) status = file.commit();
    return status;
  });
}

}  // namespace attend::io
