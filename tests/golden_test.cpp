// Tests against what PyTorch computed in float64: the golden cases, and real layers of MiniLM.

#include "engine_test.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "attend/io.hpp"
#include "test_data.h"

using namespace engine_test;
using reference::Array;

namespace {

constexpr double allowed = 4e-6;  // of the largest output

/// An array of a file as doubles; absent where there is no such file.
Array read_array(const std::string& path) {
  if (!std::ifstream(path).good()) return Array();
  io::Array file;
  REQUIRE_OK(io::read_npy(path, &file));
  Array array = Array::zeros(file.shape);
  if (file.type == io::ElementType::float64) {
    std::memcpy(array.values.data(), file.bytes.data(), file.bytes.size());
    return array;
  }
  io::FloatTensor floats;
  REQUIRE_OK(io::to_float32(file, &floats, true));
  return Array(floats.view);
}

Tensor read_tensor(const std::string& path) {
  const Array array = read_array(path);
  REQUIRE_MESSAGE(!array.absent(), path);
  Tensor tensor(array.shape);
  for (std::int64_t n = 0; n < tensor.count(); ++n) tensor[n] = static_cast<float>(array.values[static_cast<std::size_t>(n)]);
  return tensor;
}

Lengths read_lengths(const std::string& path) {
  if (!std::ifstream(path).good()) return Lengths();
  io::Array file;
  io::Int64Tensor numbers;
  REQUIRE_OK(io::read_npy(path, &file));
  REQUIRE_OK(io::to_int64(file, &numbers));
  const std::vector<std::int64_t> values(numbers.view.data, numbers.view.data + reference::count_of(file.shape));
  return file.shape.size() == 1 ? Lengths(values, file.shape[0]) : Lengths(values, file.shape[0], file.shape[1]);
}

/// One case: its folder, and the lines of its case.txt.
struct Case {
  std::string folder;
  std::map<std::string, std::string> parameters;

  explicit Case(const std::string& where) : folder(where) {
    std::ifstream file(folder + "/case.txt");
    for (std::string key, value; file >> key >> value;) parameters[key] = value;
    REQUIRE_MESSAGE(!parameters.empty(), folder);
  }
  const std::string& text(const std::string& key) const {
    REQUIRE_MESSAGE(parameters.count(key) == 1, folder << ": " << key);
    return parameters.at(key);
  }
  std::int64_t number(const std::string& key) const { return std::stoll(text(key)); }
  std::string path(const std::string& name) const { return folder + "/" + name + ".npy"; }
  Tensor tensor(const std::string& name) const { return read_tensor(path(name)); }
  Array array(const std::string& name) const { return read_array(path(name)); }
  Lengths lengths() const { return read_lengths(path("valid_lens")); }
  EmptyRows empty_rows() const { return number("empty_rows") ? EmptyRows::uniform : EmptyRows::zero; }
};

std::vector<Case> cases_of(const std::string& kind) {
  std::vector<Case> cases;
  std::ifstream list(test_data("golden/cases.txt"));
  for (std::string name; list >> name;) {
    if (name.rfind(kind + "/", 0) == 0) cases.push_back(Case(test_data("golden/" + name)));
  }
  REQUIRE_MESSAGE(!cases.empty(), "no golden cases of kind " << kind);
  return cases;
}

double largest_of(const Array& array) {
  double largest = 0.0;
  for (double value : array.values) largest = std::max(largest, std::abs(value));
  return largest;
}

#define CHECK_GOLDEN(actual, expected) CHECK_CLOSE(actual, expected, allowed * largest_of(expected))

/// A layer's weights as files hold them.
struct LayerFiles {
  std::vector<Tensor> tensors;
  MultiHeadAttentionWeights weights;
  void read(const Case& of, const std::string& name, ConstTensorView* view) {
    tensors.push_back(of.tensor(name));
    *view = tensors.back().view;
  }
};

/// A layer on every ISA against golden answers.
void check_layer(const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights, const Tensor& queries,
                 const Tensor& keys, const Tensor& values, const LengthsView& lengths, EmptyRows empty_rows,
                 const Array& expected, const Array& expected_weights) {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    MultiHeadAttentionConfig bound = config;
    bound.isa = isa;
    MultiHeadAttention attention;
    REQUIRE_OK(MultiHeadAttention::make(bound, weights, &attention));
    Tensor output(expected.shape), attention_weights(expected_weights.shape);
    Workspace workspace;
    AttentionOptions options;
    options.empty_rows = empty_rows;
    options.attention_weights = attention_weights.view;
    REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, lengths, output.view, workspace, options));
    CHECK_GOLDEN(output.view, expected);
    CHECK_GOLDEN(attention_weights.view, expected_weights);
  }
}

}  // namespace

