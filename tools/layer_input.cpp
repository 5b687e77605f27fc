// What a layer is run on: its weights, arrays, and the shapes that must agree.
#include "layer_input.h"

#include <utility>

#include "failure.h"
#include "io/layer_names.h"
#include "io/safetensors.h"
#include "io/shape.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

MultiHeadAttention load_layer(const Arguments& arguments, Isa isa) {
  const std::int64_t most = std::int64_t{1} << 32;
  return load_layer(arguments.text("--weights"), arguments.text("--prefix"), arguments.integer("--heads", 0, 1, most), isa,
                    arguments.integer("--kv-heads", 0, 1, most));
}

MultiHeadAttention load_layer(const std::string& path, const std::string& prefix, std::int64_t heads, Isa isa,
                              std::int64_t key_value_heads) {
  io::SafetensorsFile file;
  require(io::SafetensorsFile::open(path, &file));
  io::LayerWeights found;
  require(io::find_layer(file, prefix, &found));
  const std::int64_t hiddens = found.config.num_hiddens;
  if (hiddens % heads != 0) {
    throw Failure(format("--heads %lld does not divide the %lld columns of %s", static_cast<long long>(heads),
                         static_cast<long long>(hiddens), io::quoted(path).c_str()));
  }
  const std::int64_t width = hiddens / heads, rows = found.key_value_hiddens;
  if (key_value_heads == 0) key_value_heads = rows / width;
  if (key_value_heads == 0 || rows % width != 0 || key_value_heads != rows / width || heads % key_value_heads != 0) {
    throw Failure(format("%s: the keys' %lld rows are no %lld heads of the queries' width, %lld / %lld = %lld%s", io::quoted(path).c_str(),
                         static_cast<long long>(rows), static_cast<long long>(key_value_heads), static_cast<long long>(hiddens),
                         static_cast<long long>(heads), static_cast<long long>(width),
                         heads % (key_value_heads > 0 ? key_value_heads : 1) != 0 ? ", that --heads could share" : ""));
  }
  found.config.num_heads = heads;
  found.config.num_kv_heads = key_value_heads;
  found.config.isa = isa;
  MultiHeadAttention attention;
  require(MultiHeadAttention::make(found.config, found.weights, &attention));
  return attention;
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
    throw Failure(format("%s %s: the shape is %s, expected (%s)", what.c_str(), io::quoted(path).c_str(),
                         io::shape_text(found).c_str(), expected.c_str()));
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
