// A matrix of floats in a type of low precision, as files store it.
#pragma once

#include <attend/attend.hpp>
#include <string>
#include <vector>

namespace attend::io {

/// A matrix as a file is to store it.
struct NarrowedMatrix {
  std::vector<unsigned char> bytes;
  std::vector<float> scales;  // one a row, of integers alone
  double error = 0.0;         // the root mean square of what its numbers are off by, of that of the numbers
};

/// Rounds a matrix (out, in) to bfloat16, float16 or int8 as MultiHeadAttention::make does, so that a layer of the file has the bits of one of
/// the floats. Its bytes are row-major, or `transposed`, (in, out). An error where a number is not finite, or is not once it is rounded; the
/// message tells the number and where it is.
Status narrow(const ConstTensorView& matrix, WeightType type, bool transposed, NarrowedMatrix* narrowed);

}  // namespace attend::io
