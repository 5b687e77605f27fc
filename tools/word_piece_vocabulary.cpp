// The tokens of a WordPiece model and their ids, and the rules that go with them.
#include "word_piece_vocabulary.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <system_error>

#include "attend/io.hpp"
#include "failure.h"
#include "io/json.h"
#include "io/text.h"
#include "json_members.h"

namespace attend::tool {

namespace {

constexpr std::size_t most_bytes = 256u << 20;  // of a file; those of models with 500,000 tokens have 10 MB
constexpr std::size_t most_token_bytes = 1024;
constexpr std::string_view continuation = "##";

std::string_view contents(const io::InputFile& file) { return {reinterpret_cast<const char*>(file.data()), file.size()}; }

io::InputFile open(const std::string& path) {
  std::error_code unknown;  // of a folder, say, which InputFile refuses
  const std::uintmax_t bytes = std::filesystem::file_size(path, unknown);
  if (!unknown && bytes > most_bytes) {
    throw Failure(io::quoted(path) + ": " + std::to_string(bytes) + " bytes; expected a vocabulary of at most " + std::to_string(most_bytes));
  }
  io::InputFile file;
  require(io::InputFile::open(path, &file));
  return file;
}

/// FNV-1a, a byte at a time.
std::uint64_t with_byte(std::uint64_t hash, char byte) { return (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3; }

std::uint64_t hash(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char byte : text) hash = with_byte(hash, byte);
  return hash;
}

/// What is wrong with a token, or null.
const char* flaw(std::string_view token) {
  if (token.empty()) return "is empty";
  if (token.size() > most_token_bytes) return "is longer than 1024 bytes";
  if (token.find('\0') != std::string_view::npos) return "holds a NUL byte";
  if (!io::is_utf8(token)) return "is not UTF-8";
  return nullptr;
}

/// What tokenizer.json must say, for WordPiece tokenizes so. Elements of lists may leave it out.
struct Setting {
  std::string_view object, name, expected;  // the last: words that " or " separates
  bool of_list = false;
};
constexpr Setting settings[] = {  // those that are more than compared come first
  {"normalizer", "lowercase", "true or false"},
  {"normalizer", "strip_accents", "null or true or false"},
  {"normalizer", "handle_chinese_chars", "true or false"},
  {"post_processor", "type", "TemplateProcessing or BertProcessing"},
  {"post_processor.single", "type_id", "0", true},
  {"normalizer", "type", "BertNormalizer"},
  {"normalizer", "clean_text", "true"},
  {"pre_tokenizer", "type", "BertPreTokenizer"},
  {"model", "type", "WordPiece"},
  {"model", "unk_token", "[UNK]"},
  {"model", "continuing_subword_prefix", "##"},
  {"model", "max_input_chars_per_word", "100"},
  {"added_tokens", "single_word", "false", true},
  {"added_tokens", "lstrip", "false", true},
  {"added_tokens", "rstrip", "false", true},
  {"added_tokens", "normalized", "false", true},
};
constexpr const char* expected_pieces = "SpecialToken [CLS], Sequence A, SpecialToken [SEP]";  // of a text, as the post-processor puts them

/// Reads tokenizer.json, whose tokens may come in any order.
class TokenizerFile {
 public:
  struct Entry {
    std::int64_t id;
    std::string token;
  };

