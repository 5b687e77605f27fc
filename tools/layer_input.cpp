// What a layer is run on: its weights, arrays, and the shapes that must agree.
#include "layer_input.h"

#include <algorithm>
#include <utility>

#include "failure.h"
#include "io/layer_names.h"
#include "io/safetensors.h"
#include "io/shape.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

// Which layer of which file; what of it is left out; its heads of keys, 0: as many as their rows are enough for.
struct LayerChoice {
  std::string path, prefix;
  std::int64_t heads;
  Isa isa;
  std::int64_t key_value_heads = 0;
  std::vector<std::string> ignored = {};
};

// Every tensor that the layer does not use has to be ignored, and no other.
void require_ignored(const io::SafetensorsFile& file, const LayerChoice& choice, const std::vector<std::string>& unused) {
  const std::string prefix = choice.prefix.empty() || choice.prefix.back() == '.' ? choice.prefix : choice.prefix + '.';
  const auto begins = [](const std::string& name, const std::string& with) { return name.compare(0, with.size(), with) == 0; };
  const auto covers = [&](const std::string& ignored, const std::string& name) {
    for (const std::string& whole : {ignored, prefix + ignored}) {
      if (name == whole || begins(name, whole + '.')) return true;
    }
    return false;
  };
  for (const std::string& ignored : choice.ignored) {
    const auto covered = [&](const std::string& name) { return covers(ignored, name); };
    if (std::any_of(unused.begin(), unused.end(), covered)) continue;
    const auto& all = file.entries();
    const bool used = std::any_of(all.begin(), all.end(), [&](const auto& entry) { return begins(entry.name, prefix) && covered(entry.name); });
    throw Failure("--ignore " + io::quoted(ignored) +
                  (used ? std::string(": the layer uses it") : ": nothing has that name under prefix " + io::quoted(choice.prefix)));
  }
  constexpr std::size_t most = 4;
  std::string names;
  std::size_t count = 0;
  for (const std::string& name : unused) {
    const auto covering = [&](const std::string& ignored) { return covers(ignored, name); };
    if (std::any_of(choice.ignored.begin(), choice.ignored.end(), covering)) continue;
    if (count++ < most) names += (names.empty() ? "" : ", ") + io::quoted(name);
  }
  if (count == 0) return;
  if (count > most) names += format(" and %zu more", count - most);
  throw Failure(io::quoted(choice.path) + ": under prefix " + io::quoted(choice.prefix) + " the layer does not use " + names + "; --ignore NAME accepts that");
}

LoadedLayer load(const LayerChoice& choice, io::LayerWeights* found) {
  LoadedLayer layer;
  require(io::SafetensorsFile::open(choice.path, &layer.file));
  require(io::find_layer(layer.file, choice.prefix, found));
  require_ignored(layer.file, choice, found->unused);
  const std::int64_t hiddens = found->config.num_hiddens, heads = choice.heads;
  if (hiddens % heads != 0) {
    throw Failure(format("--heads %lld does not divide the %lld columns of %s", static_cast<long long>(heads),
                         static_cast<long long>(hiddens), io::quoted(choice.path).c_str()));
  }
  const std::int64_t width = hiddens / heads, rows = found->key_value_hiddens;
  const std::int64_t key_value_heads = choice.key_value_heads == 0 ? rows / width : choice.key_value_heads;
  if (key_value_heads == 0 || rows % width != 0 || key_value_heads != rows / width || heads % key_value_heads != 0) {
    throw Failure(format("%s: the keys' %lld rows are no %lld heads of the queries' width, %lld / %lld = %lld%s", io::quoted(choice.path).c_str(),
                         static_cast<long long>(rows), static_cast<long long>(key_value_heads), static_cast<long long>(hiddens),
                         static_cast<long long>(heads), static_cast<long long>(width),
                         heads % (key_value_heads > 0 ? key_value_heads : 1) != 0 ? ", that --heads could share" : ""));
  }
  found->config.num_heads = heads;
  found->config.num_kv_heads = key_value_heads;
  found->config.isa = choice.isa;
  require(MultiHeadAttention::make(found->config, found->weights, &layer.attention));
  layer.options.scale = found->scale;
  layer.sinks = std::move(found->sinks);
  layer.options.sinks = layer.sinks.view;
  layer.relative_bias = std::move(found->relative_bias);
  layer.options.relative_position_bias.table = layer.relative_bias.view;
  return layer;
}

// What the flags say of T5's bias: which table it is, and what a file does not hold of it.
void choose_relative_bias(const Arguments& arguments, const io::LayerWeights& found, LoadedLayer* layer) {
  RelativePositionBias& bias = layer->options.relative_position_bias;
  const std::string name = arguments.text("--relative-bias");
  if (name.empty() && bias.table.absent() && std::string(found.convention) == "T5") {
    throw Failure(io::quoted(arguments.text("--weights")) +
                  ": named as T5's layers, without relative_attention_bias.weight; --relative-bias NAME of the one that it shares, or none");
  }
  if (!name.empty() && !bias.table.absent()) throw Failure("--relative-bias " + io::quoted(name) + ": the layer has one of its own");
  if (!name.empty() && name != "none") {
    require(layer->file.read(name, &layer->relative_bias));
    bias.table = layer->relative_bias.view;
  }
  for (const char* flag : {"--relative-sides", "--relative-max-distance"}) {
    if (bias.table.absent() && arguments.has(flag)) throw Failure(std::string(flag) + ": the layer has no relative_attention_bias.weight");
  }
  bias.bidirectional = arguments.integer("--relative-sides", arguments.has("--causal") ? 1 : 2, 1, 2) == 2;
  bias.max_distance = arguments.integer("--relative-max-distance", bias.max_distance, 1, std::int64_t{1} << 20);
}

}  // namespace

LoadedLayer load_layer(const Arguments& arguments, Isa isa) {
  const std::int64_t most = std::int64_t{1} << 32;
  io::LayerWeights found;
  LoadedLayer layer = load({arguments.text("--weights"), arguments.text("--prefix"), arguments.integer("--heads", 0, 1, most), isa,
                            arguments.integer("--kv-heads", 0, 1, most), arguments.texts("--ignore")},
                           &found);
  choose_relative_bias(arguments, found, &layer);
  if (arguments.has("--scale")) layer.options.scale = static_cast<float>(arguments.number("--scale", 0.0, -3e38));
  return layer;
}

LoadedLayer load_layer(const std::string& path, const std::string& prefix, std::int64_t heads, Isa isa) {
  io::LayerWeights found;
  return load({path, prefix, heads, isa}, &found);
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
