// WordPieceRules: what becomes of a text's characters before its words are cut into pieces.
#include "word_piece_rules.h"

#include "json_members.h"

namespace attend::tool {

namespace {

constexpr const char* classes = "BertTokenizer or BertTokenizerFast or null";

}  // namespace

bool says_all_of_bert(const JsonMembers& config) { return !config.has("tokenizer_class") || is_one_of(config.text("tokenizer_class"), classes); }

WordPieceRules::WordPieceRules(const std::string& lower, const std::string& strip, const std::string& separate)
    : lower_case(lower == "true"), strip_accents(strip == "null" ? lower_case : strip == "true"), separate_ideographs(separate == "true") {}

WordPieceRules::WordPieceRules(const JsonMembers& config) {
  const char* const why = "a WordPiece tokenizer of BERT is computed";
  config.word("tokenizer_class", classes, why);
  config.word("do_basic_tokenize", "true", why);
  config.word("unk_token", "[UNK]", why);
  config.word("cls_token", "[CLS]", why);
  config.word("sep_token", "[SEP]", why);
  *this = WordPieceRules(config.word("do_lower_case", "true or false", why), config.word("strip_accents", "null or true or false", why),
                         config.word("tokenize_chinese_chars", "true or false", why));
}

}  // namespace attend::tool
