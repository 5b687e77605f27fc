// The tokenizer: characters, tokens worked out by hand, ids of the tokenizers package, and vocabularies that are refused.
#include <doctest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "../tools/checks/random.h"
#include "../tools/failure.h"
#include "../tools/unicode.h"
#include "../tools/word_piece.h"
#include "io/json.h"
#include "test_data.h"

namespace {

using namespace attend;
using tool::WordPiece;

/// A model's folder that disappears with everything in it.
struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "attend-word-piece-XXXXXX").string();
  Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
  const Folder& write(const std::string& name, const std::string& text) const {
    std::ofstream(path + "/" + name, std::ios::binary) << text;
    return *this;
  }
};

constexpr const char* special = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";

/// A tokenizer of these tokens, which are separated by blanks, behind the five special ones.
WordPiece word_piece(const std::string& tokens) {
  std::string lines = special;
  std::istringstream words(tokens);
  for (std::string token; words >> token;) lines += token + "\n";
  return WordPiece(Folder().write("vocab.txt", lines).path);
}

/// The tokens of a text between [CLS] and [SEP], separated by blanks.
std::string tokens(const WordPiece& tokenizer, std::string_view text, std::size_t limit = 512) {
  const std::vector<std::int32_t> ids = tokenizer.encode(text, limit);
  REQUIRE(ids.size() >= 2);
  CHECK(tokenizer.token(ids.front()) == "[CLS]");
  CHECK(tokenizer.token(ids.back()) == "[SEP]");
  std::string joined;
  for (std::size_t i = 1; i + 1 < ids.size(); ++i) joined += (i > 1 ? " " : "") + std::string(tokenizer.token(ids[i]));
  return joined;
}

/// What the constructor says of a folder that it refuses, without the folder: one line.
std::string refusal(const Folder& folder) {
  try {
    WordPiece{folder.path};
  } catch (const tool::Failure& failure) {
    std::string text = failure.what();
    CHECK(text.find('\n') == std::string::npos);
    const std::size_t at = text.find(folder.path);
    REQUIRE(at != std::string::npos);
    return text.erase(at, folder.path.size());
  }
  return "accepted";
}

std::string refusal(const std::string& vocabulary) {
  Folder folder;
  return refusal(folder.write("vocab.txt", vocabulary));
}

