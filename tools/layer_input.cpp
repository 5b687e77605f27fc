// The inputs of a layer: weights, arrays, and the shapes that must agree.
#include "layer_input.h"

#include <utility>

#include "attend/io.hpp"
#include "failure.h"
#include "io/shape.h"
#include "io/text.h"
#include "precision_options.h"
#include "rotary_options.h"
#include "text.h"

namespace attend::tool {

namespace {

constexpr std::int64_t most_heads = std::int64_t{1} << 32;

// Reads the flags of T5's bias, but for its table.
void describe_relative_bias(const Arguments& arguments, RelativePositionBias* bias) {
  for (const char* flag : {"--relative-sides", "--relative-max-distance"}) {
    if (bias->table.absent() && arguments.has(flag)) throw Failure(std::string(flag) + ": the layer has no relative_attention_bias.weight");
  }
  bias->bidirectional = arguments.integer("--relative-sides", bias->bidirectional && !arguments.has("--causal") ? 2 : 1, 1, 2) == 2;
  bias->max_distance = arguments.integer("--relative-max-distance", bias->max_distance, 1, std::int64_t{1} << 20);
}

}  // namespace

std::int64_t chosen_heads(const Arguments& arguments) { return arguments.integer("--heads", 0, 1, most_heads); }

io::LoadedLayer load_layer(const Arguments& arguments, Isa isa) {
  io::TensorFile file;
  require(io::TensorFile::open(arguments.text("--weights"), &file));
  const Precision precision = chosen_precision(arguments, isa);
  io::LoadOptions options = load_options(arguments, file, isa);
  options.weight_type = precision.weight_type;
  options.weight_type_of_file = precision.of_file;
  options.weight_group = precision.group;
  options.arithmetic = precision.arithmetic;
  io::LayerWeights found;
  require(io::find_layer(file, arguments.text("--prefix"), &found, chosen_heads(arguments), options));
  return make_layer(arguments, file, std::move(found), options);
}

io::LoadOptions load_options(const Arguments& arguments, const io::TensorFile& file, Isa isa) {
  if (chosen_heads(arguments) == 0 && file.model().architecture.empty()) throw Failure("--heads is missing");
  io::LoadOptions options;
  options.isa = isa;
  options.num_kv_heads = arguments.integer("--kv-heads", 0, 1, most_heads);
  options.relative_bias = arguments.text("--relative-bias");
  options.ignored = arguments.texts("--ignore");
  options.names = {"--heads", "--kv-heads", "--relative-bias", "--ignore", "--weight-type", "--weight-type", "--rope-theta", "--rope-theta none"};
  options.unrotated = arguments.text("--rope-theta") == "none";
  options.low_precision = low_precision();
  options.low_precision_int4 = low_precision_int4();
  return options;
}

io::LoadedLayer make_layer(const Arguments& arguments, const io::TensorFile& file, io::LayerWeights found, io::LoadOptions options) {
  RotaryOptions rotary(arguments);
  const std::int64_t hiddens = found.config.num_hiddens, heads = found.config.num_heads, width = hiddens / heads;
  if (rotary.given() && hiddens % heads == 0) options.rotary = rotary.embedding(width);
  io::LoadedLayer layer;
  require(io::make_layer(file, std::move(found), heads, &layer, options));
  describe_relative_bias(arguments, &layer.options.relative_position_bias);
  if (arguments.has("--scale")) layer.options.scale = static_cast<float>(arguments.number("--scale", 0.0, -3e38));
  return layer;
}

LoadedFloats load_floats(const std::string& what, const std::string& path,
                         const std::vector<std::int64_t>& shape) {
  LoadedFloats loaded;
  require(io::read_npy(path, &loaded.array));
  const std::vector<std::int64_t>& found = loaded.array.shape;
  bool agrees = found.size() == shape.size();
  std::string expected;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    agrees = agrees && (shape[axis] == -1 || shape[axis] == found[axis]);
    expected += (axis > 0 ? ", " : "") + (shape[axis] == -1 ? "any" : std::to_string(shape[axis]));
  }
  if (!agrees) {
    throw Failure(format("%s %s: the shape is %s, expected (%s%s)", what.c_str(), io::quoted(path).c_str(),
                         io::shape_text(found).c_str(), expected.c_str(), shape.size() == 1 ? "," : ""));
  }
  require(io::to_float32(loaded.array, &loaded.tensor));
  return loaded;
}

io::Int64Tensor load_lengths(const std::string& path, std::int64_t batch, std::int64_t queries) {
  io::Int64Tensor tensor;
  if (path.empty()) return tensor;
  io::Array array;
  require(io::read_npy(path, &array));
  using Shape = std::vector<std::int64_t>;
  if (array.shape != Shape{batch} && array.shape != Shape{batch, queries}) {
    throw Failure("--valid-lens " + io::quoted(path) + ": the shape is " + io::shape_text(array.shape) +
                  ", expected " + io::shape_text({batch}) + " or " + io::shape_text({batch, queries}));
  }
  require(io::to_int64(array, &tensor));
  return tensor;
}

Floats::Floats(std::vector<std::int64_t> sizes) : shape(std::move(sizes)) {
  std::size_t bytes;
  if (!io::byte_count(shape, sizeof(float), &bytes)) {
    throw Failure("an array of shape " + io::shape_text(shape) + " is too large");
  }
  values.resize(bytes / sizeof(float));
}

TensorView Floats::view() { return io::contiguous_view(values.data(), shape); }

}  // namespace attend::tool