  TokenizerFile(const std::string& path, std::string_view text) : path_(path), json_(text) {
    std::string name;
    json_.enter_object();
    while (json_.next_member(&name)) {
      if (name == "model" || name == "normalizer" || name == "pre_tokenizer") read_object(name);
      else if (name == "added_tokens") read_added_tokens();
      else if (name == "post_processor") read_post_processor();
      else json_.skip_value();
    }
    json_.at_end();
    if (json_.failed()) throw Failure(io::quoted(path_) + ": " + json_.error());
    for (std::size_t i = 0; i < std::size(settings); ++i) {
      if (!seen_[i] && !settings[i].of_list) fail(settings[i], "is missing");
    }
    const std::string pieces = found_[3] == "BertProcessing" ? "SpecialToken " + first_ + ", Sequence A, SpecialToken " + last_ : single_;
    if (pieces != expected_pieces) throw Failure(io::quoted(path_) + ": post_processor makes " + io::quoted(pieces) + " of a text; expected " + expected_pieces);
    const auto by_id = [](const Entry& one, const Entry& other) { return one.id < other.id; };
    std::sort(tokens.begin(), tokens.end(), by_id);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i].id != static_cast<std::int64_t>(i)) {
        throw Failure(io::quoted(path_) + ": model.vocab has " + std::to_string(tokens.size()) + " tokens, but " +
                      (i > 0 && tokens[i].id == tokens[i - 1].id ? "two of id " + std::to_string(tokens[i].id) : "none of id " + std::to_string(i)));
      }
    }
  }

  std::vector<Entry> tokens;  // in the order of their ids, which begin with 0
  std::vector<Entry> added;
  std::map<std::string, std::vector<std::int64_t>> special_ids;  // by name, of tokens that the post-processor knows
  WordPieceRules rules() const { return {found_[0], found_[1], found_[2]}; }

 private:
  [[noreturn]] void fail(const Setting& setting, const std::string& what) const {
    throw Failure(io::quoted(path_) + ": " + std::string(setting.object) + "." + std::string(setting.name) + " " + what + "; expected " + std::string(setting.expected) +
                  ", as a WordPiece model of BERT has it");
  }

  /// Compares the value of a setting; passes over that of another member.
  void read_setting(const std::string& object, const std::string& name) {
    for (std::size_t i = 0; i < std::size(settings); ++i) {
      if (settings[i].object != object || settings[i].name != name) continue;
      if (json_.read_scalar(&found_[i]) && !is_one_of(found_[i], settings[i].expected)) fail(settings[i], "is " + io::quoted(found_[i]));
      seen_[i] = true;
      return;
    }
    json_.skip_value();
  }

  void read_object(const std::string& object) {
    std::string name;
    json_.enter_object();
    while (json_.next_member(&name)) {
      if (object == "model" && name == "vocab") read_tokens();
      else read_setting(object, name);
    }
  }

  void read_tokens() {
    Entry entry;
    json_.enter_object();
    while (json_.next_member(&entry.token) && json_.read_integer(&entry.id)) tokens.push_back(entry);
  }

  void read_added_tokens() {
    json_.enter_array();
    while (json_.next_element()) {
      Entry entry{-1, ""};
      std::string name;
      json_.enter_object();
      while (json_.next_member(&name)) {
        if (name == "id") json_.read_integer(&entry.id);
        else if (name == "content") json_.read_string(&entry.token);
        else read_setting("added_tokens", name);
      }
      added.push_back(entry);
    }
  }

  /// Reads what becomes of a text's tokens: BertProcessing puts "cls" and "sep" around them; TemplateProcessing has the pieces in "single", with
  /// the ids in "special_tokens".
  void read_post_processor() {
    std::string name;
    json_.enter_object();
    while (json_.next_member(&name)) {
      if (name == "cls") first_ = read_special_token();
      else if (name == "sep") last_ = read_special_token();
      else if (name == "single") read_pieces();
      else if (name == "special_tokens") read_special_tokens();
      else read_setting("post_processor", name);
    }
  }

  /// Reads ["[CLS]", 101].
  std::string read_special_token() {
    Entry entry{-1, ""};
    json_.enter_array();
    for (int n = 0; json_.next_element(); ++n) n == 0 ? json_.read_string(&entry.token) : json_.read_integer(&entry.id);
    special_ids[entry.token].push_back(entry.id);
    return entry.token;
  }

  /// Reads [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, ...].
  void read_pieces() {
    std::string kind, name, id;
    json_.enter_array();
    while (json_.next_element()) {
      json_.enter_object();
      while (json_.next_member(&kind)) {
        json_.enter_object();
        while (json_.next_member(&name)) {
          if (name != "id") read_setting("post_processor.single", name);
          else if (json_.read_string(&id)) single_ += (single_.empty() ? "" : ", ") + kind + ' ' + id;
        }
      }
    }
  }

  /// Reads {"[CLS]": {"ids": [101]}, ...}.
  void read_special_tokens() {
    std::string token, name;
    std::int64_t id;
    json_.enter_object();
    while (json_.next_member(&token)) {
      json_.enter_object();
      while (json_.next_member(&name)) {
        if (name != "ids") json_.skip_value();
        else for (json_.enter_array(); json_.next_element() && json_.read_integer(&id);) special_ids[token].push_back(id);
      }
    }
  }

  const std::string& path_;
  io::JsonReader json_;
  std::string single_, first_, last_;  // what the post-processor makes of a text, and puts around it
  bool seen_[std::size(settings)] = {};
  std::string found_[std::size(settings)];
};

}  // namespace

WordPieceVocabulary::WordPieceVocabulary(const std::string& folder) {
  const auto exists = [](const std::string& path) {
    std::error_code none;
    return std::filesystem::exists(path, none);
  };
  const std::string lines = folder + "/vocab.txt", json = folder + "/tokenizer.json", config = folder + "/tokenizer_config.json";
  bool by_json = exists(json);
  if (exists(lines) && exists(config)) {
    const JsonMembers says(config);
    by_json = by_json && !says_all_of_bert(says);
    if (!by_json) rules_ = WordPieceRules(says);
  }
  if (!by_json && !exists(lines)) throw Failure(io::quoted(folder) + " has neither vocab.txt nor tokenizer.json; expected the folder of a model");
  by_json ? read_json(json) : read_lines(lines);
}