std::string text_of(const tool::Parts& parts) {
  std::string text;
  for (const char32_t code : parts) io::append_utf8(code, &text);
  return text;
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(test_data(path), std::ios::binary);
  REQUIRE(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("word piece: UTF-8 is decoded as Python and browsers do") {
  const auto decoded = [](std::string_view text) {
    std::string codes;
    while (!text.empty()) {
      std::size_t bytes;
      const char32_t code = tool::decode_utf8(text, &bytes);
      char hexadecimal[16];
      std::snprintf(hexadecimal, sizeof hexadecimal, "%s%X", codes.empty() ? "" : " ", static_cast<unsigned>(code));
      codes += code == tool::not_utf8 ? (codes.empty() ? "?" : " ?") : hexadecimal;
      text.remove_prefix(bytes);
    }
    return codes;
  };
  CHECK(decoded("A\u00e9\u4e2d\U0001f600") == "41 E9 4E2D 1F600");
  CHECK(decoded("\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF") == "D7FF E000 10FFFF");
  CHECK(decoded("\xE2\x82(\xF0\x9F\x98") == "? 28 ?");  // as many bytes as a character could begin with are one
  CHECK(decoded("\xED\xA0\x80") == "? ? ?");            // a surrogate
  CHECK(decoded("\xC0\x80\xE0\x9F\x80") == "? ? ? ? ?");  // longer than needed
  CHECK(decoded("\xF0\x8F\xBF\xBF") == "? ? ? ?");
  CHECK(decoded("\xF4\x90\x80\x80\xF5\x80\x80\x80\xFF") == "? ? ? ? ? ? ? ? ?");
  CHECK(decoded("\x80z\xC3") == "? 7A ?");
}

TEST_CASE("word piece: what Unicode says of characters") {
  CHECK(text_of(tool::decompose(U'\u00c5')) == "A\u030a");
  CHECK(text_of(tool::decompose(U'\u212b')) == "A\u030a");
  CHECK(text_of(tool::decompose(U'\u1e69')) == "s\u0323\u0307");
  CHECK(text_of(tool::decompose(U'\uac00')) == "\u1100\u1161");
  CHECK(text_of(tool::decompose(U'\ud7a3')) == "\u1112\u1175\u11c2");
  CHECK(text_of(tool::decompose(U'\U0002fa1d')) == "\U0002a600");
  CHECK(text_of(tool::decompose(U'\ufb01')) == "\ufb01");  // compatibility alone
  CHECK(tool::lower_case(U'Z') == U'z');
  CHECK(tool::lower_case(U'[') == U'[');
  CHECK(tool::lower_case(U'\u0100') == U'\u0101');
  CHECK(tool::lower_case(U'\u0101') == U'\u0101');
  CHECK(tool::lower_case(U'\u1e9e') == U'\u00df');
  CHECK(tool::lower_case(U'\u03a3') == U'\u03c3');
  CHECK(tool::lower_case(U'\U00016eb8') == U'\U00016ed3');  // of Unicode 17
  const auto kinds = [](char32_t code) {
    const tool::Character facts = tool::character(code);
    return std::string(facts.is_control ? "control " : "") + (facts.is_space ? "space " : "") + (facts.is_punctuation ? "punctuation " : "") +
           (facts.is_mark ? "mark " : "") + std::to_string(facts.combining_class);
  };
  CHECK(kinds(U'a') == "0");
  CHECK(kinds(0) == "control 0");
  CHECK(kinds(U'\n') == "space 0");
  CHECK(kinds(U'\u00a0') == "space 0");
  CHECK(kinds(U'\u0085') == "control 0");
  CHECK(kinds(U'\u200d') == "control 0");
  CHECK(kinds(U'\ufffd') == "control 0");
  CHECK(kinds(U'\U0010fffd') == "control 0");
  CHECK(kinds(U'$') == "punctuation 0");
  CHECK(kinds(U'\u20ac') == "0");  // a symbol
  CHECK(kinds(U'\u2026') == "punctuation 0");
  CHECK(kinds(U'\u0301') == "mark 230");
  CHECK(kinds(U'\u0327') == "mark 202");
  CHECK(kinds(U'\u034f') == "mark 0");
  CHECK(kinds(U'\u302e') == "224");
  CHECK(kinds(0x10ffff) == "0");
}

TEST_CASE("word piece: words, accents, case and punctuation") {
  const WordPiece tokenizer = word_piece("hello world naive i \u03c3\u03b1\u03c3 stra\u00dfe , . ! ' don t a b ab \u4e2d \u56fd \u1100 ##\u1161 c ##d \u302e ##\u1baa ##\u302e");
  CHECK(tokens(tokenizer, "") == "");
  CHECK(tokens(tokenizer, " \t\n") == "");
  CHECK(tokens(tokenizer, "Hello, WORLD!") == "hello , world !");
  CHECK(tokens(tokenizer, "don't...") == "don ' t . . .");
  CHECK(tokens(tokenizer, "Na\u00efve NAI\u0308VE") == "naive naive");
  CHECK(tokens(tokenizer, "\u0130 I\u0307 I") == "i i i");
  CHECK(tokens(tokenizer, "\u03a3\u0391\u03a3") == "\u03c3\u03b1\u03c3");  // no final sigma
  CHECK(tokens(tokenizer, "STRA\u1e9eE") == "stra\u00dfe");
  CHECK(tokens(tokenizer, "a\u200db a\u00adb a\u0085b a\u00a0b a\u3000b") == "ab ab ab a b a b");
  CHECK(tokens(tokenizer, std::string_view("a\0b", 3)) == "ab");
  CHECK(tokens(tokenizer, "a\u4e2d\u56fdb") == "a \u4e2d \u56fd b");
  CHECK(tokens(tokenizer, "\uac00") == "\u1100 ##\u1161");
  CHECK(tokens(tokenizer, "a\xE2\x82 \xFF\x80" "b") == "a b");
  CHECK(tokens(tokenizer, "a\xE2\x82,b") == "a , b");
  // Marks that stay are sorted by class, but not past one of class 0.
  CHECK(tokens(tokenizer, "\u302e\u1baa") == "[UNK]");
  CHECK(tokens(tokenizer, "\u302e\u034f\u1baa") == "\u302e ##\u1baa");
  CHECK(tokens(tokenizer, "\u302e\u0301\u302e") == "\u302e ##\u302e");
}

TEST_CASE("word piece: the longest pieces") {
  const WordPiece tokenizer = word_piece("un ##aff ##able ##a ##affa a ab abc ##c ##d x ##x \u00e6 ##\u00e6");
  CHECK(tokens(tokenizer, "unaffable") == "[UNK]");  // un ##affa, and nothing begins with ble
  CHECK(tokens(tokenizer, "unaff unable") == "un ##aff un ##able");
  CHECK(tokens(tokenizer, "abcd abd") == "abc ##d ab ##d");
  CHECK(tokens(tokenizer, "aff") == "[UNK]");  // ##aff is not at the beginning of a word
  CHECK(tokens(tokenizer, "aun") == "[UNK]");  // un is
  CHECK(tokens(tokenizer, "\u00e6\u00e6\u00c6x") == "\u00e6 ##\u00e6 ##\u00e6 ##x");
  std::string expected = "x";
  for (int i = 1; i < 100; ++i) expected += " ##x";
  CHECK(tokens(tokenizer, std::string(100, 'x')) == expected);
  CHECK(tokens(tokenizer, std::string(101, 'X')) == "[UNK]");
  CHECK(tokens(tokenizer, std::string(1000000, 'x') + " x") == "[UNK] x");
  std::string accents = "x";
  for (int i = 0; i < 1000; ++i) accents += "\u0301";
  CHECK(tokens(tokenizer, accents) == "x");
}

TEST_CASE("word piece: added tokens are found before anything else") {
  const WordPiece tokenizer = word_piece("a b [ ] mask cls");
  CHECK(tokens(tokenizer, "a [MASK] b") == "a [MASK] b");
  CHECK(tokens(tokenizer, "a[MASK]b[CLS][SEP][PAD][UNK]") == "a [MASK] b [CLS] [SEP] [PAD] [UNK]");
  CHECK(tokens(tokenizer, "[mask] [MASK") == "[ mask ] [ mask");
  CHECK(tokens(tokenizer, "[[MASK]]") == "[ [MASK] ]");
  CHECK(tokens(tokenizer, "\xE2[MASK]\x82") == "[MASK]");
  CHECK(tokens(tokenizer, "[MA\xFFSK] [CL\u200dS]") == "[ mask ] [ cls ]");
}

TEST_CASE("word piece: the limit counts [CLS] and [SEP]") {
  const WordPiece tokenizer = word_piece("a ##b ##c d");
  CHECK(tokens(tokenizer, "abc d [MASK] d", 512) == "a ##b ##c d [MASK] d");
  CHECK(tokens(tokenizer, "abc d [MASK] d", 7) == "a ##b ##c d [MASK]");
  CHECK(tokens(tokenizer, "abc d [MASK] d", 6) == "a ##b ##c d");
  CHECK(tokens(tokenizer, "abc d [MASK] d", 4) == "a ##b");
  CHECK(tokens(tokenizer, "[MASK] d", 3) == "[MASK]");
  CHECK(tokens(tokenizer, "[MASK] d", 2) == "");
  CHECK_THROWS_WITH_AS(tokenizer.encode("a", 1), "a limit of 1 tokens; expected at least 2, for [CLS] and [SEP]", tool::Failure);
  CHECK_THROWS_AS(tokenizer.token(tokenizer.vocabulary().size()), std::out_of_range);
  CHECK_THROWS_AS(tokenizer.token(-1), std::out_of_range);
}

TEST_CASE("word piece: case, accents and ideographs by the rules of tokenizer_config.json, or of tokenizer.json") {
  // What the tokenizers package gives, of the line " Ab\u00c9 \u0130e\u0301, \u4e2d\u56fd \ufa10" and these pieces: by do_lower_case, strip_accents,
  // tokenize_chinese_chars.
  const std::string line = " Ab\u00c9 \u0130e\u0301, \u4e2d\u56fd \ufa10";
  const std::vector<std::string> pieces = {"[UNK]", "[CLS]", "[SEP]", "A", "a", "##b", "##E", "##e", "##\u00c9", "##\u00e9", "\u0130", "I", "i", "##\u0307", "##\u0301", ",", "\u4e2d", "\u56fd", "##\u56fd", "\ufa10", "\u585a"};
  struct Case {
    const char *lower_case, *strip_accents, *ideographs, *expected;
  };
  const Case cases[] = {
    {"true", "null", "true", "a ##b ##e i ##e , \u4e2d \u56fd \u585a"},
    {"true", "null", "false", "a ##b ##e i ##e , \u4e2d ##\u56fd \u585a"},
    {"true", "true", "true", "a ##b ##e i ##e , \u4e2d \u56fd \u585a"},
    {"true", "true", "false", "a ##b ##e i ##e , \u4e2d ##\u56fd \u585a"},
    {"true", "false", "true", "a ##b ##\u00e9 i ##\u0307 ##e ##\u0301 , \u4e2d \u56fd \ufa10"},
    {"true", "false", "false", "a ##b ##\u00e9 i ##\u0307 ##e ##\u0301 , \u4e2d ##\u56fd \ufa10"},
    {"false", "null", "true", "A ##b ##\u00c9 \u0130 ##e ##\u0301 , \u4e2d \u56fd \ufa10"},
    {"false", "null", "false", "A ##b ##\u00c9 \u0130 ##e ##\u0301 , \u4e2d ##\u56fd \ufa10"},
    {"false", "true", "true", "A ##b ##E I ##e , \u4e2d \u56fd \u585a"},
    {"false", "true", "false", "A ##b ##E I ##e , \u4e2d ##\u56fd \u585a"},
    {"false", "false", "true", "A ##b ##\u00c9 \u0130 ##e ##\u0301 , \u4e2d \u56fd \ufa10"},
    {"false", "false", "false", "A ##b ##\u00c9 \u0130 ##e ##\u0301 , \u4e2d ##\u56fd \ufa10"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.expected);
    std::string lines, vocabulary;
    for (std::size_t id = 0; id < pieces.size(); ++id) {
      lines += pieces[id] + "\n";
      vocabulary += (id > 0 ? ", " : "") + io::json_string(pieces[id]) + ": " + std::to_string(id);
    }
    const std::string config = std::string("{\"do_lower_case\": ") + one.lower_case + ", \"strip_accents\": " + one.strip_accents + ", \"tokenize_chinese_chars\": " + one.ideographs + "}";
    const std::string json = std::string(R"({"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": )") + one.ideographs + R"(, "strip_accents": )" +
                             one.strip_accents + R"(, "lowercase": )" + one.lower_case + R"(}, "pre_tokenizer": {"type": "BertPreTokenizer"}, )" +
                             R"("post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]}, "model": {"type": "WordPiece", )" +
                             R"("unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {)" + vocabulary + "}}}";
    CHECK(tokens(WordPiece(Folder().write("vocab.txt", lines).write("tokenizer_config.json", config).path), line) == one.expected);
    CHECK(tokens(WordPiece(Folder().write("tokenizer.json", json).path), line) == one.expected);
  }
}

