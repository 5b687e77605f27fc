// The sentence encoder: a model of random numbers beside the reference, all-MiniLM-L6-v2 beside sentence-transformers, files that are refused.

#include "engine_test.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "../tools/failure.h"
#include "../tools/sentence_encoder.h"
#include "../tools/tokens.h"
#include "reference/block.h"
#include "test_data.h"
#include "tiny_encoder.h"

using namespace engine_test;
using attend::tool::Failure;
using attend::tool::ModelPrecision;
using attend::tool::SentenceEncoder;
using reference::Array;

namespace {

using Ids = std::vector<std::int32_t>;

struct Folder {
  std::string path;
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attend-sentence-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

struct TinyModel : Folder {
  explicit TinyModel(const std::string& prefix = "") { REQUIRE_OK(tiny_encoder::write(path, prefix)); }
};

const ModelPrecision& precision(const char* name) { return tool::find_model_precision("--precision", name, Isa::scalar); }

/// The tiny model in double: rows after `layers` layers, and the attention weights of the next one.
struct Expected {
  Array rows, weights;
};
Expected expected_rows(const std::map<std::string, Array>& tensors, const Ids& ids, std::int64_t layers) {
  using namespace tiny_encoder;
  const auto norm = [&](const Array& x, const std::string& name) {
    return reference::norm(x, true, tensors.at(name + ".weight"), tensors.at(name + ".bias"), 1e-12, reference::Data::random).output;
  };
  const auto linear = [&](const Array& x, const std::string& name) { return reference::linear(x, tensors.at(name + ".weight"), tensors.at(name + ".bias")); };
  const auto sum = [](Array a, const Array& b) {
    for (std::size_t n = 0; n < a.values.size(); ++n) a.values[n] += b.values[n];
    return a;
  };
  const std::int64_t L = static_cast<std::int64_t>(ids.size());
  Array x = Array::zeros({1, L, width});
  for (std::int64_t i = 0; i < L; ++i) {
    for (std::int64_t c = 0; c < width; ++c) {
      x.at(0, i, c) = tensors.at("embeddings.word_embeddings.weight").at(ids[static_cast<std::size_t>(i)], c) +
                      tensors.at("embeddings.position_embeddings.weight").at(i, c) + tensors.at("embeddings.token_type_embeddings.weight").at(0, c);
    }
  }
  Expected expected;
  expected.rows = norm(x, "embeddings.LayerNorm");
  for (std::int64_t n = 0;; ++n) {
    const std::string name = "encoder.layer." + std::to_string(std::min(n, tiny_encoder::layers - 1));
    reference::LayerWeights weights;
    Array* const matrices[] = {&weights.query, &weights.key, &weights.value, &weights.output};
    Array* const biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
    const char* const sides[] = {".attention.self.query", ".attention.self.key", ".attention.self.value", ".attention.output.dense"};
    for (int side = 0; side < 4; ++side) {
      *matrices[side] = tensors.at(name + sides[side] + ".weight");
      *biases[side] = tensors.at(name + sides[side] + ".bias");
    }
    const reference::LayerResult layer = reference::multi_head_attention(weights, heads, expected.rows, expected.rows, expected.rows);
    expected.weights = layer.attention.weights;
    if (n == layers) return expected;
    const Array attended = norm(sum(layer.output, expected.rows), name + ".attention.output.LayerNorm");
    Array hidden = linear(attended, name + ".intermediate.dense");
    for (double& value : hidden.values) value = reference::activated(value, Activation::gelu);
    expected.rows = norm(sum(linear(hidden, name + ".output.dense"), attended), name + ".output.LayerNorm");
  }
}

std::vector<double> expected_vector(const Array& rows) {
  using tiny_encoder::width;
  std::vector<double> vector(width);
  double squares = 0.0;
  for (std::int64_t n = 0; n < rows.count(); ++n) vector[static_cast<std::size_t>(n % width)] += rows.values[static_cast<std::size_t>(n)];
  for (const double x : vector) squares += x * x;
  for (double& x : vector) x /= std::sqrt(squares);
  return vector;
}

std::string refusal(const std::string& folder) {
  try {
    SentenceEncoder encoder(folder, precision("float32"), Isa::best, {});
  } catch (const Failure& failure) {
    std::string message = failure.what();
    CHECK(message.find('\n') == std::string::npos);
    const std::size_t at = message.find(folder);
    return at == std::string::npos ? message : message.erase(at, folder.size());
  }
  return "accepted";
}

const std::vector<Ids> texts = {{2, 5, 3}, {2, 3}, {2, 6, 7, 8, 1, 5, 9, 3}, {2, 7, 3}, {2, 5, 5, 5, 5, 3}};

}  // namespace

TEST_CASE("sentences: a model of random numbers gives the reference's vectors and attention weights, on every ISA") {
  for (const char* prefix : {"", "bert."}) {
    const TinyModel model(prefix);
    const std::map<std::string, Array> tensors = tiny_encoder::tensors();
    for (Isa isa : usable_isas()) {
      CAPTURE(name_of(isa));
      SentenceEncoder encoder(model.path, precision("float32"), isa, {});
      std::vector<float> vectors(texts.size() * tiny_encoder::width);
      encoder.encode(texts, vectors.data(), {});
      for (std::size_t n = 0; n < texts.size(); ++n) {
        CAPTURE(n);
        const std::vector<double> expected = expected_vector(expected_rows(tensors, texts[n], tiny_encoder::layers).rows);
        for (std::size_t c = 0; c < expected.size(); ++c) {
          CHECK(std::abs(static_cast<double>(vectors[n * expected.size() + c]) - expected[c]) < 2e-6);
        }
      }
      for (std::int64_t layer = 0; layer < tiny_encoder::layers; ++layer) {
        const Array expected = expected_rows(tensors, texts[2], layer).weights;
        std::vector<float> weights(expected.values.size());
        encoder.attention_weights(texts[2], layer, weights.data(), {});
        for (std::size_t n = 0; n < weights.size(); ++n) CHECK(std::abs(static_cast<double>(weights[n]) - expected.values[n]) < 2e-6);
      }
    }
  }
}

TEST_CASE("sentences: a vector has the same bits whatever stands beside it, with any threads; low precision is near") {
  const TinyModel model;
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(3, &pool));
  std::vector<Ids> many;
  for (int n = 0; n < 400; ++n) many.push_back(texts[static_cast<std::size_t>(n) % texts.size()]);  // of several groups
  const std::size_t width = tiny_encoder::width;
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    std::vector<float> exact;
    for (const ModelPrecision& kind : tool::model_precisions) {
      CAPTURE(std::string(kind.name));
      if (kind.linear.weight_type != WeightType::float32 && tool::instructions_of(kind.linear, isa) == nullptr) continue;
      SentenceEncoder encoder(model.path, kind, isa, {}), threaded(model.path, kind, isa, pool.threads());
      std::vector<float> alone(texts.size() * width), vectors(many.size() * width);
      for (std::size_t n = 0; n < texts.size(); ++n) encoder.encode({texts[n]}, alone.data() + n * width, {});
      threaded.encode(many, vectors.data(), pool.threads());
      for (std::size_t n = 0; n < vectors.size(); ++n) REQUIRE(vectors[n] == alone[n % alone.size()]);
      if (exact.empty()) exact = alone;
      for (std::size_t n = 0; n < texts.size(); ++n) {
        double product = 0.0;
        for (std::size_t c = 0; c < width; ++c) product += static_cast<double>(alone[n * width + c]) * static_cast<double>(exact[n * width + c]);
        CHECK(product > (kind.linear.weight_type == WeightType::int4 ? 0.97 : 0.998));
      }
    }
  }
}

