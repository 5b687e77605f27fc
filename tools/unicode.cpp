// Characters of UTF-8, and what Unicode says of a code point, as far as a tokenizer asks.
#include "unicode.h"

#include <algorithm>
#include <iterator>

#include "unicode_tables.h"

namespace attend::tool {

namespace {

/// The range that holds the code point, or null.
template <class Range, std::size_t count>
const Range* find_range(const Range (&ranges)[count], char32_t code) noexcept {
  const Range* after = std::upper_bound(ranges, ranges + count, code, [](char32_t wanted, const Range& range) { return wanted < range.first; });
  return after != ranges && code <= after[-1].last ? after - 1 : nullptr;
}

/// Of a Hangul syllable: its consonant, its vowel and, unless it is open, its last consonant (the Unicode Standard, 3.12).
Parts decompose_hangul(char32_t syllable) noexcept {
  constexpr char32_t vowels = 21, last_consonants = 28;  // the latter with none
  const char32_t last = syllable % last_consonants;
  return {{0x1100 + syllable / (vowels * last_consonants), 0x1161 + syllable / last_consonants % vowels, 0x11A7 + last}, last == 0 ? 2u : 3u};
}

}  // namespace

char32_t decode_utf8(std::string_view text, std::size_t* bytes) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const char32_t first = byte(0);
  *bytes = 1;
  if (first < 0x80) return first;
  if (first < 0xC2 || first > 0xF4) return not_utf8;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  // The second byte's bounds leave out longer forms than needed, surrogates, and what is above U+10FFFF.
  unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80, high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  char32_t code = first & (0x7Fu >> length);
  for (; *bytes < length; ++*bytes, low = 0x80, high = 0xBF) {
    if (*bytes == text.size() || byte(*bytes) < low || byte(*bytes) > high) return not_utf8;
    code = code << 6 | (byte(*bytes) & 0x3Fu);
  }
  return code;
}

Character character(char32_t code) noexcept {
  const CharacterRange* range = find_range(character_ranges, code);
  if (range == nullptr) return {};
  return {(range->kinds & control) != 0, (range->kinds & space) != 0, (range->kinds & punctuation) != 0, (range->kinds & mark) != 0,
          range->combining_class};
}

char32_t lower_case(char32_t code) noexcept {
  const LowerCaseRange* range = find_range(lower_case_ranges, code);
  if (range == nullptr || (code - range->first) % static_cast<char32_t>(range->step) != 0) return code;
  return code + static_cast<char32_t>(range->shift);
}

Parts decompose(char32_t code) noexcept {
  if (code >= 0xAC00 && code <= 0xD7A3) return decompose_hangul(code - 0xAC00);
  const Decomposition* found = std::lower_bound(std::begin(decompositions), std::end(decompositions), code,
                                                [](const Decomposition& one, char32_t wanted) { return one.code < wanted; });
  if (found == std::end(decompositions) || found->code != code) return {{code}, 1};
  Parts parts{{}, 0};
  while (parts.count < 4 && found->text[parts.count] != 0) {
    parts.codes[parts.count] = found->text[parts.count];
    ++parts.count;
  }
  return parts;
}

}  // namespace attend::tool