TEST_CASE("word piece: tokenizer_config.json") {
  const auto refused = [](const std::string& text) {
    Folder folder;
    return refusal(folder.write("vocab.txt", special).write("tokenizer_config.json", text));
  };
  CHECK(refused("{}") == "accepted");
  CHECK(refused(R"({"tokenizer_class": null, "unk_token": {"content": "[UNK]"}, "model_max_length": 512})") == "accepted");
  CHECK(refused("{") == "'/tokenizer_config.json': byte 1: expected a string");
  const std::pair<const char*, const char*> cases[] = {
    {R"("do_lower_case": null)", "do_lower_case is 'null', expected true or false"},
    {R"("strip_accents": "yes")", "strip_accents is 'yes', expected null or true or false"},
    {R"("tokenize_chinese_chars": 0)", "tokenize_chinese_chars is '0', expected true or false"},
    {R"("do_basic_tokenize": false)", "do_basic_tokenize is 'false', expected true"},
    {R"("tokenizer_class": "BertJapaneseTokenizer")", "tokenizer_class is 'BertJapaneseTokenizer', expected BertTokenizer or BertTokenizerFast or null"},
    {R"("unk_token": "<unk>")", "unk_token is '<unk>', expected [UNK]"},
    {R"("cls_token": "<s>")", "cls_token is '<s>', expected [CLS]"},
    {R"("sep_token": "</s>")", "sep_token is '</s>', expected [SEP]"},
  };
  for (const auto& one : cases) {
    CHECK(refused(std::string("{") + one.first + "}") == std::string("'/tokenizer_config.json': ") + one.second + ": a WordPiece tokenizer of BERT is computed");
  }
}

