// Loading a layer in one call: every family's names and layouts give the same layer, and what goes wrong is said.
#include <doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend.hpp"
#include "attend/io.hpp"
#include "engine_test.h"

using namespace attend;
using namespace engine_test;

namespace {

// A folder of its own, gone afterwards.
struct Folder {
  std::string path;
  Folder() {
    path = (std::filesystem::temp_directory_path() / "attend-load-XXXXXX").string();
    REQUIRE(mkdtemp(path.data()) != nullptr);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + '/' + name; }
};

// Named arrays to write.
struct Named {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

std::vector<float> values_of(const ConstTensorView& view) {
  std::vector<float> values;
  for (const double value : reference::Array(view).values) values.push_back(static_cast<float>(value));
  return values;
}

void write(const std::string& path, const std::vector<Named>& tensors) {
  std::vector<io::SafetensorsTensor> list;
  for (const Named& tensor : tensors) list.push_back({tensor.name, tensor.shape, tensor.values.data(), "F32"});
  REQUIRE_OK(io::write_safetensors(path, list));
}

void write_text(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

Tensor output_of(const MultiHeadAttention& attention, const AttentionOptions& options) {
  Random random(5);
  const MultiHeadAttentionConfig& config = attention.config();
  Tensor x({2, 3, config.query_size}), output({2, 3, config.num_hiddens});
  x.fill(random);
  Workspace workspace;
  REQUIRE_OK(attention.forward(x.view, x.view, x.view, {}, output.view, workspace, options));
  return output;
}

// Rows of the three input projections, or their biases, side by side: each is `columns` wide.
struct Parts {
  std::vector<float> query, key, value;
  std::int64_t columns;

  std::vector<float> in_order() const {
    std::vector<float> all = query;
    all.insert(all.end(), key.begin(), key.end());
    all.insert(all.end(), value.begin(), value.end());
    return all;
  }
  // For each head of keys its heads of queries, its keys, its values.
  std::vector<float> by_key_head(std::int64_t heads, std::int64_t kv_heads, std::int64_t width) const {
    std::vector<float> all;
    const auto add = [&](const std::vector<float>& from, std::int64_t head, std::int64_t count) {
      all.insert(all.end(), from.begin() + head * width * columns, from.begin() + (head + count) * width * columns);
    };
    for (std::int64_t g = 0; g < kv_heads; ++g) {
      add(query, g * (heads / kv_heads), heads / kv_heads);
      add(key, g, 1);
      add(value, g, 1);
    }
    return all;
  }
};

std::vector<float> transposed(const std::vector<float>& matrix, std::int64_t rows) {
  const std::int64_t columns = static_cast<std::int64_t>(matrix.size()) / rows;
  std::vector<float> turned;
  for (std::int64_t c = 0; c < columns; ++c) {
    for (std::int64_t r = 0; r < rows; ++r) turned.push_back(matrix[static_cast<std::size_t>(r * columns + c)]);
  }
  return turned;
}

constexpr std::int64_t E = 12, H = 4, D = 3;

// A layer of its own, and its tensors.
struct Original {
  Layer layer;
  std::int64_t kv_heads;
  Parts matrices, biases;
  std::vector<float> output, output_bias;

  static MultiHeadAttentionConfig config_of(std::int64_t kv_heads) {
    MultiHeadAttentionConfig config = Layer::square(E, H, Isa::best, true);
    config.num_kv_heads = kv_heads;
    return config;
  }
  Original(std::int64_t groups, Random& random)
      : layer(config_of(groups), random), kv_heads(groups),
        matrices{values_of(layer.weights.query), values_of(layer.weights.key), values_of(layer.weights.value), E},
        biases{values_of(layer.weights.query_bias), values_of(layer.weights.key_bias), values_of(layer.weights.value_bias), 1},
        output(values_of(layer.weights.output)), output_bias(values_of(layer.weights.output_bias)) {}

  std::int64_t rows() const { return (H + 2 * kv_heads) * D; }
  Tensor expected() const { return output_of(layer.attention, {}); }

  std::vector<Named> separate(const std::string& q, const std::string& k, const std::string& v, const std::string& o) const {
    const std::int64_t narrow = kv_heads * D;
    return {{q + ".weight", {E, E}, matrices.query}, {k + ".weight", {narrow, E}, matrices.key}, {v + ".weight", {narrow, E}, matrices.value},
            {o + ".weight", {E, E}, output},         {q + ".bias", {E}, biases.query},           {k + ".bias", {narrow}, biases.key},
            {v + ".bias", {narrow}, biases.value},   {o + ".bias", {E}, output_bias}};
  }
  std::vector<Named> packed(const std::string& qkv, const std::string& o) const {
    return {{qkv + ".weight", {rows(), E}, matrices.in_order()}, {o + ".weight", {E, E}, output},
            {qkv + ".bias", {rows()}, biases.in_order()},        {o + ".bias", {E}, output_bias}};
  }
};

}  // namespace

TEST_CASE("load_layer: every family's names and layouts give the same bits") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(1);
  for (const std::int64_t kv_heads : {H, std::int64_t{2}, std::int64_t{1}}) {
    const Original original(kv_heads, random);
    struct Family {
      const char* convention;
      std::vector<Named> tensors;
      bool grouped;
    };
    std::vector<Named> conv1d = original.packed("c_attn", "c_proj"), falcon = original.packed("query_key_value", "dense");
    conv1d[0] = {"c_attn.weight", {E, original.rows()}, transposed(conv1d[0].values, original.rows())};
    conv1d[1].values = transposed(conv1d[1].values, E);
    conv1d.push_back({"bias", {1, 1, 2, 2}, {1, 0, 1, 1}});  // GPT-2's causal mask
    conv1d.push_back({"masked_bias", {1}, {-1e4f}});
    falcon[0].values = original.matrices.by_key_head(H, kv_heads, D);
    falcon[2].values = original.biases.by_key_head(H, kv_heads, D);
    const Family families[] = {
        {"D2L", original.separate("W_q", "W_k", "W_v", "W_o"), false},
        {"BERT", original.separate("self.query", "self.key", "self.value", "output.dense"), false},
        {"ViT", original.separate("attention.query", "attention.key", "attention.value", "output.dense"), false},
        {"DistilBERT", original.separate("q_lin", "k_lin", "v_lin", "out_lin"), false},
        {"Llama", original.separate("q_proj", "k_proj", "v_proj", "o_proj"), true},
        {"CLIP", original.separate("q_proj", "k_proj", "v_proj", "out_proj"), true},
        {"GPT-2", conv1d, false},
        {"timm", original.packed("qkv", "proj"), false},
        {"Phi-3", original.packed("qkv_proj", "o_proj"), true},
        {"MPT", original.packed("Wqkv", "out_proj"), true},
        {"Falcon", falcon, true},
    };
    for (const Family& family : families) {
      if (kv_heads != H && !family.grouped) continue;
      CAPTURE(std::string(family.convention));
      CAPTURE(kv_heads);
      std::vector<Named> tensors = family.tensors;
      for (Named& tensor : tensors) tensor.name = "block.0." + tensor.name;
      write(path, tensors);
      io::LoadedLayer loaded;
      REQUIRE_OK(io::load_layer(path, "block.0", H, &loaded));
      CHECK(std::string(loaded.convention) == family.convention);
      CHECK(loaded.attention.config().num_kv_heads == kv_heads);
      std::filesystem::remove(path);  // nothing of it is needed any more
      CHECK_SAME_BITS(output_of(loaded.attention, loaded.options), original.expected());
    }
  }
}

TEST_CASE("load_layer: a remark where names want a rotation and none was given") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(9);
  const Original original(H, random);
  const float frequencies[] = {1.0f};
  RotaryEmbedding by_frequencies, by_tables;
  by_frequencies.inverse_frequencies = ConstTensorView(frequencies, 1);
  by_tables.cosines = by_tables.sines = ConstTensorView(frequencies, 1, 1);
  for (const bool wants : {true, false}) {
    write(path, wants ? original.separate("q_proj", "k_proj", "v_proj", "o_proj") : original.separate("q_proj", "k_proj", "v_proj", "out_proj"));
    for (const RotaryEmbedding& rotary : {RotaryEmbedding(), by_frequencies, by_tables}) {
      for (const bool unrotated : {false, true}) {
        io::LoadOptions options;
        options.rotary = rotary;
        options.unrotated = unrotated;
        io::LoadedLayer loaded;
        REQUIRE_OK(io::load_layer(path, "", H, &loaded, options));
        REQUIRE(loaded.remarks.size() == (wants && rotary.absent() && !unrotated ? 1 : 0));
        if (!loaded.remarks.empty()) {
          CHECK(loaded.remarks[0] == "the weights have Llama's names, whose layers rotate queries and keys to their positions; without rotary nothing is rotated "
                                     "(unrotated says that this is right)");
        }
      }
    }
  }
}

