// A projection's matrix in a file: its numbers as floats, or as the file stores them.
#pragma once

#include <attend/io.hpp>
#include <string>

namespace attend::io {

/// A matrix (out, in): floats, or halves, or integers with a scale a row; all else is absent.
struct FileMatrix {
  ConstTensorView floats;
  StoredMatrix stored;

  bool is_stored() const { return floats.absent(); }
  std::int64_t rows() const { return size(0); }
  std::int64_t columns() const { return size(1); }
  /// Some of its rows.
  FileMatrix slice(std::int64_t first, std::int64_t count) const;

 private:
  std::int64_t size(int axis) const;
};

/// What a file stores weights of that dtype as. False if it is no dtype of weights.
bool weight_type_of(const std::string& dtype, WeightType* type) noexcept;

/// Reads a tensor of two axes, `transposed` if it is stored (in, out): as the file stores it where that is `wanted`, else as floats, the exact
/// numbers of integers times their scales. A matrix of integers has its scales beside it, as compressed-tensors names them: NAME_scale, (out,)
/// or (out, 1), of floats; a NAME_zero_point beside it must be zeros. Both names go into `used`.
///
/// `layer` keeps what is no view into the file.
Status read_matrix(const TensorFile& file, const std::string& name, bool transposed, WeightType wanted, LayerWeights* layer,
                   std::vector<std::string>* used, FileMatrix* matrix);

}  // namespace attend::io
