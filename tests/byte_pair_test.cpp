// Byte pair encoding: ids of the tokenizers package, tokens worked out by hand, tokenizers of GGUF files that are refused, and whole characters.
#include <doctest.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "../tools/byte_pair.h"
#include "../tools/byte_pair_words.h"
#include "../tools/character_stream.h"
#include "../tools/failure.h"
#include "attend/io.hpp"
#include "engine_test.h"
#include "gguf_builder.h"
#include "io/json.h"
#include "test_data.h"

namespace {

using namespace attend;
using gguf_builder::Builder;
using tool::BytePair;
using Ids = std::vector<std::int32_t>;

io::GgufFile opened(const Builder& builder) {
  io::GgufFile file;
  REQUIRE_OK(io::GgufFile::parse(builder.bytes(), "m.gguf", &file));
  return file;
}

// A tokenizer of a few tokens, which the test may change.
struct Parts {
  std::string model = "gpt2", pre = "gpt-2";
  std::vector<std::string> tokens = {"<s>", "a", "b", "c", "ab", "abc", "\u0120", "\u0120a", "<s>>"};
  std::vector<std::uint32_t> types = {3, 1, 1, 1, 1, 1, 1, 1, 4};
  std::vector<std::string> merges = {"a b", "ab c", "\u0120 a"};
  std::function<void(Builder&)> more = [](Builder&) {};

  io::GgufFile file() const {
    Builder builder;
    builder.word("general.architecture", "llama");
    builder.word("tokenizer.ggml.model", model);
    builder.word("tokenizer.ggml.pre", pre);
    builder.words("tokenizer.ggml.tokens", tokens);
    builder.counts("tokenizer.ggml.token_type", types);
    builder.words("tokenizer.ggml.merges", merges);
    more(builder);
    return opened(builder);
  }
  BytePair made() const { return BytePair(file()); }
  /// What the constructor says: one line.
  std::string refusal() const {
    try {
      made();
    } catch (const tool::Failure& failure) {
      const std::string text = failure.what();
      CHECK(text.find('\n') == std::string::npos);
      CHECK(text.rfind("'m.gguf': ", 0) == 0);
      return text.substr(std::min<std::size_t>(text.size(), 10));
    }
    return "accepted";
  }
};

std::string refusal(const std::function<void(Parts&)>& change) {
  Parts parts;
  change(parts);
  return parts.refusal();
}

std::string words(std::string_view text, bool split_digits) {
  std::string all;
  while (!text.empty()) {
    const std::size_t bytes = tool::first_word(text, split_digits);
    REQUIRE(bytes > 0);
    REQUIRE(bytes <= text.size());
    all += std::string(text.substr(0, bytes)) + '|';
    text.remove_prefix(bytes);
  }
  return all;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t n = 0; n + 1 < hex.size(); n += 2) bytes += static_cast<char>(std::stoi(hex.substr(n, 2), nullptr, 16));
  return bytes;
}

