// A projection's matrix in a type of low precision, as .safetensors files store it.
#pragma once

#include <attend/io.hpp>
#include <string>
#include <vector>

namespace attend::io {

/// A matrix as a file is to store it: what read_matrix reads.
struct NarrowedMatrix {
  WeightType type = WeightType::float32;
  std::int64_t rows = 0, columns = 0, groups = 0;  // of int4: groups of a row
  bool transposed = false;                         // whether the bytes are those of (in, out)
  std::vector<unsigned char> bytes;  // row-major; of int4 two numbers each, rows filled up to whole words
  std::vector<float> scales;         // of integers: one a row, or a group of it
  std::vector<unsigned char> zeros;  // of int4: (rows, groups) of two rows a byte, packed along rows in words; empty: all are 8
  std::int64_t shape[2] = {};
  double error = 0.0;  // the root mean square of what its numbers are off by, of that of the numbers

  std::size_t size() const;
  /// The tensors of a matrix of that name, which view this one.
  std::vector<SafetensorsTensor> tensors(const std::string& name) const;
};

/// Takes a matrix that is stored as it is. Rounds one of floats to bfloat16, float16, int8 or int4, in groups of that size, as
/// MultiHeadAttention::make does, so that a layer of the file has the bits of one of the floats. An error where a number is not finite, or is not
/// once it is rounded; the message tells the number and where it is. int4 is never `transposed`.
Status narrow(const FileMatrix& matrix, WeightType type, int group, bool transposed, NarrowedMatrix* narrowed);

}  // namespace attend::io
