// WordPiece: the ids of a text's tokens, for models of BERT's family.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "word_piece_vocabulary.h"

namespace attend::tool {

/// Gives the ids that the tokenizers package gives. What is not UTF-8 counts as U+FFFD, which is dropped as control characters are.
class WordPiece {
 public:
  /// The tokenizer of a model's folder (WordPieceVocabulary). Throws Failure.
  explicit WordPiece(const std::string& folder);

  /// [CLS], the tokens of the text and [SEP], in all `limit` ids at most: the tokens at the end are left out. Throws Failure where
  /// the limit is below 2.
  std::vector<std::int32_t> encode(std::string_view text, std::size_t limit) const;
  std::string_view token(std::int32_t id) const { return vocabulary_.token(id); }
  const WordPieceVocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  /// Where the next added token begins in the text, and its id; or the text's end and -1.
  std::size_t find_added(std::string_view text, std::int32_t* id) const noexcept;
  WordPieceVocabulary vocabulary_;
  std::array<bool, 256> begins_added_ = {};  // by a byte
};

}  // namespace attend::tool
