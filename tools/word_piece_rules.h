// WordPieceRules: what becomes of a text's characters before its words are cut into pieces.
#pragma once

#include <string>

namespace attend::tool {

class JsonMembers;

/// Whether a tokenizer_config.json names a class of which it says all rules itself; of a class such as PreTrainedTokenizerFast,
/// tokenizer.json has them.
bool says_all_of_bert(const JsonMembers& config);

/// Those of lower-case BERT models, unless a model's files say otherwise.
struct WordPieceRules {
  bool lower_case = true;
  bool strip_accents = true;        // characters are decomposed, and lose their accents
  bool separate_ideographs = true;  // each is a word

  WordPieceRules() = default;
  /// As files spell them: "true" or "false"; of accents, "null" says the same as of case.
  WordPieceRules(const std::string& lower_case, const std::string& strip_accents, const std::string& separate_ideographs);
  /// Those that a tokenizer_config.json says. Throws Failure where it says what WordPiece does not compute.
  explicit WordPieceRules(const JsonMembers& config);
};

}  // namespace attend::tool