namespace {

std::uint64_t hash_of(std::uint64_t hash, const std::vector<std::int32_t>& ids) {
  for (const std::int32_t id : ids) {
    for (int byte = 0; byte < 4; ++byte) hash = (hash ^ (static_cast<std::uint32_t>(id) >> 8 * byte & 0xFF)) * 0x100000001B3;
  }
  return hash;
}

/// The lines of make_word_piece.py.
std::vector<std::string> random_lines() {
  std::vector<std::string> parts;
  for (const std::string& line : lines_of("golden/word_piece/parts.txt")) {
    parts.emplace_back();
    for (std::size_t i = 0; i + 1 < line.size() && line[i] != ' '; i += 2) parts.back() += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
  }
  checks::Random random(18);
  const auto below = [&](std::uint64_t count) { return static_cast<std::size_t>(random.bits() % count); };
  std::vector<std::string> lines(6000);
  for (std::string& line : lines) {
    for (std::size_t left = below(40); left > 0; --left) {
      const auto add = [&](std::size_t code) { io::append_utf8(static_cast<char32_t>(code), &line); };
      switch (below(8)) {
        case 0: {
          const std::size_t code = below(0x33480);
          if (code >= 0xD800 && code < 0xE000) line += '\xFF';
          else add(code);
          break;
        }
        case 1: line += static_cast<char>(below(256)); break;
        case 2: add(below(0x600)); break;
        case 3: add(0xAC00 + below(0x2BA4)); break;
        default: line += parts[below(parts.size())];
      }
    }
  }
  return lines;
}

/// Compares every hash of a golden file.
void check_golden(const WordPiece& tokenizer, const std::string& path) {
  const std::vector<std::string> random = random_lines(), lines = lines_of("golden/word_piece/lines.txt");
  std::size_t compared = 0;
  for (const std::string& golden : lines_of(path)) {
    if (golden[0] == '#') continue;
    std::istringstream words(golden);
    std::string kind;
    std::size_t first;
    std::uint64_t expected;
    REQUIRE((words >> kind >> first >> std::hex >> expected));
    std::uint64_t hash = 0xCBF29CE484222325;
    const auto add = [&](const std::string& text) { hash = hash_of(hash, tokenizer.encode(text, kind.substr(kind.find('_') + 1) == "16" ? 16 : 512)); };
    if (kind == "characters") {
      for (std::size_t code = first; code < first + 0x1000; ++code) {
        if (code >= 0xD800 && code < 0xE000) continue;
        std::string character;
        io::append_utf8(static_cast<char32_t>(code), &character);
        add(character);
        add("a" + character + "B" + character);
      }
    } else if (kind.rfind("random", 0) == 0) {
      for (std::size_t i = first; i < first + 100; ++i) add(random.at(i));
    } else {
      add(lines.at(first));
    }
    CAPTURE(golden);
    CHECK(hash == expected);
    ++compared;
  }
  CHECK(compared == 272 + 2 * (60 + lines.size()));
}

}  // namespace

