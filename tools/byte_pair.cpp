// Byte pair encoding: the ids of a text's tokens, for models of GPT-2's family.
#include "byte_pair.h"

#include <algorithm>
#include <limits>
#include <queue>

#include "byte_pair_words.h"
#include "failure.h"
#include "io/json.h"
#include "io/text.h"
#include "unicode.h"

namespace attend::tool {

namespace {

enum TokenType { normal = 1, unknown = 2, control = 3, user_defined = 4 };  // as GGUF numbers them

[[noreturn]] void refuse(const io::GgufFile& file, const std::string& what) { throw Failure(io::quoted(file.path()) + ": " + what); }

/// Bytes that stand for themselves in the texts of tokens; the others are U+0100 and on, in their order.
bool is_printed(unsigned byte) { return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD); }

/// The bytes that a token's text spells; a text of other characters spells itself.
std::string spelled_bytes(std::string_view text) {
  static const std::vector<char32_t> unprinted = [] {
    std::vector<char32_t> bytes;
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (!is_printed(byte)) bytes.push_back(byte);
    }
    return bytes;
  }();
  std::string spelled;
  for (std::string_view rest = text; !rest.empty();) {
    std::size_t bytes;
    char32_t code = decode_utf8(rest, &bytes);
    if (code >= 0x100 && code - 0x100 < unprinted.size()) code = unprinted[code - 0x100];
    else if (code > 0xFF || !is_printed(static_cast<unsigned>(code))) return std::string(text);
    spelled += static_cast<char>(code);
    rest.remove_prefix(bytes);
  }
  return spelled;
}

/// The text with U+FFFD for what is not UTF-8.
std::string valid_text(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    std::size_t bytes;
    if (decode_utf8(text, &bytes) == not_utf8) valid += "\uFFFD";
    else valid += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return valid;
}

std::uint64_t both(std::int32_t left, std::int32_t right) { return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right); }

std::string text_of(const io::GgufFile& file, const std::string& key) {
  std::vector<std::string_view> texts;
  require(file.read_texts(key, &texts));
  return texts.size() == 1 ? std::string(texts[0]) : "";
}

/// A number of the file, -1 where it says nothing.
double number_of(const io::GgufFile& file, const std::string& key, double highest) {
  if (file.find_value(key) == nullptr) return -1.0;
  std::vector<double> numbers;
  require(file.read_numbers(key, &numbers));
  if (numbers.size() != 1 || !(numbers[0] >= 0.0 && numbers[0] <= highest)) refuse(file, key + ": expected a number from 0 to " + std::to_string(static_cast<std::int64_t>(highest)));
  return numbers[0];
}

}  // namespace

BytePair::BytePair(const io::GgufFile& file) {
  const std::string model = text_of(file, "tokenizer.ggml.model"), pre = text_of(file, "tokenizer.ggml.pre");
  if (model != "gpt2") refuse(file, "tokenizer.ggml.model " + io::quoted(model) + ": there is gpt2");
  if (pre != "smollm" && pre != "gpt-2") refuse(file, "tokenizer.ggml.pre " + io::quoted(pre) + ": there are smollm and gpt-2");
  split_digits_ = pre == "smollm";
  std::vector<std::string_view> texts;
  require(file.read_texts("tokenizer.ggml.tokens", &texts));
  if (texts.empty() || texts.size() > std::numeric_limits<std::int32_t>::max()) refuse(file, "tokenizer.ggml.tokens: expected from 1 to 2^31 tokens");
  read_tokens(file, texts);
  read_merges(file, texts);
  find_ends(file);
  const double last = static_cast<double>(texts.size() - 1), first = number_of(file, "tokenizer.ggml.bos_token_id", last);
  if (number_of(file, "tokenizer.ggml.add_bos_token", 1.0) == 1.0) {
    if (first < 0.0) refuse(file, "tokenizer.ggml.add_bos_token without tokenizer.ggml.bos_token_id");
    first_ = static_cast<std::int32_t>(first);
  }
}

void BytePair::read_tokens(const io::GgufFile& file, const std::vector<std::string_view>& texts) {
  const std::string key = "tokenizer.ggml.token_type";
  std::vector<double> types(texts.size(), normal);
  if (file.find_value(key) != nullptr) require(file.read_numbers(key, &types));
  if (types.size() != texts.size()) refuse(file, key + ": " + std::to_string(types.size()) + " types of " + std::to_string(texts.size()) + " tokens");
  of_byte_.fill(-1);
  tokens_.resize(texts.size());
  for (std::size_t n = 0; n < texts.size(); ++n) {
    const std::int32_t id = static_cast<std::int32_t>(n);
    Token& token = tokens_[n];
    token.is_control = types[n] == control || types[n] == unknown;
    const bool is_whole = token.is_control || types[n] == user_defined;
    if (texts[n].empty()) refuse(file, "token " + std::to_string(n) + " is empty");
    token.bytes = is_whole ? std::string(texts[n]) : spelled_bytes(texts[n]);
    if (is_whole) whole_[static_cast<unsigned char>(texts[n][0])].push_back(id);
    else if (token.bytes.size() == 1) of_byte_[static_cast<unsigned char>(token.bytes[0])] = id;
  }
  for (std::vector<std::int32_t>& of_first : whole_) {
    std::sort(of_first.begin(), of_first.end(), [&](std::int32_t a, std::int32_t b) { return texts[static_cast<std::size_t>(a)].size() > texts[static_cast<std::size_t>(b)].size(); });
  }
}