TEST_CASE("load_layer: sinks, T5's table and scale are the layer's, and are kept") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(2);
  const Original original(H, random);
  Tensor sinks({H}), table({8, H});
  sinks.fill(random);
  table.fill(random);
  std::vector<Named> tensors = original.separate("q_proj", "k_proj", "v_proj", "o_proj");
  tensors.push_back({"sinks", {H}, values_of(sinks.view)});
  tensors.push_back({"relative_attention_bias.weight", {8, H}, values_of(table.view)});
  write(path, tensors);
  io::LoadedLayer loaded;
  REQUIRE_OK(io::load_layer(path, "", H, &loaded));
  io::LoadedLayer moved = static_cast<io::LoadedLayer&&>(loaded);
  AttentionOptions options;
  options.sinks = sinks.view;
  options.relative_position_bias.table = table.view;
  CHECK_SAME_BITS(output_of(moved.attention, moved.options), output_of(original.layer.attention, options));

  std::vector<Named> t5 = original.separate("q", "k", "v", "o");
  t5.resize(4);
  write(path, t5);
  io::LoadOptions none;
  none.relative_bias = "none";
  REQUIRE_OK(io::load_layer(path, "", H, &loaded, none));
  CHECK(loaded.options.scale == 1.0f);
  const auto refused = [&](const io::LoadOptions& given, const char* part) {
    const Status status = io::load_layer(path, "", H, &loaded, given);
    CHECK_MESSAGE(std::string(status.message()).find(part) != std::string::npos, status.message());
    CHECK(loaded.options.scale == 1.0f);  // as it was
  };
  refused({}, "relative_bias takes the name of the one that it shares, or none");
  io::LoadOptions other;
  other.relative_bias = "nowhere";
  refused(other, "tensor 'nowhere': there is none of that name");
}