void WordPieceVocabulary::read_lines(const std::string& path) {
  const io::InputFile file = open(path);
  std::string_view rest = contents(file);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (const char* what = flaw(line)) {
      throw Failure(io::quoted(path) + ": line " + std::to_string(size() + 1) + " " + what + "; expected a token");
    }
    append(line);
  }
  index(path);
  for (const std::string_view token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    if (const std::int32_t id = find(token); id >= 0) added_.push_back(id);
  }
}

void WordPieceVocabulary::read_json(const std::string& path) {
  const io::InputFile file = open(path);
  const TokenizerFile tokenizer(path, contents(file));
  rules_ = tokenizer.rules();
  for (const TokenizerFile::Entry& entry : tokenizer.tokens) {
    if (const char* what = flaw(entry.token)) {
      throw Failure(io::quoted(path) + ": token " + std::to_string(entry.id) + " " + what);
    }
    append(entry.token);
  }
  index(path);
  for (const TokenizerFile::Entry& entry : tokenizer.added) {
    const std::int32_t id = find(entry.token);
    if (id < 0 || id != entry.id) {
      throw Failure(io::quoted(path) + ": added token " + io::quoted(entry.token) + " has id " + std::to_string(entry.id) + "; model.vocab " +
                    (id < 0 ? "lacks it" : "has it as " + std::to_string(id)));
    }
    added_.push_back(id);
  }
  for (const std::int32_t id : {classifier_, separator_}) {
    const auto found = tokenizer.special_ids.find(std::string(token(id)));
    if (found == tokenizer.special_ids.end() || found->second != std::vector<std::int64_t>{id}) {
      throw Failure(io::quoted(path) + ": post_processor has other ids of " + std::string(token(id)) + " than " + std::to_string(id) + ", which it has in model.vocab");
    }
  }
}

void WordPieceVocabulary::append(std::string_view token) {
  texts_ += token;
  ends_.push_back(static_cast<std::uint32_t>(texts_.size()));
  longest_ = std::max(longest_, token.size());
}

void WordPieceVocabulary::index(const std::string& path) {
  std::size_t slots = 2;
  while (slots < 2 * ends_.size()) slots *= 2;
  slots_.assign(slots, -1);
  for (std::int32_t id = 0; id < size(); ++id) {
    std::int32_t& slot = slots_[find_slot(hash(token(id)), "", token(id))];
    if (slot >= 0) {
      throw Failure(io::quoted(path) + ": tokens " + std::to_string(slot) + " and " + std::to_string(id) + " are both " + io::quoted(token(id)));
    }
    slot = id;
  }
  const auto needed = [&](const char* text) {
    const std::int32_t id = find(text);
    if (id < 0) throw Failure(io::quoted(path) + ": none of its " + std::to_string(size()) + " tokens is " + text + "; expected the vocabulary of a WordPiece model");
    return id;
  };
  unknown_ = needed("[UNK]");
  classifier_ = needed("[CLS]");
  separator_ = needed("[SEP]");
}

std::string_view WordPieceVocabulary::token(std::int32_t id) const {
  const std::size_t number = static_cast<std::size_t>(id), end = ends_.at(number), begin = number == 0 ? 0 : ends_[number - 1];
  return std::string_view(texts_).substr(begin, end - begin);
}

std::int32_t WordPieceVocabulary::find(std::string_view token) const noexcept { return slots_[find_slot(hash(token), "", token)]; }

WordPieceVocabulary::Piece WordPieceVocabulary::longest_piece(std::string_view rest, bool continues_word) const noexcept {
  const std::string_view before = continues_word ? continuation : "";
  std::uint64_t hashes[most_token_bytes + 1];  // of the first bytes
  hashes[0] = hash(before);
  std::size_t bytes = std::min(rest.size(), longest_);
  for (std::size_t i = 0; i < bytes; ++i) hashes[i + 1] = with_byte(hashes[i], rest[i]);
  for (; bytes > 0; --bytes) {
    const bool ends_character = bytes == rest.size() || (rest[bytes] & 0xC0) != 0x80;
    if (!ends_character) continue;
    const std::int32_t id = slots_[find_slot(hashes[bytes], before, rest.substr(0, bytes))];
    if (id >= 0) return {id, bytes};
  }
  return {-1, 0};
}

std::size_t WordPieceVocabulary::find_slot(std::uint64_t hash, std::string_view before, std::string_view text) const noexcept {
  for (std::size_t at = hash ^ hash >> 32;; ++at) {
    const std::size_t slot = at & (slots_.size() - 1);
    if (slots_[slot] < 0) return slot;
    const std::string_view found = token(slots_[slot]);
    if (found.size() == before.size() + text.size() && found.substr(0, before.size()) == before && found.substr(before.size()) == text) return slot;
  }
}

}  // namespace attend::tool
