// What the files of a sentence model say of it: sizes, activation, epsilon, how many tokens a text may have.
#pragma once

#include <cstdint>
#include <string>

#include "attend/attend.hpp"

namespace attend::tool {

/// Of a BERT model whose token vectors are averaged.
struct EncoderConfig {
  std::int64_t width = 0, layers = 0, heads = 0, hidden_width = 0;
  std::int64_t positions = 0;  // rows of the table of positions
  std::int64_t most_tokens = 0;  // that sentence-transformers takes of a text, [CLS] and [SEP] among them: at most `positions`
  Activation activation = Activation::gelu;
  float epsilon = 1e-12f;

  /// From config.json, sentence_bert_config.json and 1_Pooling/config.json of a folder; only the first has to be there. Throws Failure
  /// where a file says what SentenceEncoder does not compute.
  explicit EncoderConfig(const std::string& folder);
};

}  // namespace attend::tool