TEST_CASE("load_layer: T5's bias is a decoder's where the prefix says so, whichever layer has the table") {
  const Folder folder;
  const std::string path = folder / "t5.safetensors";
  Random random(8);
  const Original original(H, random);
  Tensor table({8, H});
  table.fill(random);
  for (const auto& [name, bidirectional] : std::vector<std::pair<std::string, bool>>{
           {"decoder.block.0.layer.0.SelfAttention", false}, {"model.decoder", false}, {"decoder.", false}, {"encoder.block.0", true},
           {"block.0", true}, {"my_decoder.block.0", true}, {"decoders.block.0", true}, {"", true}}) {
    const std::string& prefix = name;  // clang captures no structured binding
    CAPTURE(prefix);
    const std::string dotted = prefix.empty() || prefix.back() == '.' ? prefix : prefix + '.';
    std::vector<Named> tensors = original.separate(dotted + "q", dotted + "k", dotted + "v", dotted + "o");
    tensors.resize(4);
    tensors.push_back({"table", {8, H}, values_of(table.view)});
    write(path, tensors);
    io::LoadOptions shared;
    shared.relative_bias = "table";
    if (prefix.empty()) shared.ignored = {"table"};
    io::LoadedLayer loaded;
    REQUIRE_OK(io::load_layer(path, prefix, H, &loaded, shared));
    CHECK(loaded.options.relative_position_bias.bidirectional == bidirectional);
    shared.relative_bias = "none";
    REQUIRE_OK(io::load_layer(path, prefix, H, &loaded, shared));
    CHECK(loaded.options.relative_position_bias.bidirectional);  // as options without a bias have it
  }
}

