// WordPiece: the ids of a text's tokens, for models of BERT's family.
#include "word_piece.h"

#include <algorithm>
#include <map>

#include "failure.h"
#include "io/json.h"
#include "unicode.h"

namespace attend::tool {

namespace {

constexpr std::size_t most_characters = 100;  // of a word; one with more is [UNK]

/// An ideograph, which is a word of its own. BERT began one block at U+2B820, tokenizers begins it at U+2B920.
bool is_ideograph(char32_t code) {
  const auto between = [&](char32_t first, char32_t last) { return code >= first && code <= last; };
  return code >= 0x3400 && (between(0x3400, 0x4DBF) || between(0x4E00, 0x9FFF) || between(0xF900, 0xFAFF) || between(0x20000, 0x2A6DF) ||
                            between(0x2A700, 0x2B81F) || between(0x2B920, 0x2CEAF) || between(0x2F800, 0x2FA1F));
}

/// Cuts text into words, and these into pieces whose ids it appends, until there are `most`.
class Cutter {
 public:
  Cutter(const WordPieceVocabulary& vocabulary, std::size_t most, std::vector<std::int32_t>* ids)
      : vocabulary_(vocabulary), rules_(vocabulary.rules()), most_(most), ids_(*ids) {}

  bool is_full() const { return ids_.size() >= most_; }

  /// A text without added tokens. BERT drops control characters and, by the rules, sets ideographs apart, decomposes, drops accents, and
  /// takes lower case.
  void read(std::string_view text) {
    while (!text.empty() && !is_full()) {
      std::size_t bytes = read_ascii(text);
      text.remove_prefix(bytes);
      if (text.empty()) break;
      const char32_t code = decode_utf8(text, &bytes);
      text.remove_prefix(bytes);
      if (code != not_utf8) read(code);
    }
    end_word();
  }

 private:
  /// Letters and digits of ASCII at the text's start, for which all of that is short: most texts are made of them. Returns how many.
  std::size_t read_ascii(std::string_view text) {
    std::size_t count = 0;
    for (; count < text.size(); ++count) {
      const char byte = text[count], small = static_cast<char>(byte | 0x20);
      const bool letter = small >= 'a' && small <= 'z';
      if (!letter && (byte < '0' || byte > '9')) break;
      if (count == 0) end_marks();
      if (++characters_ <= most_characters) word_ += letter && rules_.lower_case ? small : byte;
    }
    return count;
  }

  void read(char32_t code) {
    const Character whole = character(code);
    if (whole.is_control) return;
    if (whole.is_space) return end_word();
    const bool alone = rules_.separate_ideographs && is_ideograph(code);
    if (alone) end_word();
    if (rules_.strip_accents) {
      for (const char32_t part : decompose(code)) put_in_order(part, part == code ? whole : character(part));
    } else {
      add(code, whole);
    }
    if (alone) end_word();
  }

  /// Holds back what may have to stand behind what follows. An accent of class 0 goes, too, but nothing moves past it.
  void put_in_order(char32_t code, const Character& facts) {
    if (facts.combining_class != 0) {
      if (!facts.is_mark) marks_[facts.combining_class] += code;
      return;
    }
    end_marks();
    if (!facts.is_mark) add(code, facts);
  }

  void add(char32_t code, const Character& facts) {
    if (facts.is_punctuation) end_word();
    add(code);
    if (facts.is_punctuation) end_word();
  }

  void end_marks() {
    if (marks_.empty()) return;
    for (const auto& [combining_class, codes] : marks_) {
      for (const char32_t code : codes) add(code);
    }
    marks_.clear();
  }

  void add(char32_t code) {
    if (rules_.lower_case && code == U'\u0130') {  // alone of all it becomes two, where accents stay
      add(U'i');
      code = U'\u0307';
    }
    if (++characters_ <= most_characters) io::append_utf8(rules_.lower_case ? lower_case(code) : code, &word_);
  }

  void end_word() {
    end_marks();
    if (characters_ == 0) return;
    if (characters_ > most_characters || !find_pieces()) pieces_.assign(1, vocabulary_.unknown());
    ids_.insert(ids_.end(), pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(std::min(pieces_.size(), most_ - ids_.size())));
    word_.clear();
    characters_ = 0;
  }

  /// The longest piece that the word begins with, then the longest that continues it, and so on; false where there is none.
  bool find_pieces() {
    pieces_.clear();
    for (std::string_view rest = word_; !rest.empty();) {
      const auto [id, bytes] = vocabulary_.longest_piece(rest, rest.size() < word_.size());
      if (id < 0) return false;
      pieces_.push_back(id);
      rest.remove_prefix(bytes);
    }
    return true;
  }

  const WordPieceVocabulary& vocabulary_;
  const WordPieceRules& rules_;
  std::size_t most_;
  std::vector<std::int32_t>& ids_;
  std::string word_;
  std::size_t characters_ = 0;  // of the word, also where word_ has but the first of them
  std::map<int, std::u32string> marks_;  // behind the word's last character, by class
  std::vector<std::int32_t> pieces_;
};

}  // namespace

WordPiece::WordPiece(const std::string& folder) : vocabulary_(folder) {
  for (const std::int32_t id : vocabulary_.added()) begins_added_[static_cast<unsigned char>(token(id)[0])] = true;
}

std::vector<std::int32_t> WordPiece::encode(std::string_view text, std::size_t limit) const {
  if (limit < 2) throw Failure("a limit of " + std::to_string(limit) + " tokens; expected at least 2, for [CLS] and [SEP]");
  std::vector<std::int32_t> ids{vocabulary_.classifier()};
  Cutter cutter(vocabulary_, limit - 1, &ids);
  while (!text.empty() && !cutter.is_full()) {
    std::int32_t id;
    const std::size_t length = find_added(text, &id);
    cutter.read(text.substr(0, length));
    text.remove_prefix(length);
    if (id < 0 || cutter.is_full()) break;
    ids.push_back(id);
    text.remove_prefix(token(id).size());
  }
  ids.push_back(vocabulary_.separator());
  return ids;
}

std::size_t WordPiece::find_added(std::string_view text, std::int32_t* id) const noexcept {
  std::size_t at = 0;
  *id = -1;
  for (; *id < 0; ++at) {
    while (at < text.size() && !begins_added_[static_cast<unsigned char>(text[at])]) ++at;
    if (at == text.size()) return at;
    for (const std::int32_t added : vocabulary_.added()) {
      const std::string_view spelled = token(added);
      const bool longer = *id < 0 || spelled.size() > token(*id).size();
      if (longer && text.substr(at, spelled.size()) == spelled) *id = added;
    }
  }
  return at - 1;
}

}  // namespace attend::tool
