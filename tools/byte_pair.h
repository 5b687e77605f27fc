// Byte pair encoding: the ids of a text's tokens, for models of GPT-2's family.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "attend/io.hpp"

namespace attend::tool {

/// Gives the ids that the tokenizers package gives. What is not UTF-8 counts as U+FFFD; bytes for which there is no token are left out.
class BytePair {
 public:
  /// The tokenizer of a GGUF file: its tokenizer.ggml.model is gpt2, its tokenizer.ggml.pre smollm or gpt-2. Throws Failure.
  explicit BytePair(const io::GgufFile& file);

  /// Tokens that stand for themselves, as <|im_end|>, are found in the text first.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// What a token adds to a text: any bytes, of a control token none.
  std::string_view bytes(std::int32_t id) const;
  /// Whether a text ends with that token.
  bool is_end(std::int32_t id) const noexcept { return tokens_[static_cast<std::size_t>(id)].is_end; }
  std::size_t size() const noexcept { return tokens_.size(); }

 private:
  struct Token {
    std::string bytes;
    bool is_control = false, is_end = false;
  };
  struct Merge {
    std::int32_t rank, id;
  };
  void read_tokens(const io::GgufFile& file, const std::vector<std::string_view>& texts);
  void read_merges(const io::GgufFile& file, const std::vector<std::string_view>& texts);
  void find_ends(const io::GgufFile& file);
  /// Where the next token that stands for itself begins in the text, and its id; or the text's end and -1.
  std::size_t find_whole(std::string_view text, std::int32_t* id) const noexcept;
  void append_word(std::string_view word, std::vector<std::int32_t>* ids) const;
  const Merge* find_merge(std::int32_t left, std::int32_t right) const noexcept;

  std::vector<Token> tokens_;
  std::array<std::int32_t, 256> of_byte_;                    // -1: there is none
  std::array<std::vector<std::int32_t>, 256> whole_;         // those that stand for themselves, by their first byte, the longest first
  std::unordered_map<std::uint64_t, Merge> merges_;          // by both ids
  bool split_digits_ = false;
  std::int32_t first_ = -1;  // what every text begins with; -1: nothing
};

}  // namespace attend::tool
