// WordPieceRules: what becomes of a text's characters before its words are cut into pieces.
#pragma once

#include <string>

namespace attend::tool {

/// Those of lower-case BERT models, unless a model's files say otherwise.
struct WordPieceRules {
  bool lower_case = true;
  bool strip_accents = true;        // characters are decomposed, and lose their accents
  bool separate_ideographs = true;  // each is a word

  WordPieceRules() = default;
  /// As files spell them: "true" or "false"; of accents, "null" says the same as of case.
  WordPieceRules(const std::string& lower_case, const std::string& strip_accents, const std::string& separate_ideographs);
  /// Those that a tokenizer_config.json says. Throws Failure where it says what WordPiece does not compute.
  explicit WordPieceRules(const std::string& path);
};

}  // namespace attend::tool
