// Arrays in .npy files, numpy's format: versions 1 to 3, up to four axes, little-endian.
#pragma once

#include "io/element_type.h"
#include "io/tensor.h"

#include <string>
#include <vector>

namespace attend::io {

/// An array as a .npy file holds it, in C order (a file in Fortran order is reordered).
struct Array {
  ElementType type = ElementType::float32;
  std::vector<std::int64_t> shape;   // rank 0 (one element) to 4; sizes may be 0
  std::vector<unsigned char> bytes;  // a bool is 0 or 1
  std::string name;                  // the file, for messages
};

/// Reads a file. Its dtype is '<f2', '<f4', '<f8', '<i4', '<i8', '|b1', or bfloat16 ('<V2' or
/// '|V2', as ml_dtypes writes it); anything else is an error, as are bytes missing or left over.
Status read_npy(const std::string& path, Array* array) noexcept;
/// The same from memory; `name` is for messages.
Status parse_npy(const void* data, std::size_t size, const std::string& name,
                 Array* array) noexcept;

/// The array as float32. The view is into array.bytes if that is what they are, else into a copy.
/// Integers and bool are an error unless `accept_integers`.
Status to_float32(const Array& array, FloatTensor* tensor, bool accept_integers = false) noexcept;
/// The array of int32 or int64 (any other type is an error) as int64, always a copy.
Status to_int64(const Array& array, Int64Tensor* tensor) noexcept;

/// Writes elements in C order as OutputFile does: whole, or not at all. Version 1.
Status write_npy(const std::string& path, ElementType type, const std::vector<std::int64_t>& shape,
                 const void* elements) noexcept;

}  // namespace attend::io