TEST_CASE("word piece: ids are those of the tokenizers package, each character a token") {
  std::string vocabulary = special;
  for (const std::string& piece : lines_of("golden/word_piece/pieces.txt")) vocabulary += piece + "\n";
  const auto add = [&](char32_t first, char32_t last) {
    for (char32_t code = first; code <= last; ++code) {
      std::string character;
      io::append_utf8(code, &character);
      vocabulary += character + "\n##" + character + "\n";
    }
  };
  add(0x21, 0xD7FF);
  add(0xE000, 0x3347F);
  add(0xE0000, 0xE01EF);
  check_golden(WordPiece(Folder().write("vocab.txt", vocabulary).path), "golden/word_piece/small_ids.txt");
}

TEST_CASE("word piece: ids are those of the tokenizers package, a tokenizer.json that it wrote") {
  Folder folder;
  std::filesystem::copy(test_data("golden/word_piece/cased.json"), folder.path + "/tokenizer.json");
  check_golden(WordPiece(folder.path), "golden/word_piece/cased_ids.txt");
}

TEST_CASE("word piece: ids are those of the tokenizers package, the vocabulary of all-MiniLM-L6-v2") {
  const char* model = std::getenv("ATTEND_MINILM");
  if (model == nullptr) {
    std::printf("skipped: the vocabulary of all-MiniLM-L6-v2; ATTEND_MINILM names no folder\n");
    return;
  }
  const std::string folder = model;
  const WordPiece tokenizer(folder);
  CHECK(tokenizer.vocabulary().size() == 30522);
  check_golden(tokenizer, "golden/word_piece/minilm_ids.txt");
  Folder json;
  std::filesystem::copy(folder + "/tokenizer.json", json.path);
  const WordPiece other(json.path);
  REQUIRE(other.vocabulary().size() == 30522);
  for (std::int32_t id = 0; id < 30522; ++id) CHECK(other.token(id) == tokenizer.token(id));
  for (const std::string& line : random_lines()) CHECK(other.encode(line, 512) == tokenizer.encode(line, 512));
}

