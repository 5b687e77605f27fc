// attend quantize: writes a file with the matrices of layers in a type of low precision, and tells what that costs.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "attend/io.hpp"
#include "execution.h"
#include "failure.h"
#include "io/architecture.h"
#include "io/file_matrix.h"
#include "io/narrow.h"
#include "io/shape.h"
#include "io/text.h"
#include "layer_input.h"
#include "output.h"
#include "precision_options.h"
#include "progress.h"
#include "rotary_options.h"
#include "text.h"
#include "verbs.h"

namespace attend::tool {
namespace {

constexpr std::int64_t random_tokens = 64;

/// What --weights takes.
struct Target {
  const char *name, *dtype;
  WeightType type;
  int group = 0;  // of int4; 0: the file's, or 32
};
constexpr Target targets[] = {{"int8", "I8", WeightType::int8}, {"bfloat16", "BF16", WeightType::bfloat16}, {"float16", "F16", WeightType::float16}, {"int4", "int4", WeightType::int4}};

Target chosen_target(const Arguments& arguments) {
  std::string type = with_whole_type(arguments.text("--weights"));
  const int group = take_group("--weights", &type);
  std::vector<std::string> names;
  for (Target target : targets) {
    target.group = group;
    if (type == target.name) return target;
    names.push_back(target.name);
  }
  throw Failure("--weights " + io::quoted(type) + ": there are int8, bfloat16, float16, int4:32, int4:64 and int4:128" + suggestion(type, names));
}

bool is_gguf(const io::TensorFile& file) { return !file.model().architecture.empty(); }

/// A matrix in its new type.
struct Converted {
  std::string name, was, is;          // was, is: its types
  std::vector<std::string> replaced;  // the tensors of the file that it stands for
  std::vector<std::int64_t> shape;    // in OUT
  std::size_t bytes_before = 0;
  bool kept = false;  // whether the file has it so already: `matrix` is empty
  io::NarrowedMatrix matrix;
};

/// A layer in its new type; what else a GGUF file has of it, which gets other names.
struct ConvertedLayer {
  std::string prefix, convention;
  std::vector<Converted> matrices;
  std::vector<std::pair<std::string, io::FloatTensor>> vectors;
  std::string flags;   // of attend run, that a GGUF file stands for
  std::string input;   // what its output was computed on
  double error = 0.0;  // of that
};

std::string with_dot(const std::string& prefix) { return prefix.empty() || prefix.back() == '.' ? prefix : prefix + '.'; }

std::size_t size_of(const io::TensorFile& file, const std::string& name) {
  const io::TensorEntry* entry = file.find(name);
  return entry == nullptr ? 0 : entry->end - entry->begin;
}

std::string type_name(const std::string& dtype, std::int64_t group) { return dtype == "int4" ? format("int4:%lld", static_cast<long long>(group)) : dtype; }

/// Gives a matrix its new type, under that name.
Converted convert(const io::TensorFile& file, const io::FileMatrix& matrix, const std::string& name, const io::LayerWeights& found, const Target& target) {
  Converted one;
  one.name = name;
  one.was = type_name(matrix.dtype, matrix.group);
  one.is = type_name(target.dtype, found.config.weight_group);
  one.kept = matrix.is_stored() && !is_gguf(file);
  one.shape = {matrix.rows, matrix.columns};
  if (found.transposed) std::swap(one.shape[0], one.shape[1]);
  if (one.kept) return one;
  one.replaced = {matrix.name};
  if (matrix.dtype == "int4") one.replaced = {matrix.name + "_packed", matrix.name + "_scale", matrix.name + "_zero_point", matrix.name + "_shape"};
  if (matrix.dtype == "I8") one.replaced = {matrix.name, matrix.name + "_scale", matrix.name + "_zero_point"};
  for (const std::string& tensor : one.replaced) one.bytes_before += size_of(file, tensor);
  if (is_gguf(file)) one.bytes_before = one.bytes_before / static_cast<std::size_t>(file.find(matrix.name)->shape[0]) * static_cast<std::size_t>(matrix.rows);
  const Status status = io::narrow(matrix, target.type, found.config.weight_group, found.transposed, &one.matrix);
  if (!status.ok()) throw Failure(io::quoted(file.path()) + ": tensor " + io::quoted(matrix.name) + " in " + one.is + ": " + status.message());
  return one;
}

/// The layer in its new type: the tensors of its matrices as the file has them; of a GGUF file all that is the layer's, by Llama's names, with rows
/// in the order of that.
ConvertedLayer convert(const io::TensorFile& file, const io::LayerWeights& found, const Target& target) {
  ConvertedLayer layer;
  layer.prefix = found.prefix;
  layer.convention = found.convention;
  if (found.transposed && target.type == WeightType::int4) {
    throw Failure(io::quoted(file.path()) + ": --weights int4: the file stores matrices (in, out), as " + layer.convention + " does, for which compressed-tensors has no form of 4 bits");
  }
  if (!is_gguf(file)) {
    for (const io::FileMatrix& matrix : found.matrices) layer.matrices.push_back(convert(file, matrix, matrix.name, found, target));
    return layer;
  }
  const char* const projections[] = {"q_proj.", "k_proj.", "v_proj.", "o_proj."};
  const MultiHeadAttentionWeights& weights = found.weights;
  const ConstTensorView* const biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
  const auto keep = [&](const std::string& name, const ConstTensorView& view) {
    if (view.absent()) return;
    io::FloatTensor tensor;
    tensor.view = view;
    tensor.keep();
    layer.vectors.emplace_back(with_dot(layer.prefix) + name, std::move(tensor));
  };
  for (std::size_t n = 0; n < 4; ++n) {
    layer.matrices.push_back(convert(file, found.projections[n], with_dot(layer.prefix) + projections[n] + "weight", found, target));
    keep(std::string(projections[n]) + "bias", *biases[n]);
  }
  keep("q_norm.weight", weights.query_norm);
  keep("k_norm.weight", weights.key_norm);
  keep("sinks", found.sinks.view);
  return layer;
}

/// The tensors of the new file, by name: those of the old one, but for the layers' matrices, or of a GGUF file the layers' alone. They view both.
std::vector<io::SafetensorsTensor> new_tensors(const io::TensorFile& file, const ConvertedLayer* layers, std::size_t count) {
  std::vector<io::SafetensorsTensor> tensors;
  std::set<std::string> replaced;
  for (const ConvertedLayer* layer = layers; layer < layers + count; ++layer) {
    for (const Converted& one : layer->matrices) {
      if (one.kept) continue;
      replaced.insert(one.replaced.begin(), one.replaced.end());
      for (io::SafetensorsTensor& tensor : one.matrix.tensors(one.name)) tensors.push_back(std::move(tensor));
    }
    for (const auto& [name, tensor] : layer->vectors) tensors.push_back({name, tensor.shape(), tensor.view.data});
  }
  for (const io::TensorEntry& entry : file.entries()) {
    if (is_gguf(file) || replaced.count(entry.name) != 0) continue;
    tensors.push_back({entry.name, entry.shape, nullptr, entry.dtype, {reinterpret_cast<const char*>(file.bytes(entry)), entry.end - entry.begin}});
  }
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

/// Numbers of mean 0 and variance 1, the same everywhere.
void fill(std::mt19937_64& random, Floats* floats) {
  for (float& value : floats->values) {
    double sum = -6.0;
    for (int n = 0; n < 12; ++n) sum += static_cast<double>(random() >> 11) * 0x1p-53;
    value = static_cast<float>(sum);
  }
}

/// What the layer's output is computed on: --input for all three, or random tokens.
struct Input {
  LoadedFloats given;
  Floats query{{0}}, key{{0}}, value{{0}};
  ConstTensorView views[3];
  std::string text;

  Input(const Arguments& arguments, const MultiHeadAttentionConfig& config) {
    const std::string path = arguments.text("--input");
    const std::int64_t seed = arguments.integer("--seed", 1, 0, std::int64_t{1} << 62);
    if (!path.empty()) {
      if (arguments.has("--seed")) throw Failure("--seed: the input is given, by --input");
      if (config.key_size != config.query_size || config.value_size != config.query_size) {
        throw Failure(format("--input %s: the layer takes queries, keys and values of different widths, %lld, %lld and %lld; without --input they are random", io::quoted(path).c_str(),
                             static_cast<long long>(config.query_size), static_cast<long long>(config.key_size), static_cast<long long>(config.value_size)));
      }
      given = load_floats("--input", path, {-1, -1, config.query_size});
      for (ConstTensorView& view : views) view = given.view();
      text = io::quoted(path);
      return;
    }
    std::mt19937_64 random(static_cast<std::uint64_t>(seed));
    const std::int64_t widths[] = {config.query_size, config.key_size, config.value_size};
    Floats* const arrays[] = {&query, &key, &value};
    const bool same = widths[0] == widths[1] && widths[0] == widths[2];  // as in self-attention
    for (int n = 0; n < 3; ++n) {
      if (n == 0 || !same) {
        *arrays[n] = Floats({1, random_tokens, widths[n]});
        fill(random, arrays[n]);
      }
      views[n] = arrays[same ? 0 : n]->view();
    }
    text = format("%lld random tokens, seed %lld", static_cast<long long>(random_tokens), static_cast<long long>(seed));
  }
};

Floats output_of(const io::LoadedLayer& layer, const Input& input, Threads threads) {
  const ConstTensorView& queries = input.views[0];
  Floats output({queries.sizes[0], queries.sizes[1], layer.attention.config().output_size});
  Workspace workspace;
  AttentionOptions options = layer.options;
  options.threads = threads;
  require(layer.attention.forward(queries, input.views[1], input.views[2], {}, output.view(), workspace, options));
  return output;
}

/// The root mean square of the difference, of that of `exact`.
double relative_error(const Floats& found, const Floats& exact) {
  double off = 0.0, all = 0.0;
  for (std::size_t i = 0; i < exact.values.size(); ++i) {
    const double number = static_cast<double>(exact.values[i]), difference = static_cast<double>(found.values[i]) - number;
    off += difference * difference;
    all += number * number;
  }
  return off > 0.0 ? std::sqrt(off / all) : off;  // NaN stays one
}

/// The tensors of a layer, and T5's table where it is elsewhere, as a file of their own.
io::SafetensorsFile file_of_layer(const io::TensorFile& file, const ConvertedLayer& layer, const std::string& relative_bias, const std::string& name) {
  std::vector<io::SafetensorsTensor> of_layer;
  const std::string dotted = with_dot(layer.prefix);
  for (io::SafetensorsTensor& tensor : new_tensors(file, &layer, 1)) {
    if (tensor.name.compare(0, dotted.size(), dotted) == 0 || tensor.name == relative_bias) of_layer.push_back(std::move(tensor));
  }
  std::vector<unsigned char> bytes;
  io::SafetensorsFile written;
  require(io::write_safetensors(&bytes, of_layer));
  require(io::SafetensorsFile::parse(std::move(bytes), name, &written));
  return written;
}

std::size_t total(const std::vector<io::SafetensorsTensor>& tensors) {
  std::size_t bytes = 0;
  for (const io::SafetensorsTensor& tensor : tensors) {
    std::size_t of_tensor = tensor.stored.size();
    if (tensor.stored.data() == nullptr) io::byte_count(tensor.shape, sizeof(float), &of_tensor);
    bytes += of_tensor;
  }
  return bytes;
}

/// Makes the matrices floats that are stored.
void widen(io::LayerWeights* found) {
  MultiHeadAttentionWeights& weights = found->weights;
  ConstTensorView* const floats[] = {&weights.query, &weights.key, &weights.value, &weights.output};
  const StoredMatrix** const stored[] = {&weights.stored_query, &weights.stored_key, &weights.stored_value, &weights.stored_output};
  for (std::size_t n = 0; n < 4; ++n) {
    if (*stored[n] == nullptr) continue;
    found->tensors.push_back(io::widened(found->projections[n]));
    *floats[n] = found->tensors.back().view;
    *stored[n] = nullptr;
  }
  found->config.weight_type = WeightType::float32;
  found->config.weight_group = 0;
}

/// What attend run is to be told of a layer in OUT, for a GGUF file says it and OUT does not.
std::string flags_of_model(const io::TensorFile& file, const io::LoadedLayer& layer) {
  const io::ModelFacts& model = file.model();
  const MultiHeadAttentionConfig& config = layer.attention.config();
  std::string flags = format("--heads %lld", static_cast<long long>(config.num_heads));
  io::Rotation rotation = io::Rotation::none;
  io::find_rotation(model.architecture, &rotation);
  if (rotation != io::Rotation::none) {
    flags += format(" --rope-theta %.9g", model.rotary_base == 0.0 ? 10000.0 : model.rotary_base);
    const std::int64_t width = model.rotary_width;
    if (width != 0 && width * config.num_heads != config.num_hiddens) flags += format(" --rope-dim %lld", static_cast<long long>(width));
    if (model.rotary_scaling == "linear") flags += format(" --rope-scaling linear,factor=%.9g", model.rotary_factor);
  }
  if (model.scale > 0.0) flags += format(" --scale %.9g", model.scale);
  if (model.softcap > 0.0) flags += format(" --softcap %.9g", model.softcap);
  if (file.find("rope_freqs.weight") != nullptr) flags += ", and has no flag for rope_freqs.weight";
  if (config.qk_norm && config.norm_epsilon != MultiHeadAttentionConfig().norm_epsilon) flags += format(", and has no flag for norms with an epsilon of %.9g", static_cast<double>(config.norm_epsilon));
  return flags;
}

/// The prefixes of the layers: that of --prefix, or with --all-layers all below it.
std::vector<std::string> chosen_prefixes(const Arguments& arguments, const io::TensorFile& file) {
  const std::string prefix = arguments.text("--prefix");
  if (!arguments.has("--all-layers")) return {prefix};
  std::vector<std::string> all, chosen;
  require(io::find_prefixes(file, &all));
  const std::string dotted = with_dot(prefix);
  for (const std::string& one : all) {
    if (with_dot(one).compare(0, dotted.size(), dotted) == 0) chosen.push_back(one);
  }
  return chosen.empty() ? std::vector<std::string>{prefix} : chosen;  // finding it says what there is
}

/// Converts a layer, each matrix of which is read once, and measures what that costs.
ConvertedLayer quantized_layer(const Arguments& arguments, const io::TensorFile& file, const std::string& prefix, const Target& target, Isa isa, Threads threads) {
  io::LoadOptions options = load_options(arguments, file, isa);
  options.weight_type = target.type;
  options.weight_group = target.group;
  io::LayerWeights found;
  require(io::find_layer(file, prefix, &found, chosen_heads(arguments), options));
  ConvertedLayer layer = convert(file, found, target);
  widen(&found);
  options.weight_type = WeightType::float32;
  options.weight_group = 0;
  if (arguments.has("--all-layers") && !found.relative_bias.view.absent()) options.relative_bias.clear();  // it is for those without
  const io::LoadedLayer before = make_layer(arguments, file, std::move(found), options);
  const MultiHeadAttentionConfig& config = before.attention.config();
  if (is_gguf(file)) {
    layer.flags = flags_of_model(file, before);
    options.rotary = config.rotary;
    options.norm_epsilon = config.norm_epsilon;
    options.ignored.clear();
  }
  const io::SafetensorsFile written = file_of_layer(file, layer, options.relative_bias, arguments.text("OUT"));
  require(io::find_layer(written, prefix, &found, config.num_heads, options));
  io::LoadedLayer after = make_layer(arguments, written, std::move(found), options);
  after.options.scale = before.options.scale;
  after.options.softcap = before.options.softcap;
  const Input input(arguments, config);
  layer.input = input.text;
  layer.error = relative_error(output_of(after, input, threads), output_of(before, input, threads));
  return layer;
}

/// For each matrix, each layer's output and the whole file, what it was, what it is, and what that costs.
void print_account(std::FILE* stream, const io::TensorFile& file, const std::vector<ConvertedLayer>& layers, std::size_t bytes) {
  std::size_t bytes_before = 0;
  for (const io::TensorEntry& entry : file.entries()) bytes_before += is_gguf(file) ? 0 : entry.end - entry.begin;
  for (const ConvertedLayer& layer : layers) {
    for (const Converted& one : layer.matrices) {
      const std::string line = terminal_text(one.name) + ' ' + io::shape_text(one.shape);
      if (one.kept) std::fprintf(stream, "%s: %s already\n", line.c_str(), one.is.c_str());
      else std::fprintf(stream, "%s: %s to %s, %zu bytes to %zu, off by %.3g\n", line.c_str(), one.was.c_str(), one.is.c_str(), one.bytes_before,
                        one.matrix.size(), one.matrix.error);
      if (is_gguf(file)) bytes_before += one.bytes_before;
    }
    for (const auto& vector : layer.vectors) bytes_before += vector.second.owned.size() * sizeof(float);
    const std::string whose = layers.size() == 1 ? "" : " of " + terminal_text(layer.prefix);
    std::fprintf(stream, "the %s layer's output%s on %s: off by %.3g\n", layer.convention.c_str(), whose.c_str(),
                 terminal_text(layer.input).c_str(), layer.error);
  }
  const char* const of = !is_gguf(file) ? "" : layers.size() == 1 ? " of the layer" : " of the layers";
  std::fprintf(stream, "all tensors%s: %zu bytes to %zu\n", of, bytes_before, bytes);
}

int quantize(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const Target target = chosen_target(arguments);
  const std::string in = arguments.text("IN"), out = arguments.text("OUT");
  for (const std::string ending : {".json", ".gguf"}) {
    if (out.size() < ending.size() || out.compare(out.size() - ending.size(), ending.size(), ending) != 0) continue;
    throw Failure("OUT " + io::quoted(out) + ": a name in " + ending + (ending == ".json" ? " is that of an index of shards" : " is that of another format") + ", expected .safetensors");
  }
  require_two_files("IN", in, "OUT", out);
  require_writable(out);

  Progress progress;
  progress.show("reading");
  io::TensorFile file;
  require(io::TensorFile::open(in, &file));
  const std::vector<std::string> prefixes = chosen_prefixes(arguments, file);
  std::vector<ConvertedLayer> layers;
  for (const std::string& prefix : prefixes) {
    progress.show(format("converting: %zu of %zu layers", layers.size(), prefixes.size()));
    layers.push_back(quantized_layer(arguments, file, prefix, target, isa, threads.threads()));
  }
  progress.show("writing");
  const std::vector<io::SafetensorsTensor> tensors = new_tensors(file, layers.data(), layers.size());
  std::FILE* const stream = is_standard_output(out) ? stderr : stdout;
  require(io::write_safetensors(out, tensors, file.metadata()));
  progress.clear();

  if (!arguments.has("--quiet")) print_account(stream, file, layers, total(tensors));
  std::set<std::string> flags;
  for (const ConvertedLayer& layer : layers) flags.insert(layer.flags);
  for (const std::string& one : flags) {
    if (!one.empty()) print_remark("quantize", "what the GGUF file says of its model is not in OUT: attend run takes it as " + one);
  }
  return 0;
}

}  // namespace

const Verb quantize_verb = {
    "quantize",
    "writes a file with the matrices of layers in int8, int4, bfloat16 or float16, and tells what that costs",
    "IN is a .safetensors file, the index of several, or a GGUF file; OUT is a .safetensors file with the same\n"
    "tensors, but with the matrices of the layer's four projections in the new type. Biases, norms and all\n"
    "other tensors are as they were. Integers have their scales beside them, as compressed-tensors stores them:\n"
    "  int8  X.weight of I8 and X.weight_scale of F32, (channels, 1)\n"
    "  int4  in place of X.weight: X.weight_packed of I32, eight numbers each; X.weight_scale of F32, (channels,\n"
    "        groups); X.weight_shape; X.weight_zero_point, unless all are zero (\"pack-quantized\")\n"
    "attend run --weight-type int8 (int4:64, ..) on OUT gives the bits that it gives on IN. A matrix that is of\n"
    "that type already stays as it is. With --all-layers it takes all layers below --prefix, else that one.\n"
    "\n"
    "Of a GGUF file OUT has the layers alone, under their prefixes, by Llama's names (q_proj, k_proj, v_proj,\n"
    "o_proj), with rows as transformers orders them for rotation; it tells which flags stand for what the file\n"
    "says of its model. Q4_0 becomes int4:32 as it is.\n"
    "\n"
    "It prints for each matrix, and for the layer's output without a mask, what the new numbers are off by:\n"
    "the root mean square of the difference, of that of the old ones. The output is computed in float32\n"
    "from the new numbers.\n",
    joined({
        {{"--weights", "TYPE", "int8, bfloat16, float16, or int4:32, int4:64 or int4:128, by how many share a scale", true},
         {"--all-layers", nullptr, "converts every layer that there is below the prefix"}},
        layer_flags(),
        rotary_flags(),
        {
            {"--input", "X.npy", "queries, keys and values (B, L, width) for the layer's output; default: random tokens"},
            {"--seed", "N", "the seed of random tokens; default: 1"},
            {"--quiet", nullptr, "does not print what the new numbers are off by"},
        },
    }),
    quantize,
    {{"IN", nullptr, "the file of the layer, the index of its shards, or a GGUF file"}, {"OUT", nullptr, "the .safetensors file to write"}},
};

}  // namespace attend::tool
