// Matrices of integers of 4 bits in .safetensors files, as compressed-tensors packs them ("pack-quantized").
#pragma once

#include <attend/io.hpp>
#include <string>
#include <vector>

namespace attend::io {

/// The shape (out, in) that NAME_shape says, where the file has NAME_packed.
Status read_packed_shape(const TensorFile& file, const std::string& name, std::vector<std::int64_t>* shape);

/// What stands in a file of such a matrix: NAME_packed, (out, in / 8) of I32, a number of a lower column in lower bits; NAME_scale (out,
/// groups), of floats; NAME_zero_point, if it is there, (out / 8, groups) of I32, packed along its rows, else all zeros are 8. All rounded up.
struct PackedMatrix {
  const TensorEntry *packed, *scales, *zeros;
  std::int64_t rows, columns, groups;

  /// Checks it; the file has NAME_packed.
  static Status find(const TensorFile& file, const std::string& name, PackedMatrix* found);
  /// The sum of those of 32, 64 and 128 that it can be read in: that of its groups, or all where a row has one scale.
  int usable_groups() const;
  /// Gives the numbers as a view of the file; scales and zeros of groups of that size, which `layer` keeps.
  Status read(const TensorFile& file, int group, LayerWeights* layer, StoredMatrix* stored) const;
};

}  // namespace attend::io