/// FNV-1a of ids, in four bytes each.
struct Digest {
  std::uint64_t value = 0xCBF29CE484222325u;
  void add(const Ids& ids) {
    for (const std::int32_t id : ids) {
      for (int shift = 0; shift < 32; shift += 8) value = (value ^ (static_cast<std::uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3u;
    }
  }
};

std::uint64_t digest_of_characters(const BytePair& tokenizer, char32_t first) {
  Digest digest;
  for (char32_t code = first; code < first + 0x1000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string character;
    io::append_utf8(code, &character);
    digest.add(tokenizer.encode(character));
    digest.add(tokenizer.encode("a " + character + "b" + character + " " + character + "\n"));
  }
  return digest.value;
}

}  // namespace

TEST_CASE("byte pair: ids are those of the tokenizers package") {
  io::GgufFile file;
  REQUIRE_OK(io::GgufFile::open(test_data("golden/language_model/model.gguf"), &file));
  const BytePair tokenizer(file);
  CHECK(tokenizer.size() == 480);
  std::ifstream golden(test_data("golden/language_model/ids.txt"));
  int lines = 0, blocks = 0;
  for (std::string line; std::getline(golden, line);) {
    std::istringstream fields(line);
    std::string kind, subject;
    fields >> kind >> subject;
    CAPTURE(line);
    if (kind == "line") {
      ++lines;
      Ids ids;
      for (std::int32_t id; fields >> id;) ids.push_back(id);
      CHECK(tokenizer.encode(from_hex(subject)) == ids);
    } else if (kind == "characters") {
      ++blocks;
      std::uint64_t expected;
      fields >> std::hex >> expected;
      CHECK(digest_of_characters(tokenizer, static_cast<char32_t>(std::stoul(subject))) == expected);
    }
  }
  CHECK(lines == 311);
  CHECK(blocks == 272);
}

TEST_CASE("byte pair: tokens of a text are its bytes again") {
  io::GgufFile file;
  REQUIRE_OK(io::GgufFile::open(test_data("golden/language_model/model.gguf"), &file));
  const BytePair tokenizer(file);
  for (const std::string text : {"It isn't what they've said.", "  for (int n = 0;\n\n\tx)  ", "Stra\u00dfe \u6ce8\u610f", "<|im_ and   \n"}) {
    std::string again;
    for (const std::int32_t id : tokenizer.encode(text)) again += tokenizer.bytes(id);
    CHECK(again == text);
  }
  CHECK(tokenizer.encode("").empty());
  CHECK(tokenizer.encode("<|im_end|>") == Ids{2});
  CHECK(tokenizer.bytes(2).empty());
  CHECK(tokenizer.is_end(2));
  CHECK(tokenizer.is_end(0));
  CHECK_FALSE(tokenizer.is_end(1));
  CHECK(tokenizer.encode("\xff") == tokenizer.encode("\uFFFD"));
}

TEST_CASE("byte pair: words") {
  CHECK(words("It's  two   words, isn't it?", false) == "It|'s| | two|  | words|,| isn|'t| it|?|");
  CHECK(words("a 12b 345", false) == "a| 12|b| 345|");
  CHECK(words("a 12b  345", true) == "a| |1|2|b|  |3|4|5|");
  CHECK(words("x\n\n  y \n", false) == "x|\n\n | y| \n|");
  CHECK(words("\u00a0\u00a0z '", false) == "\u00a0|\u00a0|z| '|");
  CHECK(words("!'s 'S 'll'llama", false) == "!'|s| '|S| '|ll|'ll|ama|");
  CHECK(words("\u0663\u00bd\u4e2d\u0301", true) == "\u0663|\u00bd|\u4e2d|\u0301|");
}

TEST_CASE("byte pair: merges go by rank, and among equals from the left") {
  CHECK(Parts().made().encode("abcab") == Ids{5, 4});
  Parts parts;
  parts.merges = {"ab c", "a b"};
  CHECK(parts.made().encode("abc") == Ids{5});
  parts.tokens.push_back("aa");
  parts.types.push_back(1);
  parts.merges = {"a a"};
  CHECK(parts.made().encode("aaaaa") == Ids{9, 9, 1});
  CHECK(parts.made().encode("a<s>>a<s>a<s") == Ids{1, 8, 1, 0, 1});  // the longest; < and s have no token
  parts.more = [](Builder& builder) {
    builder.value("tokenizer.ggml.add_bos_token", 7, std::string(1, '\1'));
    builder.count("tokenizer.ggml.bos_token_id", 3);
  };
  CHECK(parts.made().encode("a") == Ids{3, 1});
  CHECK(parts.made().encode("") == Ids{3});
  const std::size_t count = 300000;
  CHECK(parts.made().encode(std::string(2 * count, 'a')).size() == count + 1);  // in time for one who waits
}

TEST_CASE("byte pair: tokenizers that are refused") {
  CHECK(refusal([](Parts&) {}) == "accepted");
  CHECK(refusal([](Parts& p) { p.model = "llama"; }) == "tokenizer.ggml.model 'llama': there is gpt2");
  CHECK(refusal([](Parts& p) { p.pre = "llama-bpe"; }) == "tokenizer.ggml.pre 'llama-bpe': there are smollm and gpt-2");
  CHECK(refusal([](Parts& p) { p.tokens.clear(), p.types.clear(), p.merges.clear(); }) == "tokenizer.ggml.tokens: expected from 1 to 2^31 tokens");
  CHECK(refusal([](Parts& p) { p.tokens.push_back("x"); }) == "tokenizer.ggml.token_type: 9 types of 10 tokens");
  CHECK(refusal([](Parts& p) { p.tokens[3] = ""; }) == "token 3 is empty");
  CHECK(refusal([](Parts& p) { p.tokens[3] = "a"; }) == "two tokens 'a'");
  CHECK(refusal([](Parts& p) { p.merges[1] = "abc"; }) == "merge 1, 'abc': expected two tokens and a blank between them");
  CHECK(refusal([](Parts& p) { p.merges[1] = ""; }) == "merge 1, '': expected two tokens and a blank between them");
  CHECK(refusal([](Parts& p) { p.merges[1] = "ab x"; }) == "merge 1, 'ab x': no token is 'x'");
  CHECK(refusal([](Parts& p) { p.merges[1] = "b c"; }) == "merge 1, 'b c': no token is 'bc'");
  const auto with = [](const std::function<void(Builder&)>& more) {
    return refusal([&](Parts& p) { p.more = more; });
  };
  CHECK(with([](Builder& b) { b.count("tokenizer.ggml.eos_token_id", 9); }) == "tokenizer.ggml.eos_token_id: expected a number from 0 to 8");
  CHECK(with([](Builder& b) { b.number("tokenizer.ggml.bos_token_id", -1.0f); }) == "tokenizer.ggml.bos_token_id: expected a number from 0 to 8");
  CHECK(with([](Builder& b) { b.number("tokenizer.ggml.eot_token_id", std::nanf("")); }) == "tokenizer.ggml.eot_token_id: expected a number from 0 to 8");
  CHECK(with([](Builder& b) { b.count("tokenizer.ggml.add_bos_token", 1); }) == "tokenizer.ggml.add_bos_token without tokenizer.ggml.bos_token_id");
  CHECK(with([](Builder& b) { b.word("tokenizer.ggml.eos_token_id", "x"); }) == "tokenizer.ggml.eos_token_id: expected numbers");
}

TEST_CASE("character stream: no half of a character goes on") {
  const std::string text = "a\u00e9\u6ce8\U0001F600z";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    tool::CharacterStream stream;
    std::string all;
    for (std::size_t at = 0; at < text.size(); at += step) {
      const std::string part = stream.take(text.substr(at, step));
      CHECK(io::is_utf8(part));
      all += part;
    }
    CHECK(stream.finish().empty());
    CHECK(all == text);
  }
  tool::CharacterStream stream;
  CHECK(stream.take("\xff" "a\xe2\x28\x80") == "\uFFFDa\uFFFD(\uFFFD");
  CHECK(stream.take("\xf0\x9f\x98").empty());
  CHECK(stream.take("b\xe6") == "\uFFFDb");
  CHECK(stream.finish() == "\uFFFD");
  CHECK(stream.finish().empty());
}