TEST_CASE("load_layer: shards by their index") {
  const Folder folder;
  Random random(3);
  const Original original(2, random);
  std::vector<Named> tensors = original.separate("q_proj", "k_proj", "v_proj", "o_proj");
  const std::vector<Named> first(tensors.begin(), tensors.begin() + 3), second(tensors.begin() + 3, tensors.end());
  const std::string one = "model-00001-of-00002.safetensors", two = "model-00002-of-00002.safetensors";
  const std::string index = folder / "model.safetensors.index.json";
  write(folder / one, first);
  write(folder / two, second);
  const auto map = [&](const std::string& more) {
    std::string text = "{\"metadata\": {\"total_size\": 1.5e3, \"of\": [1, {\"x\": null}, \"]\"]}, \"weight_map\": {";
    for (const Named& tensor : first) text += '"' + tensor.name + "\": \"" + one + "\", ";
    for (const Named& tensor : second) text += '"' + tensor.name + "\": \"" + two + "\", ";
    text.resize(text.size() - 2);
    write_text(index, text + more + "}}");
  };
  map("");
  io::LoadedLayer loaded;
  REQUIRE_OK(io::load_layer(index, "", H, &loaded));
  CHECK_SAME_BITS(output_of(loaded.attention, loaded.options), original.expected());

  const auto refused = [&](const std::string& path, const std::string& part) {
    const Status status = io::load_layer(path, "", H, &loaded);
    CHECK_FALSE(status.ok());
    CHECK_MESSAGE(std::string(status.message()).find(part) != std::string::npos, status.message());
  };
  refused(folder / one, "one of several, which its .safetensors.index.json opens together: no attention layer");
  map(", \"x\": \"" + two + "\"");
  refused(index, "tensor 'x': expected in '" + two + "', which has none of that name");
  map(", \"x\": \"../" + two + "\"");
  refused(index, "expected a name without folders");
  map(", \"x\": \"three.safetensors\"");
  refused(index, "three.safetensors': No such file");
  write(folder / "three.safetensors", {{"x", {1}, {1.0f}}, {"k_proj.weight", {1}, {1.0f}}});
  refused(index, "two tensors 'k_proj.weight'");
  for (const char* text : {"", "{}", "[]", "{\"weight_map\": {}}", "{\"weight_map\": [1]}", "{\"a\": ]}", "{\"a\": {\"b\": [}", "{\"weight_map\": {\"a\": 1}}"}) {
    write_text(index, text);
    refused(index, "not an index of shards");
  }
}

TEST_CASE("load_layer: what is no such file, no such layer, or more than the layer is said") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(4);
  const Original original(2, random);
  const std::vector<Named> good = original.separate("q_proj", "k_proj", "v_proj", "o_proj");
  io::LoadedLayer loaded;
  const auto refused = [&](std::int64_t heads, const std::string& part, const std::string& prefix = "", const io::LoadOptions& options = {}) {
    const Status status = io::load_layer(path, prefix, heads, &loaded, options);
    CHECK_FALSE(status.ok());
    CHECK_MESSAGE(std::string(status.message()).find(part) != std::string::npos, status.message());
    CHECK(loaded.attention.isa() == Isa::best);  // never made
  };
  refused(H, "No such file");
  const std::pair<const char*, const char*> others[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "it is a Git LFS pointer, not the file itself"},
      {"\x93NUMPY\x01", "it is a .npy array"},
      {"PK\x03\x04 and so on, as a zip goes", "not a .safetensors file (it is a zip archive, as torch.save and numpy.savez write them: safetensors.torch.save_file writes .safetensors)"},
      {"GGUF\x03", "cut short: its header goes beyond its 5 bytes"},
      {"{\"weight_map\": {}}", "it is JSON; an index of shards has to be named .json"},
  };
  for (const auto& [text, part] : others) {
    write_text(path, text);
    refused(H, part);
  }

  write(path, good);
  refused(5, "num_heads 5 does not divide the 12 columns");
  refused(0, "num_heads 0, expected 1 or more");
}

TEST_CASE("load_layer: what may stay unused is named") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(6);
  const Original original(H, random);
  std::vector<Named> tensors = original.separate("q_proj", "k_proj", "v_proj", "o_proj");
  tensors.push_back({"relative_position_bias_table", {1}, {1.0f}});
  write(path, tensors);
  io::LoadedLayer loaded;
  const auto message_of = [&](const io::LoadOptions& options) { return std::string(io::load_layer(path, "", H, &loaded, options).message()); };
  CHECK(message_of({}).find("does not use 'relative_position_bias_table'; what may stay unused goes into ignored: 'relative_position_bias_table'") != std::string::npos);
  io::LoadOptions options;
  options.ignored = {"relative_position_bias_table"};
  CHECK(message_of(options).empty());
  options.ignored = {"relative_position_bias_table", "q_proj"};
  CHECK(message_of(options).find("ignored 'q_proj': the layer uses it") != std::string::npos);

  // OLMo 2 norms all heads as one.
  tensors.pop_back();
  tensors.push_back({"q_norm.weight", {E}, std::vector<float>(E, 1.0f)});
  tensors.push_back({"k_norm.weight", {E}, std::vector<float>(E, 1.0f)});
  write(path, tensors);
  CHECK(message_of({}).find("q_norm.weight of 12 elements norms all heads as one, as OLMo 2 does") != std::string::npos);

  // A layer that is not there: the families, and what is there.
  write(path, {{"encoder.weird.weight", {2, 2}, {1, 2, 3, 4}}, {"x", {1}, {1}}});
  const std::string message = io::load_layer(path, "encoder.wierd", H, &loaded).message();
  CHECK(message.find("or another; there are 'encoder.weird.weight', 'x'; names known: D2L, torch, BERT, ") != std::string::npos);
}