void BytePair::read_merges(const io::GgufFile& file, const std::vector<std::string_view>& texts) {
  std::unordered_map<std::string_view, std::int32_t> ids;
  for (std::size_t n = 0; n < texts.size(); ++n) {
    if (!ids.emplace(texts[n], static_cast<std::int32_t>(n)).second) refuse(file, "two tokens " + io::quoted(texts[n]));
  }
  std::vector<std::string_view> merges;
  require(file.read_texts("tokenizer.ggml.merges", &merges));
  for (std::size_t n = 0; n < merges.size(); ++n) {
    const std::string_view merge = merges[n];
    const std::size_t blank = merge.find(' ', 1);
    if (blank == std::string_view::npos) refuse(file, "merge " + std::to_string(n) + ", " + io::quoted(merge) + ": expected two tokens and a blank between them");
    const std::string_view left = merge.substr(0, blank), right = merge.substr(blank + 1);
    const std::string merged = std::string(left) + std::string(right);
    std::int32_t id[3];
    std::int32_t* next = id;
    for (const std::string_view text : {left, right, std::string_view(merged)}) {
      const auto found = ids.find(text);
      if (found == ids.end()) refuse(file, "merge " + std::to_string(n) + ", " + io::quoted(merge) + ": no token is " + io::quoted(text));
      *next++ = found->second;
    }
    merges_.emplace(both(id[0], id[1]), Merge{static_cast<std::int32_t>(n), id[2]});
  }
}

void BytePair::find_ends(const io::GgufFile& file) {
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const double id = number_of(file, key, static_cast<double>(tokens_.size() - 1));
    if (id >= 0.0) tokens_[static_cast<std::size_t>(id)].is_end = true;
  }
  for (Token& token : tokens_) {
    if (token.is_control && (token.bytes == "<|endoftext|>" || token.bytes == "<|im_end|>")) token.is_end = true;
  }
}

std::string_view BytePair::bytes(std::int32_t id) const {
  const Token& token = tokens_[static_cast<std::size_t>(id)];
  return token.is_control ? std::string_view() : token.bytes;
}

std::size_t BytePair::find_whole(std::string_view text, std::int32_t* id) const noexcept {
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const std::int32_t candidate : whole_[static_cast<unsigned char>(text[at])]) {
      const std::string& bytes = tokens_[static_cast<std::size_t>(candidate)].bytes;
      if (text.compare(at, bytes.size(), bytes) != 0) continue;
      *id = candidate;
      return at;
    }
  }
  *id = -1;
  return text.size();
}

const BytePair::Merge* BytePair::find_merge(std::int32_t left, std::int32_t right) const noexcept {
  const auto found = merges_.find(both(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

// Of all neighbours those of the lowest rank become one token, of several the first, until none can.
void BytePair::append_word(std::string_view word, std::vector<std::int32_t>* ids) const {
  struct Symbol {
    std::int32_t id;  // -1: it is part of the one before
    std::ptrdiff_t before, after;
  };
  struct Candidate {
    std::int32_t rank;
    std::ptrdiff_t at;
    std::int32_t left, right;  // what stood there
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  std::vector<Symbol> symbols;
  for (const char byte : word) {
    const std::int32_t id = of_byte_[static_cast<unsigned char>(byte)];
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(symbols.size());
    if (id >= 0) symbols.push_back({id, at - 1, at + 1});
  }
  const std::ptrdiff_t end = static_cast<std::ptrdiff_t>(symbols.size());
  const auto symbol = [&](std::ptrdiff_t at) -> Symbol& { return symbols[static_cast<std::size_t>(at)]; };
  std::priority_queue<Candidate> candidates;
  const auto consider = [&](std::ptrdiff_t at) {
    if (at < 0 || symbol(at).after >= end) return;
    const std::int32_t left = symbol(at).id, right = symbol(symbol(at).after).id;
    if (const Merge* merge = find_merge(left, right)) candidates.push({merge->rank, at, left, right});
  };
  for (std::ptrdiff_t at = 0; at < end; ++at) consider(at);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbol(best.at);
    if (left.id != best.left || left.after >= end || symbol(left.after).id != best.right) continue;
    left.id = find_merge(best.left, best.right)->id;
    symbol(left.after).id = -1;
    left.after = symbol(left.after).after;
    if (left.after < end) symbol(left.after).before = best.at;
    consider(left.before);
    consider(best.at);
  }
  for (std::ptrdiff_t at = 0; at < end; at = symbol(at).after) ids->push_back(symbol(at).id);
}

std::vector<std::int32_t> BytePair::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  if (first_ >= 0) ids.push_back(first_);
  const std::string valid = valid_text(text);
  for (std::string_view rest = valid; !rest.empty();) {
    std::int32_t whole;
    const std::size_t end = find_whole(rest, &whole);
    for (std::string_view words = rest.substr(0, end); !words.empty();) {
      const std::size_t bytes = first_word(words, split_digits_);
      append_word(words.substr(0, bytes), &ids);
      words.remove_prefix(bytes);
    }
    rest.remove_prefix(end);
    if (whole < 0) continue;
    ids.push_back(whole);
    rest.remove_prefix(tokens_[static_cast<std::size_t>(whole)].bytes.size());
  }
  return ids;
}

}  // namespace attend::tool