TEST_CASE("sentences: texts are cut where the files say") {
  const TinyModel model;
  const SentenceEncoder encoder(model.path, precision("float32"), Isa::best, {});
  CHECK(encoder.config().most_tokens == tiny_encoder::most_tokens);
  CHECK(encoder.ids("a b C ab") == Ids{2, 5, 6, 7, 5, 9, 3});
  CHECK(encoder.ids("a a a a a a a a a a") == Ids{2, 5, 5, 5, 5, 5, 5, 3});
  CHECK(encoder.ids("") == Ids{2, 3});
}

TEST_CASE("sentences: files that are refused, each with what is wrong") {
  const auto with = [](const char* name, const std::string& text) {
    const TinyModel model;
    tiny_encoder::write_text(model.path + "/" + name, text);
    return refusal(model.path);
  };
  const auto config = [&](const std::string& from, const std::string& to) {
    std::string text = tiny_encoder::config();
    text.replace(text.find(from), from.size(), to);
    return with("config.json", text);
  };
  CHECK(refusal("/nowhere").find("'/config.json'") != std::string::npos);
  CHECK(with("config.json", "") == "'/config.json': byte 0: expected an object");
  CHECK(with("config.json", std::string(2 << 20, ' ')) == "'/config.json': 2097152 bytes are too many for a config");
  CHECK(config("\"bert\"", "\"roberta\"") == "'/config.json': model_type is 'roberta', expected bert: only BERT's layers are computed");
  CHECK(config("\"hidden_size\": 24", "\"hidden_size\": 25") ==
        "'/model.safetensors': tensor 'embeddings.position_embeddings.weight': shape (10, 24), expected (10, 25)");
  CHECK(config("\"hidden_size\": 24", "\"hidden\": 24") == "'/config.json': hidden_size is missing, expected 1 to 65536");
  CHECK(config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": -2") == "'/config.json': num_hidden_layers is '-2', expected 1 to 1024");
  CHECK(config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 2e1").find("'/config.json': num_hidden_layers is '2e1'") == 0);
  CHECK(config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3").find("encoder.layer.2") != std::string::npos);
  CHECK(config("\"num_attention_heads\": 3", "\"num_attention_heads\": 5") ==
        "'/model.safetensors': num_heads 5 does not divide the 24 columns of its queries");
  CHECK(config("\"num_attention_heads\": 3", "\"num_attention_heads\": 25") == "'/config.json': num_attention_heads is '25', expected 1 to 24");
  CHECK(config("\"gelu\"", "\"mish\"") == "'/config.json': hidden_act is 'mish', expected gelu, gelu_new, relu or silu");
  CHECK(config("1e-12", "\"nan\"") == "'/config.json': layer_norm_eps is 'nan', expected a number, 0 or more");
  CHECK(with("sentence_bert_config.json", "{\"max_seq_length\": 11}") == "'/sentence_bert_config.json': max_seq_length is '11', expected 1 to 10");
  CHECK(with("sentence_bert_config.json", "{\"max_seq_length\": null}") == "accepted");
  CHECK(with("sentence_bert_config.json", "{\"do_lower_case\": true}") ==
        "'/sentence_bert_config.json': do_lower_case is 'true', expected false: texts come to the tokenizer as they are");
  CHECK(with("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n") == "'/model.safetensors': tensor 'embeddings.word_embeddings.weight': shape (10, 24), expected (3, 24)");
  CHECK(with("model.safetensors", "").find("'/model.safetensors'") == 0);
  const TinyModel model;
  std::filesystem::create_directory(model.path + "/1_Pooling");
  tiny_encoder::write_text(model.path + "/1_Pooling/config.json", "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}");
  CHECK(refusal(model.path) == "'/1_Pooling/config.json': pooling_mode_cls_token is 'true', expected false: vectors of tokens are averaged");
  for (const auto& tensor : tiny_encoder::tensors()) {
    const std::string& name = tensor.first;
    CAPTURE(name);
    if (name.find("token_type") != std::string::npos) continue;
    std::map<std::string, Array> fewer = tiny_encoder::tensors();
    fewer.erase(name);
    REQUIRE_OK(tiny_encoder::write_tensors(model.path + "/model.safetensors", fewer));
    std::filesystem::remove_all(model.path + "/1_Pooling");
    const bool bias = name.find("attention") != std::string::npos && name.find("dense.bias") != std::string::npos;  // a layer may lack it
    const bool side = name.find(".self.") != std::string::npos && name.find(".bias") != std::string::npos;
    if (!bias && !side) CHECK(refusal(model.path).find("'/model.safetensors'") == 0);
  }
}

TEST_CASE("sentences: files that are cut short, and tensors of other shapes") {
  const TinyModel model;
  const std::string text = tiny_encoder::config(), weights = model.path + "/model.safetensors";
  for (std::size_t size = 0; size < text.rfind('}'); ++size) {
    tiny_encoder::write_text(model.path + "/config.json", text.substr(0, size));
    CHECK(refusal(model.path).find("'/config.json': ") == 0);
  }
  tiny_encoder::write_text(model.path + "/config.json", text);
  for (std::uintmax_t size = std::filesystem::file_size(weights) - 1; size > 3000; size -= 3000) {
    std::filesystem::resize_file(weights, size);
    CHECK(refusal(model.path).find("'/model.safetensors'") == 0);
  }
  for (const auto& tensor : tiny_encoder::tensors()) {
    CAPTURE(tensor.first);
    for (const std::size_t axis : {std::size_t{0}, tensor.second.shape.size() - 1}) {
      if (axis == 0 && tensor.first.find("token_type") != std::string::npos) continue;  // more types are of no harm
      std::map<std::string, Array> other = tiny_encoder::tensors();
      reference::Shape shape = tensor.second.shape;
      ++shape[axis];
      other[tensor.first] = Array::zeros(shape);
      REQUIRE_OK(tiny_encoder::write_tensors(weights, other));
      const std::string said = refusal(model.path);
      CHECK(said.find("'/model.safetensors'") == 0);
      CHECK(said.find(", expected ") != std::string::npos);
    }
  }
}

TEST_CASE("sentences: all-MiniLM-L6-v2 gives the vectors of sentence-transformers") {
  const char* folder = std::getenv("ATTEND_MINILM");
  if (folder == nullptr) {
    std::printf("skipped: the vectors of all-MiniLM-L6-v2; ATTEND_MINILM names no folder\n");
    return;
  }
  const std::vector<std::string> lines = tool::read_tokens(test_data("golden/sentences/lines.txt"));
  io::FloatTensor expected;
  REQUIRE_OK(io::read_npy(test_data("golden/sentences/vectors.npy"), &expected));
  REQUIRE(expected.shape() == std::vector<std::int64_t>{static_cast<std::int64_t>(lines.size()), 384});
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    SentenceEncoder encoder(folder, precision("float32"), isa, {});
    std::vector<Ids> ids;
    std::vector<std::size_t> taken;
    const std::size_t step = lines.size() / static_cast<std::size_t>(share_of(static_cast<int>(lines.size())));
    for (std::size_t n = 0; n < lines.size(); n += step) {
      ids.push_back(encoder.ids(lines[n]));
      taken.push_back(n);
    }
    std::vector<float> vectors(ids.size() * 384);
    encoder.encode(ids, vectors.data(), {});
    double largest = 0.0;
    for (std::size_t n = 0; n < vectors.size(); ++n) {
      largest = std::max(largest, std::abs(static_cast<double>(vectors[n] - expected.view.data[taken[n / 384] * 384 + n % 384])));
    }
    CHECK(largest < 1e-5);
    MESSAGE(std::string(isa_name(isa)), ": largest difference ", largest);
  }
}
