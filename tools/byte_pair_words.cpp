// Words of a text as GPT-2's regular expression cuts it, before each is made of tokens.
#include "byte_pair_words.h"

#include <algorithm>
#include <iterator>

#include "byte_pair_tables.h"
#include "unicode.h"

namespace attend::tool {

namespace {

unsigned kinds_of(char32_t code) noexcept {
  const SymbolRange* after = std::upper_bound(std::begin(symbol_ranges), std::end(symbol_ranges), code,
                                              [](char32_t wanted, const SymbolRange& range) { return wanted < range.first; });
  return after != std::begin(symbol_ranges) && code <= after[-1].last ? after[-1].kinds : 0u;
}

/// The part of a text that is cut at once: all of it, or what is before the next digit that stands alone.
class Part {
 public:
  Part(std::string_view text, bool split_digits) : text_(text), split_digits_(split_digits) {}

  bool is_end(std::size_t at) const noexcept { return at == text_.size() || (split_digits_ && (kinds_at(at) & digit) != 0); }
  unsigned kinds_at(std::size_t at) const noexcept {
    std::size_t bytes;
    return kinds_of(decode_utf8(text_.substr(at), &bytes));
  }
  std::size_t next(std::size_t at) const noexcept {
    std::size_t bytes;
    decode_utf8(text_.substr(at), &bytes);
    return at + bytes;
  }
  /// Where what begins there ends: as long as characters are letters, numbers, spaces, or neither.
  std::size_t run_end(std::size_t at, unsigned kind) const noexcept {
    while (!is_end(at) && (kinds_at(at) & classes) == kind) at = next(at);
    return at;
  }
  static constexpr unsigned classes = letter | number | white_space;

 private:
  std::string_view text_;
  bool split_digits_;
};

}  // namespace

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t first_word(std::string_view text, bool split_digits) noexcept {
  const Part part(text, split_digits);
  if (part.is_end(0)) return part.next(0);
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.substr(0, ending.size()) == ending) return ending.size();
  }
  const std::size_t begin = text[0] == ' ' && !part.is_end(1) ? 1 : 0;
  const unsigned kind = part.kinds_at(begin) & Part::classes;
  if (kind != white_space) return part.run_end(begin, kind);
  const std::size_t end = part.run_end(0, white_space);
  if (part.is_end(end)) return end;
  std::size_t last = 0;  // the last space is the next word's, unless it is alone
  while (part.next(last) < end) last = part.next(last);
  return last == 0 ? end : last;
}

}  // namespace attend::tool
