// What a layer is run on: its weights, arrays, and the shapes that must agree.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arguments.h"
#include "attend/attend.hpp"
#include "io/npy.h"

namespace attend::tool {

/// Makes the layer of --weights, --prefix, --heads and --kv-heads, bound to the ISA. Throws Failure.
MultiHeadAttention load_layer(const Arguments& arguments, Isa isa);

/// Makes the layer of that file, prefix and number of heads. Fewer rows of keys are fewer heads of them: as
/// many as key_value_heads, if that is not 0.
MultiHeadAttention load_layer(const std::string& path, const std::string& prefix, std::int64_t heads, Isa isa,
                              std::int64_t key_value_heads = 0);

/// An array of a file as float32.
struct LoadedFloats {
  io::Array array;
  io::FloatTensor tensor;  // may view `array`
  const ConstTensorView& view() const { return tensor.view; }
};

/// Reads an array that must have the shape (-1: any size). `what` stands before the file's name in
/// messages. Throws Failure.
LoadedFloats load_floats(const std::string& what, const std::string& path,
                         const std::vector<std::int64_t>& shape);

/// Reads valid lengths of the shape (batch,) or (batch, queries); absent if there is no path.
io::Int64Tensor load_lengths(const std::string& path, std::int64_t batch, std::int64_t queries);

/// `count` entries of the outermost axis, from `first` on.
template <class Element>
View<Element> entries_of(View<Element> view, std::int64_t first, std::int64_t count) {
  if (view.absent()) return view;
  view.data += first * view.strides[0];
  view.sizes[0] = count;
  return view;
}

/// Zeros of a shape, contiguous. Throws Failure where there is no memory for it.
struct Floats {
  explicit Floats(std::vector<std::int64_t> sizes);
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  TensorView view();
};

/// Flags of a layer, for a verb's table.
inline constexpr Flag heads_flag = {"--heads", "H", "how many heads", true};
inline constexpr Flag key_value_heads_flag = {"--kv-heads", "G", "of keys and values; default: what their rows are enough for"};

}  // namespace attend::tool
