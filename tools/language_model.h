// A language model of llama's architecture: the scores of all tokens, by the tokens before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "attend/io.hpp"
#include "precision_options.h"
#include "token_embedding.h"

namespace attend::tool {

/// The weights of a model, which stay as they are: any number of readings may share them.
class LanguageModel {
 public:
  /// Loads an open file, which outlives the model. Where precision asks for int4, the scores of tokens take int8. Throws Failure.
  LanguageModel(const io::GgufFile& file, const Precision& precision, Isa isa);

  /// How many tokens the model of a file was trained to read; 0: the file does not say it. Throws Failure.
  static std::int64_t context(const io::GgufFile& file);
  std::int64_t vocabulary() const noexcept { return embedding_.tokens(); }
  Isa isa() const noexcept { return scores_.config().isa; }
  /// Of the weights in memory, without the embedding, which stays in the file.
  std::size_t weight_bytes() const noexcept;

 private:
  friend class Reading;
  /// One layer: attention and a feed-forward network, each of a norm of what is before, to which it is added.
  struct Block {
    io::LoadedLayer attention;
    io::FloatTensor attention_norm, feed_forward_norm;
    Linear gate, up, down;
  };
  Block read_block(const io::GgufFile& file, std::int64_t number, const Precision& precision, Isa isa) const;

  std::int64_t hiddens_ = 0;  // of the feed-forward networks
  float epsilon_ = 0.0f;
  TokenEmbedding embedding_;
  std::vector<Block> blocks_;
  io::FloatTensor last_norm_;
  Linear scores_;
};

/// The tokens that a model has read, as keys and values of each of its layers.
class Reading {
 public:
  /// Has room for `capacity` tokens. The model outlives it, and so do the threads. Throws Failure.
  Reading(const LanguageModel& model, std::int64_t capacity, CacheType cache_type, Threads threads);

  /// Reads tokens of the vocabulary behind those before, one or more. Gives (1, vocabulary): the scores of what comes after them, until the
  /// next call. Throws Failure.
  ConstTensorView read(const std::vector<std::int32_t>& tokens);
  /// Gives (tokens, vocabulary): the scores behind each of them, with the bits that as many calls of `read` give. That takes less time than
  /// these, and more than one call of `read`, whose last bits may differ.
  ConstTensorView read_each(const std::vector<std::int32_t>& tokens);
  /// How many tokens were read.
  std::int64_t length() const noexcept { return caches_[0].length(0); }
  /// Forgets all but the first `length`.
  void forget_after(std::int64_t length);
  std::size_t cache_bytes() const noexcept;

 private:
  void read_part(const std::int32_t* tokens, std::int64_t count, bool each);
  ConstTensorView score(std::int64_t count, std::int64_t rows);
  const LanguageModel& model_;
  Threads threads_;
  std::vector<KeyValueCache> caches_;  // of each layer
  Workspace workspace_;
  std::vector<float> sums_, normed_, added_, up_, gated_, scores_;
};

}  // namespace attend::tool
