// What the files of a sentence model say of it: sizes, activation, epsilon, how many tokens a text may have.
#include "encoder_config.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <system_error>

#include "attend/io.hpp"
#include "failure.h"
#include "io/json.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

constexpr std::size_t most_config_bytes = 1 << 20;
constexpr std::int64_t most_width = 1 << 16, most_layers = 1024, most_positions = 1 << 20;

/// The members of a file's JSON object that are scalars, as they are spelled.
class Members {
 public:
  explicit Members(const std::string& path) : path_(path) {
    std::error_code unknown;  // of a folder, say, which InputFile refuses
    const std::uintmax_t bytes = std::filesystem::file_size(path, unknown);
    if (!unknown && bytes > most_config_bytes) throw Failure(io::quoted(path) + ": " + std::to_string(bytes) + " bytes are too many for a config");
    io::InputFile file;
    require(io::InputFile::open(path, &file));
    io::JsonReader reader({reinterpret_cast<const char*>(file.data()), file.size()});
    std::string key, value;
    for (reader.enter_object(); reader.next_member(&key);) {
      io::JsonReader rest = reader;
      if (rest.read_scalar(&value)) {
        members_[key] = value;
        reader = rest;
      } else {
        reader.skip_value();
      }
    }
    if (!reader.failed()) reader.at_end();
    if (reader.failed()) throw Failure(io::quoted(path) + ": " + reader.error());
  }

  bool has(const char* name) const { return members_.count(name) != 0; }
  std::string text(const char* name) const {
    const auto found = members_.find(name);
    return found == members_.end() ? "" : found->second;
  }
  std::int64_t size(const char* name, std::int64_t most) const {
    const std::string spelled = text(name);
    char* end = nullptr;
    const long long size = std::strtoll(spelled.c_str(), &end, 10);
    if (!spelled.empty() && *end == '\0' && size >= 1 && size <= most) return size;
    throw Failure(format("%s: %s is %s, expected 1 to %lld", io::quoted(path_).c_str(), name, spelled.empty() ? "missing" : io::quoted(spelled).c_str(),
                         static_cast<long long>(most)));
  }
  double number(const char* name, double otherwise) const {
    if (!has(name)) return otherwise;
    const std::string spelled = text(name);
    char* end = nullptr;
    const double number = std::strtod(spelled.c_str(), &end);
    if (!spelled.empty() && *end == '\0' && std::isfinite(number) && number >= 0.0) return number;
    throw Failure(format("%s: %s is %s, expected a number, 0 or more", io::quoted(path_).c_str(), name, io::quoted(spelled).c_str()));
  }
  /// Throws Failure unless the member is missing or spelled so.
  void expect(const char* name, const std::string& expected, const char* why) const {
    if (!has(name) || text(name) == expected) return;
    throw Failure(format("%s: %s is %s, expected %s: %s", io::quoted(path_).c_str(), name, io::quoted(text(name)).c_str(), expected.c_str(), why));
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::map<std::string, std::string> members_;
};

Activation activation_of(const Members& config) {
  const std::string name = config.has("hidden_act") ? config.text("hidden_act") : "gelu";
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  if (name == "silu" || name == "swish") return Activation::silu;
  throw Failure(io::quoted(config.path()) + ": hidden_act is " + io::quoted(name) + ", expected gelu, gelu_new, relu or silu");
}

}  // namespace

EncoderConfig::EncoderConfig(const std::string& folder) {
  const Members config(folder + "/config.json");
  config.expect("model_type", "bert", "only BERT's layers are computed");
  config.expect("position_embedding_type", "absolute", "positions are a table's rows");
  width = config.size("hidden_size", most_width);
  layers = config.size("num_hidden_layers", most_layers);
  heads = config.size("num_attention_heads", width);
  hidden_width = config.size("intermediate_size", most_width);
  most_tokens = positions = config.size("max_position_embeddings", most_positions);
  activation = activation_of(config);
  epsilon = static_cast<float>(config.number("layer_norm_eps", 1e-12));

  namespace files = std::filesystem;
  std::error_code unknown;
  const std::string sentences = folder + "/sentence_bert_config.json", pooling = folder + "/1_Pooling/config.json";
  if (files::exists(sentences, unknown)) {
    const Members of_sentences(sentences);
    if (of_sentences.has("max_seq_length") && of_sentences.text("max_seq_length") != "null") most_tokens = of_sentences.size("max_seq_length", positions);
  }
  if (files::exists(pooling, unknown)) {
    const Members of_pooling(pooling);
    for (const char* name : {"pooling_mode_cls_token", "pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens"}) {
      of_pooling.expect(name, "false", "vectors of tokens are averaged");
    }
    of_pooling.expect("pooling_mode_mean_tokens", "true", "vectors of tokens are averaged");
  }
}

}  // namespace attend::tool