TEST_CASE("load_layer: no message loses its end, however long names are") {
  const Folder folder;
  const std::string path = folder / ("google-siglip-so400m-patch14-384/" + std::string(40, 'x') + "/model.safetensors");
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  const std::string prefix = "model.vision_tower.encoder.layers.11.self_attn.";
  Random random(13);
  const Original original(2, random);
  const auto good_with = [&](const std::vector<Named>& more) {
    std::vector<Named> tensors = original.separate("q_proj", "k_proj", "v_proj", "o_proj");
    tensors.insert(tensors.end(), more.begin(), more.end());
    return tensors;
  };
  const auto message_of = [&](std::vector<Named> tensors, const std::string& asked) {
    for (Named& tensor : tensors) tensor.name = prefix + tensor.name;
    write(path, tensors);
    io::LoadedLayer loaded;
    const Status status = io::load_layer(path, asked, H, &loaded);
    CHECK(!status.ok());
    const std::string message = status.message();
    CHECK(message.find("/model.safetensors': ") != std::string::npos);
    return message;
  };
  const auto ends = [&](const std::string& message, const std::string& end) {
    CHECK_MESSAGE((message.size() >= end.size() && message.substr(message.size() - end.size()) == end), message);
  };
  const std::vector<Named> odd = {{"in_proj", {1}, {1.0f}}, {"conv1d.weight", {1}, {1.0f}}, {"out_proj", {1}, {1.0f}}};
  ends(message_of(odd, prefix), " or another; there are '" + prefix + "conv1d.weight' and 2 more");
  ends(message_of(good_with({}), "vision_model"), "no attention layer under prefix 'vision_model'; try '" + prefix.substr(0, prefix.size() - 1) + "'");
  ends(message_of(good_with({{"one.weight", {1}, {1.0f}}, {"two.weight", {1}, {1.0f}}}), prefix), "the layer does not use 'one.weight', 'two.weight'; what may stay unused goes into ignored: 'one'");
  ends(message_of(good_with({{"rel_pos_h", {1}, {1.0f}}}), prefix), "as SAM has it, which attend does not have");
  write_text(path, "PK\x03\x04 and so on, as a zip goes");
  write_text(path + ".index.json", "{\"weight_map\": {\"x\": \"model.safetensors\"}}");
  io::LoadedLayer none;
  ends(io::load_layer(path + ".index.json", prefix, H, &none).message(), "safetensors.torch.save_file writes .safetensors)");
  ends(message_of({{"qkv_proj.weight", {1000, 300}, std::vector<float>(300000)}, {"o_proj.weight", {300, 300}, std::vector<float>(90000)}}, prefix),
       "300 rows of queries, as wide as 'o_proj.weight' asks, and as many of keys and of values, or a divisor of that");
}

