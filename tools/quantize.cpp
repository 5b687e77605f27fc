// attend quantize: writes a file with the matrices of a layer in a type of low precision, and tells what that costs.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "attend/io.hpp"
#include "execution.h"
#include "failure.h"
#include "io/file_matrix.h"
#include "io/narrow.h"
#include "io/shape.h"
#include "io/text.h"
#include "layer_input.h"
#include "output.h"
#include "progress.h"
#include "rotary_options.h"
#include "text.h"
#include "verbs.h"

namespace attend::tool {
namespace {

constexpr std::int64_t random_tokens = 64;

/// What --weights takes.
struct Target {
  const char *name, *other_name, *dtype;
  WeightType type;
};
constexpr Target targets[] = {{"int8", "int8", "I8", WeightType::int8}, {"bf16", "bfloat16", "BF16", WeightType::bfloat16}, {"fp16", "float16", "F16", WeightType::float16}};

const Target& chosen_target(const Arguments& arguments) {
  const std::string text = arguments.text("--weights");
  std::vector<std::string> names;
  for (const Target& target : targets) {
    if (text == target.name || text == target.other_name) return target;
    names.push_back(target.name);
  }
  const bool four_bits = text.compare(0, 4, "int4") == 0;
  throw Failure("--weights " + io::quoted(text) + (four_bits ? ": integers of 4 bits are not written yet; there are " : ": there are ") + "int8, bf16 and fp16" +
                (four_bits ? "" : suggestion(text, names)));
}

/// A matrix of the file in its new type.
struct Converted {
  std::string name, was;  // was: its dtype
  io::NarrowedMatrix matrix;
  std::int64_t rows = 0;
  std::size_t bytes_before = 0;

