// A sentence model of random numbers, small enough to be computed in double, as the files of a folder.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "../tools/checks/random.h"
#include "attend/io.hpp"
#include "reference/reference.h"

namespace tiny_encoder {

inline constexpr std::int64_t width = 24, heads = 3, layers = 2, hidden_width = 40, positions = 10, most_tokens = 8;
inline constexpr const char* vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n";
inline constexpr std::int64_t words = 10;

/// All tensors by name, as random numbers of a seed.
inline std::map<std::string, attend::reference::Array> tensors(const std::string& prefix = "") {
  attend::checks::Random random(7);
  std::map<std::string, attend::reference::Array> all;
  const auto add = [&](const std::string& name, const attend::reference::Shape& shape, float scale, float middle = 0.0f) {
    attend::reference::Array array = attend::reference::Array::zeros(shape);
    for (double& value : array.values) value = middle + scale * random.number();
    all[prefix + name] = array;
  };
  const auto add_norm = [&](const std::string& name) {
    add(name + ".weight", {width}, 0.3f, 1.0f);
    add(name + ".bias", {width}, 0.3f);
  };
  const auto add_linear = [&](const std::string& name, std::int64_t outputs, std::int64_t inputs) {
    add(name + ".weight", {outputs, inputs}, 0.5f);
    add(name + ".bias", {outputs}, 0.3f);
  };
  add("embeddings.word_embeddings.weight", {words, width}, 1.0f);
  add("embeddings.position_embeddings.weight", {positions, width}, 0.5f);
  add("embeddings.token_type_embeddings.weight", {2, width}, 0.5f);
  add_norm("embeddings.LayerNorm");
  for (std::int64_t n = 0; n < layers; ++n) {
    const std::string name = "encoder.layer." + std::to_string(n);
    for (const char* side : {"query", "key", "value"}) add_linear(name + ".attention.self." + side, width, width);
    add_linear(name + ".attention.output.dense", width, width);
    add_norm(name + ".attention.output.LayerNorm");
    add_linear(name + ".intermediate.dense", hidden_width, width);
    add_linear(name + ".output.dense", width, hidden_width);
    add_norm(name + ".output.LayerNorm");
  }
  return all;
}

inline std::string config() {
  return "{\"model_type\": \"bert\", \"hidden_size\": 24, \"num_attention_heads\": 3, \"num_hidden_layers\": 2, \"intermediate_size\": 40,\n"
         " \"max_position_embeddings\": 10, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12, \"architectures\": [\"BertModel\"]}\n";
}

inline void write_text(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

inline attend::Status write_tensors(const std::string& path, const std::map<std::string, attend::reference::Array>& all) {
  std::vector<std::vector<float>> floats;
  std::vector<attend::io::SafetensorsTensor> written;
  for (const auto& [name, array] : all) floats.emplace_back(array.values.begin(), array.values.end());
  std::size_t n = 0;
  for (const auto& [name, array] : all) {
    attend::io::SafetensorsTensor tensor;
    tensor.name = name;
    tensor.shape = array.shape;
    tensor.values = floats[n++].data();
    written.push_back(tensor);
  }
  return attend::io::write_safetensors(path, written);
}

/// Writes the model's files.
inline attend::Status write(const std::string& folder, const std::string& prefix = "") {
  write_text(folder + "/config.json", config());
  write_text(folder + "/sentence_bert_config.json", "{\"max_seq_length\": 8, \"do_lower_case\": false}\n");
  write_text(folder + "/vocab.txt", vocabulary);
  return write_tensors(folder + "/model.safetensors", tensors(prefix));
}

}  // namespace tiny_encoder