TEST_CASE("word piece: vocab.txt") {
  const std::string all = special;
  CHECK(refusal(all) == "accepted");
  CHECK(refusal(all + "a") == "accepted");  // no line feed at the end
  CHECK(tokens(WordPiece(Folder().write("vocab.txt", "[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##b\r\n").path), "ab [MASK]") == "a ##b [UNK] [UNK] [UNK]");
  CHECK(refusal("") == "'/vocab.txt': none of its 0 tokens is [UNK]; expected the vocabulary of a WordPiece model");
  CHECK(refusal("[CLS]\n[SEP]\n") == "'/vocab.txt': none of its 2 tokens is [UNK]; expected the vocabulary of a WordPiece model");
  CHECK(refusal("[UNK]\n[SEP]\n") == "'/vocab.txt': none of its 2 tokens is [CLS]; expected the vocabulary of a WordPiece model");
  CHECK(refusal("[UNK]\n[CLS]\n") == "'/vocab.txt': none of its 2 tokens is [SEP]; expected the vocabulary of a WordPiece model");
  CHECK(refusal(all + "a\nb\na\n") == "'/vocab.txt': tokens 5 and 7 are both 'a'");
  CHECK(refusal(all + "\na\n") == "'/vocab.txt': line 6 is empty; expected a token");
  CHECK(refusal(all + "\r\n") == "'/vocab.txt': line 6 is empty; expected a token");
  CHECK(refusal(all + std::string("a\0b\n", 4)) == "'/vocab.txt': line 6 holds a NUL byte; expected a token");
  CHECK(refusal(all + "caf\xE9\n") == "'/vocab.txt': line 6 is not UTF-8; expected a token");
  CHECK(refusal(all + std::string(1024, 'a') + "\n") == "accepted");
  CHECK(refusal(all + std::string(1025, 'a') + "\n") == "'/vocab.txt': line 6 is longer than 1024 bytes; expected a token");
  CHECK(refusal(std::string(10000000, 'a')) == "'/vocab.txt': line 1 is longer than 1024 bytes; expected a token");
}

TEST_CASE("word piece: folders without a vocabulary, and files that are too large") {
  Folder folder;
  CHECK(refusal(folder) == "'' has neither vocab.txt nor tokenizer.json; expected the folder of a model");
  std::filesystem::create_directory(folder.path + "/vocab.txt");
  CHECK(refusal(folder) == "cannot read '/vocab.txt': Is a directory");
  Folder large;
  large.write("vocab.txt", special);
  std::filesystem::resize_file(large.path + "/vocab.txt", std::uintmax_t{1} << 40);  // which takes no room
  CHECK(refusal(large) == "'/vocab.txt': 1099511627776 bytes; expected a vocabulary of at most 268435456");
}

