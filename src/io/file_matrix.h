// A projection's matrix in a file: its numbers as floats, or as the file stores them.
#pragma once

#include <attend/io.hpp>
#include <string>

namespace attend::io {

/// The tensor that a file has of a matrix: that of its name, or the integers of 4 bits of NAME_packed; null if there is neither.
const TensorEntry* find_matrix(const TensorFile& file, const std::string& name) noexcept;

/// A matrix's shape in a file, of which it has that tensor; of integers of 4 bits what NAME_shape says.
Status read_matrix_shape(const TensorFile& file, const std::string& name, std::vector<std::int64_t>* shape);

/// What a file stores a matrix as.
struct StoredForm {
  WeightType type = WeightType::float32;
  int groups = 0;  // of int4: the sum of all that it can be read in, as 64 + 128 of a row of 64 that has one
};

/// The largest of such a sum: where several fit, a row is one group, or has one scale.
inline int largest_group(int groups) { return groups >= 128 ? 128 : groups >= 64 ? 64 : 32; }

/// False if its dtype is none of weights, or it lacks what goes with it: reading it says so.
bool find_form(const TensorFile& file, const std::string& name, StoredForm* form);

/// Reads a tensor of two axes, `transposed` if it is stored (in, out): as the file stores it where that is layer->config's weight_type (and
/// weight_group), else as floats, the exact numbers of integers times their scales.
///
/// Integers have their scales beside them, as compressed-tensors names and stores them: of I8 NAME_scale, (out,) or (out, 1), of floats, and a
/// NAME_zero_point must be zeros; of 4 bits in place of NAME what packed_matrix.h says. All names go into `used`.
///
/// `layer` keeps what is no view into the file.
Status read_matrix(const TensorFile& file, const std::string& name, bool transposed, LayerWeights* layer, std::vector<std::string>* used,
                   FileMatrix* matrix);

/// The numbers of a stored matrix as floats.
FloatTensor widened(const FileMatrix& matrix);

}  // namespace attend::io
