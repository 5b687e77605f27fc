// The tokens of a WordPiece model and their ids, and the rules that go with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "word_piece_rules.h"

namespace attend::tool {

/// A piece that continues a word stands in the vocabulary behind "##".
class WordPieceVocabulary {
 public:
  /// That of a model's folder. Throws Failure.
  ///
  /// vocab.txt is read where tokenizer_config.json beside it says all rules, for it is read fastest; else tokenizer.json; else vocab.txt
  /// alone, for which the rules are those of lower-case models.
  explicit WordPieceVocabulary(const std::string& folder);

  std::int32_t size() const noexcept { return static_cast<std::int32_t>(ends_.size()); }
  std::string_view token(std::int32_t id) const;
  /// The id of a token, or -1.
  std::int32_t find(std::string_view token) const noexcept;
  struct Piece {
    std::int32_t id;    // -1: there is none
    std::size_t bytes;  // of the word
  };
  /// The longest piece that a word begins with, or what is left of it where `continues_word`.
  Piece longest_piece(std::string_view rest, bool continues_word) const noexcept;

  const WordPieceRules& rules() const noexcept { return rules_; }
  std::int32_t unknown() const noexcept { return unknown_; }        // [UNK]
  std::int32_t classifier() const noexcept { return classifier_; }  // [CLS]
  std::int32_t separator() const noexcept { return separator_; }    // [SEP]
  /// Tokens that stand for themselves where a text spells them: [CLS], [MASK], ...
  const std::vector<std::int32_t>& added() const noexcept { return added_; }

 private:
  void read_lines(const std::string& path);
  void read_json(const std::string& path);
  void append(std::string_view token);
  void index(const std::string& path);
  /// Where in slots_ the token of that hash is that is `before` and then `text`, or else the free slot that it would take.
  std::size_t find_slot(std::uint64_t hash, std::string_view before, std::string_view text) const noexcept;

  std::string texts_;                // of all tokens, one after the other
  std::vector<std::uint32_t> ends_;  // where each ends
  std::size_t longest_ = 0;
  std::vector<std::int32_t> slots_;  // a hash table of ids, at most half full; -1: free
  WordPieceRules rules_;
  std::int32_t unknown_ = -1, classifier_ = -1, separator_ = -1;
  std::vector<std::int32_t> added_;
};

}  // namespace attend::tool