  std::size_t bytes() const { return matrix.bytes.size() + matrix.scales.size() * sizeof(float); }
};

std::size_t size_of(const io::SafetensorsFile& file, const std::string& name) {
  const io::SafetensorsEntry* entry = file.find(name);
  return entry == nullptr ? 0 : entry->end - entry->begin;
}

/// The layer's matrices in the new type; those that the file has in it already stay as they are, and are not among them.
std::vector<Converted> convert(const io::SafetensorsFile& file, const io::LayerWeights& found, const Target& target) {
  std::vector<Converted> all;
  for (const std::string& name : found.matrices) {
    const io::SafetensorsEntry& entry = *file.find(name);
    if (entry.dtype == target.dtype) continue;
    io::LayerWeights keeper;
    io::FileMatrix matrix;
    std::vector<std::string> used;
    require(io::read_matrix(file, name, found.transposed, WeightType::float32, &keeper, &used, &matrix));
    Converted one;
    one.name = name;
    one.was = entry.dtype;
    one.rows = matrix.rows();
    one.bytes_before = size_of(file, name) + (entry.dtype == "I8" ? size_of(file, name + "_scale") : 0);
    const Status status = io::narrow(matrix.floats, target.type, found.transposed, &one.matrix);
    if (!status.ok()) throw Failure(io::quoted(file.path()) + ": tensor " + io::quoted(name) + " in " + target.dtype + ": " + status.message());
    all.push_back(std::move(one));
  }
  return all;
}

/// The tensors of the new file: those of the old one, but for the converted ones. They view both.
std::vector<io::SafetensorsTensor> new_tensors(const io::SafetensorsFile& file, const std::vector<Converted>& converted, const Target& target, bool transposed) {
  std::vector<io::SafetensorsTensor> tensors;
  for (const io::SafetensorsEntry& entry : file.entries()) {
    const auto is = [&](const std::string& name) { return std::any_of(converted.begin(), converted.end(), [&](const Converted& one) { return one.was == "I8" && one.name + name == entry.name; }); };
    if (is("_scale") || is("_zero_point")) continue;  // of integers that are floats now
    const auto one = std::find_if(converted.begin(), converted.end(), [&](const Converted& matrix) { return matrix.name == entry.name; });
    if (one == converted.end()) {
      tensors.push_back({entry.name, entry.shape, nullptr, entry.dtype, {reinterpret_cast<const char*>(file.bytes(entry)), entry.end - entry.begin}});
      continue;
    }
    tensors.push_back({entry.name, entry.shape, nullptr, target.dtype, {reinterpret_cast<const char*>(one->matrix.bytes.data()), one->matrix.bytes.size()}});
    if (one->matrix.scales.empty()) continue;
    const std::vector<std::int64_t> shape = transposed ? std::vector<std::int64_t>{1, one->rows} : std::vector<std::int64_t>{one->rows, 1};
    tensors.push_back({entry.name + "_scale", shape, one->matrix.scales.data(), "F32"});
  }
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

/// The tensors under the prefix, and T5's table where it is elsewhere, as a file of their own.
io::SafetensorsFile file_of_layer(const Arguments& arguments, const std::vector<io::SafetensorsTensor>& tensors, const std::string& name) {
  const std::string prefix = arguments.text("--prefix");
  std::vector<io::SafetensorsTensor> of_layer;
  for (const io::SafetensorsTensor& tensor : tensors) {
    if (tensor.name.compare(0, prefix.size(), prefix) == 0 || tensor.name == arguments.text("--relative-bias")) of_layer.push_back(tensor);
  }
  std::vector<unsigned char> bytes;
  io::SafetensorsFile file;
  require(io::write_safetensors(&bytes, of_layer));
  require(io::SafetensorsFile::parse(std::move(bytes), name, &file));
  return file;
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

int quantize(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const Target& target = chosen_target(arguments);
  const std::string in = arguments.text("IN"), out = arguments.text("OUT");
  if (out.size() >= 5 && out.compare(out.size() - 5, 5, ".json") == 0) throw Failure("OUT " + io::quoted(out) + ": a name in .json is that of an index of shards, expected .safetensors");
  require_writable(out);

  Progress progress;
  progress.show("reading");
  io::SafetensorsFile file;
  require(io::SafetensorsFile::open(in, &file));
  const io::LoadedLayer before = load_layer(arguments, file, isa);
  const Input input(arguments, before.attention.config());
  io::LayerWeights found;
  require(io::find_layer(file, arguments.text("--prefix"), &found, chosen_heads(arguments)));
  progress.show("converting");
  const std::vector<Converted> converted = convert(file, found, target);
  const std::vector<io::SafetensorsTensor> tensors = new_tensors(file, converted, target, found.transposed);
  const Floats exact = output_of(before, input, threads.threads());
  const Floats rounded = output_of(load_layer(arguments, file_of_layer(arguments, tensors, out), isa), input, threads.threads());
  progress.show("writing");
  std::size_t bytes_before = 0;
  for (const io::SafetensorsEntry& entry : file.entries()) bytes_before += entry.end - entry.begin;
  std::FILE* const stream = is_standard_output(out) ? stderr : stdout;
  require(io::write_safetensors(out, tensors, file.metadata()));
  progress.clear();

  for (const std::string& name : found.matrices) {
    const std::string shape = io::shape_text(file.find(name)->shape);
    const auto one = std::find_if(converted.begin(), converted.end(), [&](const Converted& matrix) { return matrix.name == name; });
    if (one == converted.end()) {
      std::fprintf(stream, "%s %s: %s already\n", terminal_text(name).c_str(), shape.c_str(), target.dtype);
    } else {
      std::fprintf(stream, "%s %s: %s to %s, %zu bytes to %zu, off by %.3g\n", terminal_text(name).c_str(), shape.c_str(), one->was.c_str(), target.dtype, one->bytes_before, one->bytes(),
                   one->matrix.error);
    }
  }
  std::fprintf(stream, "the %s layer's output on %s: off by %.3g\n", before.convention, terminal_text(input.text).c_str(), relative_error(rounded, exact));
  std::fprintf(stream, "all tensors: %zu bytes to %zu\n", bytes_before, total(tensors));
  return 0;
}

}  // namespace

const Verb quantize_verb = {
    "quantize",
    "writes a file with a layer's matrices in int8, bfloat16 or float16, and tells what that costs",
    "IN is a .safetensors file, or the index of several; OUT holds the same tensors, with the matrices of the layer's four\n"
    "projections in the new type, and biases, norms and all other tensors as they were. Integers have a scale\n"
    "for each output channel beside them, as compressed-tensors stores them: X.weight of I8, X.weight_scale\n"
    "of F32, (channels, 1). attend run --weight-type int8 on OUT gives the bits that it gives on IN. Other\n"
    "layers of a file: run it again, on OUT.\n"
    "\n"
    "It prints for each matrix, and for the layer's output without a mask, what the new numbers are off by:\n"
    "the root mean square of the difference, of that of the old ones. The output is computed in float32\n"
    "from the new numbers.\n",
    joined({
        {{"--weights", "TYPE", "int8, bf16 or fp16", true}},
        layer_flags(),
        rotary_flags(),
        {
            {"--input", "X.npy", "queries, keys and values (B, L, width) for the layer's output; default: random tokens"},
            {"--seed", "N", "the seed of random tokens; default: 1"},
        },
    }),
    quantize,
    {{"IN", nullptr, "the file of the layer, or the index of its shards"}, {"OUT", nullptr, "the .safetensors file to write"}},
};

}  // namespace attend::tool
