// The inputs of a layer: weights, arrays, and the shapes that must agree.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arguments.h"
#include "attend/attend.hpp"
#include "attend/io.hpp"

namespace attend::tool {

/// How many heads --heads says there are; 0 if it was not given. Throws Failure.
std::int64_t chosen_heads(const Arguments& arguments);

/// The layer of the flags below, and of those of precision, bound to the ISA, from the file of --weights. Throws Failure.
io::LoadedLayer load_layer(const Arguments& arguments, Isa isa);

/// The same in two halves, for a verb that has a file open and asks for a type itself: what the flags say for io::find_layer, and the layer
/// made of what that finds, rotated as the flags say, else as the options do. They throw Failure.
io::LoadOptions load_options(const Arguments& arguments, const io::TensorFile& file, Isa isa);
io::LoadedLayer make_layer(const Arguments& arguments, const io::TensorFile& file, io::LayerWeights found, io::LoadOptions options);

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

/// Zeros of a shape, contiguous. Throws Failure where there is no memory for it.
struct Floats {
  explicit Floats(std::vector<std::int64_t> sizes);
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  TensorView view();
};

/// Flags of a layer, for a verb's table.
inline std::vector<Flag> layer_flags() {
  return {
      {"--heads", "H", "how many heads queries have; a GGUF file says it itself"},
      {"--kv-heads", "G", "how many heads keys and values have; default: as many as their rows fill"},
      {"--prefix", "P", "what the names of the layer's tensors begin with; default: nothing"},
      {"--ignore", "NAME", "accepts that the layer does not use that tensor, or all of NAME.*; repeatable", false, true},
      {"--scale", "S", "what scores are multiplied by; default: 1 / sqrt(head width), with T5's names 1"},
      {"--relative-bias", "NAME|none", "T5's table, where it is the tensor of another layer of the file; none: there is none"},
      {"--relative-sides", "1|2", "on how many sides of a query T5's buckets lie; default: 2; 1 with --causal, or under a prefix of a decoder"},
      {"--relative-max-distance", "N", "the distance at which T5's last bucket begins; default: 128"},
  };
}

}  // namespace attend::tool