TEST_CASE("load_layer: what changes every result is refused, ignored or not") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(7);
  const Original original(H, random);
  const auto check = [&](std::vector<Named> tensors, const std::string& prefix, const std::string& name, const std::string& part) {
    CAPTURE(name);
    tensors.push_back({name, {1}, {1.0f}});
    for (Named& tensor : tensors) tensor.name = prefix + tensor.name;
    write(path, tensors);
    io::LoadedLayer loaded;
    io::LoadOptions options;
    const auto refused = [&] {
      const Status status = io::load_layer(path, prefix, H, &loaded, options);
      CHECK_FALSE(status.ok());
      const std::string message = status.message();
      CHECK_MESSAGE(message.find("tensor '" + prefix + name + "': it cannot be ignored, for it is " + part) != std::string::npos, message);
    };
    refused();
    options.ignored = {name};
    refused();
    options.ignored = {prefix + name};
    refused();
  };
  const std::vector<Named> torch = {{"in_proj_weight", {3 * E, E}, original.matrices.in_order()}, {"out_proj.weight", {E, E}, original.output}};
  check(torch, "", "bias_k", "the key that nn.MultiheadAttention appends to each sequence by add_bias_kv");
  check(torch, "layer.", "bias_v", "the value that nn.MultiheadAttention appends");
  std::vector<Named> timm = original.packed("qkv", "proj");
  timm.resize(2);
  check(timm, "a.b.", "q_bias", "the queries' part of the bias");
  check(timm, "", "v_bias", "the values' part of the bias");
  check(timm, "", "logit_scale", "the temperature of attention by cosines");
  check(timm, "", "rel_pos_h", "a table of relative positions");
  const std::vector<Named> bert = original.separate("self.query", "self.key", "self.value", "output.dense");
  check(bert, "a.", "self.distance_embedding.weight", "a table of relative positions");
  check(bert, "a.", "self.logit_scale", "the temperature");
  // The bias of what is used without one.
  std::vector<Named> normed = original.separate("q_proj", "k_proj", "v_proj", "o_proj");
  normed.push_back({"k_norm.weight", {D}, std::vector<float>(D, 1.0f)});
  check(normed, "a.", "k_norm.bias", "the bias of 'k_norm.weight'");
  std::vector<Named> t5 = original.separate("q", "k", "v", "o");
  t5.resize(4);
  check(t5, "", "o.bias", "the bias of 'o.weight'");

  // The same names elsewhere are no such thing.
  io::LoadedLayer loaded;
  io::LoadOptions options;
  std::vector<Named> tensors = torch;
  tensors.push_back({"other.bias_k", {1}, {1.0f}});
  write(path, tensors);
  options.ignored = {"other"};
  REQUIRE_OK(io::load_layer(path, "", H, &loaded, options));
}

TEST_CASE("load_layer: make_layer is its second half") {
  const Folder folder;
  Random random(8);
  const Original original(H, random);
  write(folder / "model.safetensors", original.separate("a.q_proj", "a.k_proj", "a.v_proj", "a.o_proj"));
  io::SafetensorsFile file;
  io::LayerWeights found;
  io::LoadedLayer loaded;
  REQUIRE_OK(io::SafetensorsFile::open(folder / "model.safetensors", &file));
  REQUIRE_OK(io::find_layer(file, "a", &found));
  CHECK(found.prefix == "a");
  REQUIRE_OK(io::make_layer(file, std::move(found), H, &loaded));
  CHECK_SAME_BITS(output_of(loaded.attention, loaded.options), original.expected());
}

TEST_CASE("load_layer: arrays of .npy files are floats of their own") {
  const Folder folder;
  const float values[] = {1, 2, 3, 4, 5, 6};
  REQUIRE_OK(io::write_npy(folder / "x.npy", io::ElementType::float32, {2, 3}, values));
  io::FloatTensor tensor;
  REQUIRE_OK(io::read_npy(folder / "x.npy", &tensor));
  std::filesystem::remove(folder / "x.npy");
  CHECK(tensor.view.rank == 2);
  CHECK(tensor.view.data[5] == 6.0f);
  CHECK(tensor.view.data == tensor.owned.data());
  const std::int64_t lengths[] = {3, 1};
  REQUIRE_OK(io::write_npy(folder / "n.npy", io::ElementType::int64, {2}, lengths));
  io::Int64Tensor numbers;
  REQUIRE_OK(io::read_npy(folder / "n.npy", &numbers));
  CHECK(numbers.view.data[0] == 3);
  const std::uint8_t bools[] = {1, 0, 7};
  io::BoolTensor seen;
  for (const io::ElementType type : {io::ElementType::boolean, io::ElementType::uint8}) {
    REQUIRE_OK(io::write_npy(folder / "b.npy", type, {3}, bools));
    REQUIRE_OK(io::read_npy(folder / "b.npy", &seen));
    CHECK(seen.owned == std::vector<std::uint8_t>{1, 0, 1});
    CHECK(seen.view.sizes[0] == 3);
  }
  CHECK(std::string(io::read_npy(folder / "n.npy", &seen).message()).find("element 0 is 3, expected 0 or 1 among int64") != std::string::npos);
  CHECK(seen.owned.size() == 3);  // as it was
  const std::int64_t tokens[] = {0, 1};
  REQUIRE_OK(io::write_npy(folder / "t.npy", io::ElementType::int64, {2}, tokens));
  REQUIRE_OK(io::read_npy(folder / "t.npy", &seen));
  CHECK(seen.owned == std::vector<std::uint8_t>{0, 1});
  CHECK_FALSE(io::read_npy(folder / "n.npy", &tensor).ok());
  CHECK(tensor.view.data[5] == 6.0f);  // as it was
}
