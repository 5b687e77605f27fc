// SentenceEncoder: texts to vectors of length 1 by a BERT model whose token vectors are averaged, as all-MiniLM-L6-v2 is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attend/attend.hpp"
#include "attend/io.hpp"
#include "encoder_config.h"
#include "model_precision.h"
#include "word_piece.h"

namespace attend::tool {

/// A model in memory. One thread at a time may use it; what it computes takes the threads of its calls.
class SentenceEncoder {
 public:
  /// That of a folder: config.json, model.safetensors, and what WordPieceVocabulary reads. Throws Failure.
  SentenceEncoder(const std::string& folder, const ModelPrecision& precision, Isa isa, const Threads& threads);

  const EncoderConfig& config() const noexcept { return config_; }
  const WordPiece& tokenizer() const noexcept { return tokenizer_; }

  /// The ids of a text, cut at the model's limit.
  std::vector<std::int32_t> ids(std::string_view text) const { return tokenizer_.encode(text, static_cast<std::size_t>(config_.most_tokens)); }
  /// Writes the vector of each text, (texts, width) row-major.
  ///
  /// Texts go through the layers side by side, as packed sequences: no padding is computed, and a text's vector has the same bits
  /// whatever stands beside it.
  void encode(const std::vector<std::vector<std::int32_t>>& texts, float* vectors, const Threads& threads);
  /// Writes the attention weights of one layer for one text, (heads, n, n).
  void attention_weights(const std::vector<std::int32_t>& text, std::int64_t layer, float* weights, const Threads& threads);

 private:
  struct Norm {
    io::FloatTensor weight, bias;
  };
  struct Layer {
    io::LoadedLayer attention;
    Linear up, down;
    Norm attention_norm, output_norm;
  };
  void load(const std::string& path, const ModelPrecision& precision, Isa isa, const Threads& threads);
  void norm(const Norm& norm, const ConstTensorView& input, const ConstTensorView& residual, const TensorView& output, const Threads& threads) const;
  /// Runs the first `layers` layers on some texts side by side, whose first tokens are `starts`; x_ has their rows then.
  void run(const std::vector<std::int32_t>* texts, std::size_t count, std::int64_t layers, const Threads& threads);
  AttentionOptions attention_options(const Layer& layer, const Threads& threads) const;

  EncoderConfig config_;
  WordPiece tokenizer_;
  Isa isa_;
  AttentionOptions core_;  // the arithmetic of attention
  std::string prefix_;     // of the names of tensors
  io::TensorFile file_;    // whose table of words is read where it lies
  io::FloatTensor words_, positions_;  // positions and the first token type, added up
  Norm embedding_norm_;
  std::vector<Layer> layers_;
  std::vector<float> x_, attended_, hidden_;  // rows of a group of texts
  std::vector<std::int64_t> starts_;
  Workspace workspace_;
};

}  // namespace attend::tool
