// A strict reader of the JSON that .safetensors headers are made of.
#include "io/json.h"

#include <cctype>

namespace attend::io {

namespace {

bool is_digit(char character) { return character >= '0' && character <= '9'; }

}  // namespace

JsonReader::JsonReader(std::string_view text) : text_(text) {
  if (!is_utf8(text)) fail("UTF-8 all through");
}

bool JsonReader::fail(const char* expected) {
  if (error_.empty()) error_ = "byte " + std::to_string(at_) + ": expected " + expected;
  return false;
}

bool JsonReader::accept_here(char character) {
  if (at_ == text_.size() || text_[at_] != character) return false;
  ++at_;
  return true;
}

void JsonReader::accept_space() {
  while (accept_here(' ') || accept_here('\t') || accept_here('\n') || accept_here('\r')) {
  }
}

bool JsonReader::accept(char character) {
  accept_space();
  return accept_here(character);
}

bool JsonReader::enter(char opening, const char* what) {
  if (failed() || !accept(opening)) return fail(what);
  first_ = true;
  return true;
}

bool JsonReader::next(char closing) {
  if (failed()) return false;
  const bool first = first_;
  first_ = false;
  if (accept(closing)) return false;
  return first || accept(',') || fail(closing == '}' ? "',' or '}'" : "',' or ']'");
}

bool JsonReader::next_member(std::string* key) {
  return next('}') && read_string(key) && (accept(':') || fail("':'"));
}

bool JsonReader::read_code_unit(unsigned* unit) {
  *unit = 0;
  for (int digit = 0; digit < 4; ++digit, ++at_) {
    const char character = peek(), lower = static_cast<char>(character | 0x20);
    const bool letter = lower >= 'a' && lower <= 'f';
    if (!letter && !is_digit(character)) return fail("four hexadecimal digits");
    *unit = *unit << 4 | static_cast<unsigned>(letter ? lower - 'a' + 10 : character - '0');
  }
  return true;
}

bool JsonReader::read_string(std::string* value) {
  if (failed() || !accept('"')) return fail("a string");
  value->clear();
  for (;;) {
    if (at_ == text_.size()) return fail("a closing quote");
    const char character = text_[at_];
    if (static_cast<unsigned char>(character) < 0x20) return fail("no control character");
    ++at_;
    if (character == '"') return true;
    if (character != '\\') {
      *value += character;
      continue;
    }
    constexpr std::string_view escapes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const std::size_t escape = escapes.find(peek());
    if (escape != std::string_view::npos) {
      *value += meanings[escape];
      ++at_;
      continue;
    }
    unsigned code = 0, low = 0;
    if (!accept_here('u')) return fail("an escape that JSON knows");
    if (!read_code_unit(&code)) return false;
    if (code >= 0xD800 && code < 0xE000) {
      const bool pair = code < 0xDC00 && accept_here('\\') && accept_here('u');
      if (pair && !read_code_unit(&low)) return false;
      if (!pair || low < 0xDC00 || low > 0xDFFF) return fail("a pair of surrogates");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(code, value);
  }
}

bool JsonReader::read_integer(std::int64_t* value) {
  if (failed()) return false;
  accept_space();
  if (!is_digit(peek())) return fail("a number of 0 or more");
  const std::size_t begin = at_;
  *value = 0;
  for (; is_digit(peek()); ++at_) {
    if (__builtin_mul_overflow(*value, 10, value) ||
        __builtin_add_overflow(*value, peek() - '0', value)) {
      return fail("a number below 2^63");
    }
  }
  const char after = peek();
  if (after == '.' || after == 'e' || after == 'E') return fail("an integer");
  if (text_[begin] == '0' && at_ - begin > 1) return fail("a number without leading zeros");
  return true;
}

void JsonReader::skip_literal() {
  while (std::isalnum(static_cast<unsigned char>(peek())) || peek() == '-' || peek() == '+' || peek() == '.') ++at_;
}

bool JsonReader::read_scalar(std::string* value) {
  if (failed()) return false;
  accept_space();
  if (peek() == '"') return read_string(value);
  const std::size_t begin = at_;
  skip_literal();
  *value = text_.substr(begin, at_ - begin);
  return !value->empty() || fail("a string, a number, true, false or null");
}

bool JsonReader::skip_value() {
  std::string text;
  std::size_t depth = 0;
  do {
    accept_space();
    const std::size_t before = at_;
    if (peek() == '"') {
      if (!read_string(&text)) return false;
    } else if (accept_here('{') || accept_here('[')) {
      ++depth;
    } else if (depth > 0 && (accept_here('}') || accept_here(']'))) {
      --depth;
    } else if (depth == 0 || !(accept_here(',') || accept_here(':'))) {
      skip_literal();
    }
    if (at_ == before) return fail("a value");
  } while (depth > 0);
  return !failed();
}

bool JsonReader::at_end() {
  if (failed()) return false;
  accept_space();
  return at_ == text_.size() || fail("nothing more");
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const unsigned lead = static_cast<unsigned char>(text[i++]);
    const int more = lead < 0x80 ? 0 : lead < 0xC0 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    if (more < 0 || lead > 0xF4) return false;
    unsigned code = more == 0 ? lead : lead & (0x3Fu >> more);
    for (int k = 0; k < more; ++k, ++i) {
      if (i == text.size() || (text[i] & 0xC0) != 0x80) return false;
      code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
    }
    constexpr unsigned smallest[] = {0, 0x80, 0x800, 0x10000};
    if (code < smallest[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
  }
  return true;
}

void append_utf8(char32_t code, std::string* text) {
  const auto add = [&](char32_t byte) { *text += static_cast<char>(byte); };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      add(0xE0 | code >> 12);
    } else {
      add(0xF0 | code >> 18);
      add(0x80 | (code >> 12 & 0x3F));
    }
    add(0x80 | (code >> 6 & 0x3F));
  }
  add(0x80 | (code & 0x3F));
}

std::string json_string(std::string_view text) {
  std::string output = "\"";
  for (char character : text) {
    if (static_cast<unsigned char>(character) < 0x20) {
      const char* digits = "0123456789abcdef";
      output += {'\\', 'u', '0', '0', digits[character >> 4], digits[character & 15]};
    } else {
      if (character == '"' || character == '\\') output += '\\';
      output += character;
    }
  }
  return output += '"';
}

}  // namespace attend::io
