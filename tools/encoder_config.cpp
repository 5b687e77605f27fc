// What the files of a sentence model say of it: sizes, activation, epsilon, how many tokens a text may have.
#include "encoder_config.h"

#include <filesystem>
#include <system_error>

#include "failure.h"
#include "io/text.h"
#include "json_members.h"

namespace attend::tool {

namespace {

constexpr std::int64_t most_width = 1 << 16, most_layers = 1024, most_positions = 1 << 20;

Activation activation_of(const JsonMembers& config) {
  const std::string name = config.has("hidden_act") ? config.text("hidden_act") : "gelu";
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  if (name == "silu" || name == "swish") return Activation::silu;
  throw Failure(io::quoted(config.path()) + ": hidden_act is " + io::quoted(name) + ", expected gelu, gelu_new, relu or silu");
}

}  // namespace

EncoderConfig::EncoderConfig(const std::string& folder) {
  const JsonMembers config(folder + "/config.json");
  config.word("model_type", "bert", "only BERT's layers are computed");
  config.word("position_embedding_type", "absolute", "positions are a table's rows");
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
    const JsonMembers of_sentences(sentences);
    of_sentences.word("do_lower_case", "false", "texts come to the tokenizer as they are");
    if (of_sentences.has("max_seq_length") && of_sentences.text("max_seq_length") != "null") most_tokens = of_sentences.size("max_seq_length", positions);
  }
  if (files::exists(pooling, unknown)) {
    const JsonMembers of_pooling(pooling);
    for (const char* name : {"pooling_mode_cls_token", "pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens"}) {
      of_pooling.word(name, "false", "vectors of tokens are averaged");
    }
    of_pooling.word("pooling_mode_mean_tokens", "true", "vectors of tokens are averaged");
  }
}

}  // namespace attend::tool