TEST_CASE("golden: the book's MultiHeadAttention") {
  for (const Case& golden : cases_of("mha")) {
    CAPTURE(golden.folder);
    MultiHeadAttentionConfig config;
    config.key_size = golden.number("key_size");
    config.query_size = golden.number("query_size");
    config.value_size = golden.number("value_size");
    config.num_hiddens = golden.number("num_hiddens");
    config.num_heads = golden.number("num_heads");
    config.bias = golden.number("bias") != 0;
    LayerFiles files;
    files.read(golden, "W_q.weight", &files.weights.query);
    files.read(golden, "W_k.weight", &files.weights.key);
    files.read(golden, "W_v.weight", &files.weights.value);
    files.read(golden, "W_o.weight", &files.weights.output);
    if (config.bias) {
      files.read(golden, "W_q.bias", &files.weights.query_bias);
      files.read(golden, "W_k.bias", &files.weights.key_bias);
      files.read(golden, "W_v.bias", &files.weights.value_bias);
      files.read(golden, "W_o.bias", &files.weights.output_bias);
    }
    const Lengths lengths = golden.lengths();
    check_layer(config, files.weights, golden.tensor("queries"), golden.tensor("keys"), golden.tensor("values"), lengths.view,
                golden.empty_rows(), golden.array("output"), golden.array("attention_weights"));
  }
}

TEST_CASE("golden: torch.nn.MultiheadAttention") {
  for (const Case& golden : cases_of("torch_mha")) {
    CAPTURE(golden.folder);
    MultiHeadAttentionConfig config;
    config.num_hiddens = config.query_size = golden.number("embed_dim");
    config.key_size = golden.number("kdim");
    config.value_size = golden.number("vdim");
    config.num_heads = golden.number("num_heads");
    config.bias = golden.number("bias") != 0;
    const std::int64_t E = config.num_hiddens;
    LayerFiles files;
    if (golden.number("packed") != 0) {
      ConstTensorView packed;
      files.read(golden, "in_proj_weight", &packed);
      files.weights.query = ConstTensorView(packed.data, E, E);
      files.weights.key = ConstTensorView(packed.data + E * E, E, E);
      files.weights.value = ConstTensorView(packed.data + 2 * E * E, E, E);
    } else {
      files.read(golden, "q_proj_weight", &files.weights.query);
      files.read(golden, "k_proj_weight", &files.weights.key);
      files.read(golden, "v_proj_weight", &files.weights.value);
    }
    files.read(golden, "out_proj.weight", &files.weights.output);
    if (config.bias) {
      ConstTensorView packed;
      files.read(golden, "in_proj_bias", &packed);
      files.weights.query_bias = ConstTensorView(packed.data, E);
      files.weights.key_bias = ConstTensorView(packed.data + E, E);
      files.weights.value_bias = ConstTensorView(packed.data + 2 * E, E);
      files.read(golden, "out_proj.bias", &files.weights.output_bias);
    }
    const Lengths lengths = golden.lengths();
    check_layer(config, files.weights, golden.tensor("query"), golden.tensor("key"), golden.tensor("value"), lengths.view,
                golden.empty_rows(), golden.array("output"), golden.array("attention_weights"));
  }
}