TEST_CASE("word piece: tokenizer.json") {
  const std::string whole = R"({"version": "1.0", "truncation": {"max_length": 128}, "added_tokens": [
    {"id": 3, "special": true, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
    {"id": 2, "special": true, "content": "[MASK]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [{"a": [1, "]"]}], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [3], "tokens": ["[CLS]"]}, "[SEP]": {"ids": [1]}, "x": {"ids": [9, 8]}}},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
    "vocab": {"[UNK]": 0, "##\u00e9": 4, "[SEP]": 1, "\u4e2d": 5, "[CLS]": 3, "##e": 6, "[MASK]": 2, "a": 7}}})";
  const auto refused = [](const std::string& text) {
    Folder folder;
    return refusal(folder.write("tokenizer.json", text));
  };
  const auto with = [&](const std::string& before, const std::string& after) {
    std::string text = whole;
    REQUIRE(text.find(before) != std::string::npos);
    return refused(text.replace(text.find(before), before.size(), after));
  };
  const WordPiece tokenizer(Folder().write("tokenizer.json", whole).path);
  CHECK(tokenizer.encode("a\u00c9\u4e2d[MASK]", 512) == std::vector<std::int32_t>{3, 7, 6, 5, 2, 1});
  CHECK(tokenizer.encode("[SEP]", 512) == std::vector<std::int32_t>{3, 0, 0, 0, 1});  // not among the added ones
  Folder both;
  both.write("tokenizer.json", whole).write("vocab.txt", std::string(special) + "z");
  CHECK(tokens(WordPiece(both.path), "z") == "[UNK]");  // for what vocab.txt leaves open, tokenizer.json says
  CHECK(tokens(WordPiece(both.write("tokenizer_config.json", "{}").path), "z") == "z");
  CHECK(tokens(WordPiece(both.write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "<s>"})").path), "z") == "[UNK]");
  both.write("tokenizer.json", "{}");
  CHECK(refusal(both) == "'/tokenizer.json': normalizer.lowercase is missing; expected true or false, as a WordPiece model of BERT has it");
  std::filesystem::remove(both.path + "/tokenizer.json");
  CHECK(refusal(both) == "'/tokenizer_config.json': tokenizer_class is 'PreTrainedTokenizerFast', expected BertTokenizer or BertTokenizerFast or null: a WordPiece tokenizer of BERT is computed");

  for (const char* order : {R"([{"id": 4, "content": "[MASK]a"}, {"id": 2, "content": "[MASK]"}])", R"([{"id": 2, "content": "[MASK]"}, {"id": 4, "content": "[MASK]a"}])"}) {
    std::string text = whole;
    text.replace(text.find("##\\u00e9"), 8, "[MASK]a");
    const std::size_t begin = text.find('['), end = text.find(']', text.find("}]"));
    text.replace(begin, end + 1 - begin, order);
    CHECK(tokens(WordPiece(Folder().write("tokenizer.json", text).path), "a[MASK]a[MASK]\u4e2d") == "a [MASK]a [MASK] \u4e2d");  // the longest
  }

  CHECK(with("null", "true") == "accepted");
  CHECK(with("null", "false") == "accepted");
  CHECK(with("null", "\"null or true\"") ==
        "'/tokenizer.json': normalizer.strip_accents is 'null or true'; expected null or true or false, as a WordPiece model of BERT has it");
  CHECK(with("\"lowercase\": true", "\"lowercase\": 1") ==
        "'/tokenizer.json': normalizer.lowercase is '1'; expected true or false, as a WordPiece model of BERT has it");
  CHECK(with(", \"lowercase\": true", "") ==
        "'/tokenizer.json': normalizer.lowercase is missing; expected true or false, as a WordPiece model of BERT has it");
  CHECK(with("\"type\": \"WordPiece\"", "\"type\": \"BPE\"") ==
        "'/tokenizer.json': model.type is 'BPE'; expected WordPiece, as a WordPiece model of BERT has it");
  CHECK(with("100", "200") == "'/tokenizer.json': model.max_input_chars_per_word is '200'; expected 100, as a WordPiece model of BERT has it");
  CHECK(with("\"lstrip\": false", "\"lstrip\": true") ==
        "'/tokenizer.json': added_tokens.lstrip is 'true'; expected false, as a WordPiece model of BERT has it");
  CHECK(with(", \"lstrip\": false", "") == "accepted");
  // What the post-processor puts around a text.
  const std::string puts = "'/tokenizer.json': post_processor makes '", expected = "' of a text; expected SpecialToken [CLS], Sequence A, SpecialToken [SEP]";
  const std::string other_ids = "'/tokenizer.json': post_processor has other ids of ";
  CHECK(with("TemplateProcessing", "RobertaProcessing") ==
        "'/tokenizer.json': post_processor.type is 'RobertaProcessing'; expected TemplateProcessing or BertProcessing, as a WordPiece model of BERT has it");
  CHECK(with("\"post_processor\"", "\"post\"") ==
        "'/tokenizer.json': post_processor.type is missing; expected TemplateProcessing or BertProcessing, as a WordPiece model of BERT has it");
  CHECK(with("\"type_id\": 0", "\"type_id\": 1") == "'/tokenizer.json': post_processor.single.type_id is '1'; expected 0, as a WordPiece model of BERT has it");
  CHECK(with(", {\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 0}}", "") == puts + "SpecialToken [CLS], Sequence A" + expected);
  CHECK(with("{\"Sequence\": {\"id\": \"A\"", "{\"SpecialToken\": {\"id\": \"A\"") == puts + "SpecialToken [CLS], SpecialToken A, SpecialToken [SEP]" + expected);
  CHECK(with("\"single\"", "\"double\"") == puts + expected);
  CHECK(with("\"ids\": [3]", "\"ids\": [7]") == other_ids + "[CLS] than 3, which it has in model.vocab");
  CHECK(with("\"ids\": [1]", "\"ids\": []") == other_ids + "[SEP] than 1, which it has in model.vocab");
  CHECK(with("\"ids\": [1]", "\"ids\": [1, 1]") == other_ids + "[SEP] than 1, which it has in model.vocab");
  CHECK(with("\"ids\": [1]", "\"ids\": [-1]").find("expected a") != std::string::npos);
  CHECK(with("TemplateProcessing", "BertProcessing") == puts + "SpecialToken , Sequence A, SpecialToken " + expected);
  CHECK(with("TemplateProcessing\"", "BertProcessing\", \"cls\": [\"[CLS]\", 3], \"sep\": [\"[SEP]\", 1]") == other_ids + "[CLS] than 3, which it has in model.vocab");  // said twice
  const auto with_bert = [&](const std::string& rest) {
    std::string text = whole;
    const std::size_t begin = text.find("{\"type\": \"TemplateProcessing\""), end = text.find(",\n", text.find("[9, 8]"));
    return refused(text.replace(begin, end - begin, "{\"type\": \"BertProcessing\"" + rest + "}"));
  };
  CHECK(with_bert(R"(, "sep": ["[SEP]", 1], "cls": ["[CLS]", 3])") == "accepted");
  CHECK(with_bert(R"(, "sep": ["[SEP]", 1], "cls": ["[SEP]", 1])") == puts + "SpecialToken [SEP], Sequence A, SpecialToken [SEP]" + expected);
  CHECK(with_bert(R"(, "sep": ["[SEP]", 1], "cls": ["[CLS]", 2])") == other_ids + "[CLS] than 3, which it has in model.vocab");
  CHECK(with_bert(R"(, "sep": ["[SEP]"], "cls": ["[CLS]", 3])") == other_ids + "[SEP] than 1, which it has in model.vocab");
  CHECK(with_bert(R"(, "sep": [], "cls": ["[CLS]", 3])") == puts + "SpecialToken [CLS], Sequence A, SpecialToken " + expected);
  CHECK(with_bert("") == puts + "SpecialToken , Sequence A, SpecialToken " + expected);
  CHECK(with("\"id\": 3", "\"id\": 4") == "'/tokenizer.json': added token '[CLS]' has id 4; model.vocab has it as 3");
  CHECK(with("\"content\": \"[CLS]\"", "\"content\": \"<s>\"") == "'/tokenizer.json': added token '<s>' has id 3; model.vocab lacks it");
  CHECK(with("\"a\": 7", "\"a\": 8") == "'/tokenizer.json': model.vocab has 8 tokens, but none of id 7");
  CHECK(with("\"a\": 7", "\"a\": 6") == "'/tokenizer.json': model.vocab has 8 tokens, but two of id 6");
  CHECK(with("\"a\": 7", "\"a\": 9223372036854775807") == "'/tokenizer.json': model.vocab has 8 tokens, but none of id 7");
  CHECK(with("\"a\": 7", "\"##e\": 7") == "'/tokenizer.json': tokens 6 and 7 are both '##e'");
  CHECK(with("\"a\": 7", "\"\": 7") == "'/tokenizer.json': token 7 is empty");
  CHECK(with("\"a\": 7", "\"\\u0000\": 7") == "'/tokenizer.json': token 7 holds a NUL byte");
  CHECK(with("\"[SEP]\": 1", "\"sep\": 1") == "'/tokenizer.json': none of its 8 tokens is [SEP]; expected the vocabulary of a WordPiece model");
  CHECK(with("{\"type\": \"BertPreTokenizer\"}", "null").find("expected an object") != std::string::npos);
  CHECK(refused("") == "'/tokenizer.json': byte 0: expected an object");
  CHECK(refused("\xFF") == "'/tokenizer.json': byte 0: expected UTF-8 all through");
  CHECK(refused(whole + "x").find("expected nothing more") != std::string::npos);
  CHECK(refused("{}") == "'/tokenizer.json': normalizer.lowercase is missing; expected true or false, as a WordPiece model of BERT has it");
  for (std::size_t size = 0; size < whole.size(); ++size) CHECK(refused(whole.substr(0, size)) != "accepted");
}
