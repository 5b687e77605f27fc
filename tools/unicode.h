// Characters of UTF-8, and what Unicode says of a code point, as far as a tokenizer asks.
#pragma once

#include <cstddef>
#include <string_view>

namespace attend::tool {

constexpr char32_t not_utf8 = 0x110000;  // one more than the last code point

/// The code point at the start of the text, which is not empty; `bytes` is its length. What is not UTF-8 gives `not_utf8`, and as many
/// bytes as a well-formed character could have begun with, or 1: as many as stand for one U+FFFD in Python and in browsers.
char32_t decode_utf8(std::string_view text, std::size_t* bytes) noexcept;

/// What the tokenizers package knows of a code point (unicode_tables.py).
struct Character {
  bool is_control;      // Cc, Cf, Co, and U+FFFD; but tab, line feed and carriage return are spaces
  bool is_space;        // White_Space, unless it is a control character
  bool is_punctuation;  // P, and all of ASCII that is neither a letter, a digit nor a space
  bool is_mark;         // Mn: an accent, a vowel sign, ...
  int combining_class;  // of marks that follow each other, those of a lower class come first; 0 stays in its place
};
Character character(char32_t code) noexcept;

char32_t lower_case(char32_t code) noexcept;

/// A canonical decomposition, which is the code point itself where it has none.
struct Parts {
  char32_t codes[4];
  std::size_t count;
  const char32_t* begin() const noexcept { return codes; }
  const char32_t* end() const noexcept { return codes + count; }
};
Parts decompose(char32_t code) noexcept;

}  // namespace attend::tool