TEST_CASE("golden: the book's DotProductAttention") {
  for (const Case& golden : cases_of("dot_product_attention")) {
    CAPTURE(golden.folder);
    const Tensor queries = golden.tensor("queries"), keys = golden.tensor("keys"), values = golden.tensor("values");
    const Array expected = golden.array("output"), expected_weights = golden.array("attention_weights");
    const Lengths lengths = golden.lengths();
    for (Isa isa : usable_isas()) {
      CAPTURE(name_of(isa));
      DotProductAttention attention;
      REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
      Tensor output(expected.shape), weights(expected_weights.shape);
      Workspace workspace;
      AttentionOptions options;
      options.attention_weights = weights.view;
      REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace, options));
      CHECK_GOLDEN(output.view, expected);
      CHECK_GOLDEN(weights.view, expected_weights);
    }
  }
}

TEST_CASE("golden: masked_softmax") {
  for (const Case& golden : cases_of("masked_softmax")) {
    CAPTURE(golden.folder);
    const Tensor input = golden.tensor("X");
    const Array expected = golden.array("output");
    const Lengths lengths = golden.lengths();
    for (Isa isa : usable_isas()) {
      CAPTURE(name_of(isa));
      Tensor output(expected.shape);
      OperationOptions options;
      options.isa = isa;
      REQUIRE_OK(masked_softmax(input.view, lengths.view, output.view, options));
      CHECK_GOLDEN(output.view, expected);
    }
  }
}

TEST_CASE("golden: sequence_mask") {
  for (const Case& golden : cases_of("sequence_mask")) {
    CAPTURE(golden.folder);
    const Tensor input = golden.tensor("X");
    const Array expected = golden.array("output");
    const Lengths lengths = read_lengths(golden.path("valid_len"));
    const float value = std::stof(golden.text("value"));
    for (Isa isa : usable_isas()) {
      CAPTURE(name_of(isa));
      Tensor output(expected.shape);
      OperationOptions options;
      options.isa = isa;
      REQUIRE_OK(sequence_mask(input.view, lengths.view, value, output.view, options));
      CHECK_CLOSE(output.view, expected, 0.0);
    }
  }
}

TEST_CASE("golden: a layer of MiniLM on four sentences") {
  const std::string folder = test_data("data/minilm");
  io::SafetensorsFile file;
  REQUIRE_OK(io::SafetensorsFile::open(folder + "/layer.safetensors", &file));
  io::LayerWeights layer;
  REQUIRE_OK(io::find_layer(file, "encoder.layer.3.attention", &layer));
  layer.config.num_heads = 12;
  const Tensor hidden = read_tensor(folder + "/hidden.npy");
  const Lengths lengths = read_lengths(folder + "/lengths.npy");
  check_layer(layer.config, layer.weights, hidden, hidden, hidden, lengths.view, EmptyRows::zero, read_array(folder + "/output.npy"),
              read_array(folder + "/attention_weights.npy"));
}

TEST_CASE("golden: all layers of MiniLM") {
  const char* root = std::getenv("ATTEND_MINILM_CASES");
  if (root == nullptr) {
    std::printf("skipped: the layers of MiniLM; ATTEND_MINILM_CASES names no folder (tests/golden/minilm_layers.py writes one)\n");
    return;
  }
  std::ifstream list(std::string(root) + "/cases.txt");
  int layers = 0;
  for (std::string name; list >> name; ++layers) {
    CAPTURE(name);
    const Case golden(std::string(root) + "/" + name);
    io::SafetensorsFile file;
    REQUIRE_OK(io::SafetensorsFile::open(golden.folder + "/weights.safetensors", &file));
    io::LayerWeights layer;
    REQUIRE_OK(io::find_layer(file, golden.text("prefix"), &layer));
    layer.config.num_heads = golden.number("num_heads");
    const Tensor hidden = golden.tensor("hidden");
    const Lengths lengths = golden.lengths();
    check_layer(layer.config, layer.weights, hidden, hidden, hidden, lengths.view, golden.empty_rows(), golden.array("output"),
                golden.array("attention_weights"));
  }
  CHECK_MESSAGE(layers > 0, std::string(root) << " holds no cases");
}
