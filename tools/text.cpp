// Text from files and users, made safe for terminals and SVG.
#include "text.h"

#include <cstdarg>
#include <cstdio>

#include "io/shape.h"
#include "unicode.h"

namespace attend::tool {

namespace {

bool is_between(char32_t code, char32_t first, char32_t last) { return code >= first && code <= last; }

bool is_hidden(char32_t code) {
  return is_between(code, 0x200B, 0x200F) || is_between(code, 0x2028, 0x202E) ||
         is_between(code, 0x2060, 0x206F) || code == 0xAD || code == 0x61C || code == 0xFEFF ||
         is_between(code, 0xFFF9, 0xFFFB) || (code & 0xFFFE) == 0xFFFE ||
         is_between(code, 0xE0000, 0xE007F);
}

int width_of(char32_t code) {
  if (is_between(code, 0x300, 0x36F) || is_between(code, 0x20D0, 0x20FF) ||
      is_between(code, 0xFE00, 0xFE0F) || is_between(code, 0xFE20, 0xFE2F)) {
    return 0;
  }
  const bool wide = is_between(code, 0x1100, 0x115F) || is_between(code, 0x2E80, 0xA4CF) ||
                    is_between(code, 0xAC00, 0xD7A3) || is_between(code, 0xF900, 0xFAFF) ||
                    is_between(code, 0xFE30, 0xFE6F) || is_between(code, 0xFF00, 0xFF60) ||
                    is_between(code, 0xFFE0, 0xFFE6) || is_between(code, 0x1F300, 0x1F64F) ||
                    is_between(code, 0x1F900, 0x1F9FF) || is_between(code, 0x20000, 0x3FFFD);
  return wide ? 2 : 1;
}

}  // namespace

std::string format(const char* pattern, ...) {
  va_list arguments, again;
  va_start(arguments, pattern);
  va_copy(again, arguments);
  std::string text(static_cast<std::size_t>(std::vsnprintf(nullptr, 0, pattern, arguments)), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  va_end(arguments);
  return text;
}

std::string place_text(const std::vector<std::int64_t>& shape, std::size_t element) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    const std::size_t size = static_cast<std::size_t>(shape[axis]);
    index[axis] = static_cast<std::int64_t>(element % size);
    element /= size;
  }
  return io::shape_text(index);
}

std::string terminal_text(std::string_view text) {
  std::string output;
  while (!text.empty()) {
    std::size_t bytes;
    const char32_t code = decode_utf8(text, &bytes);
    if (code == not_utf8) bytes = 1;  // each byte for itself
    if (code == not_utf8) output += format("\\x%02x", static_cast<unsigned char>(text[0]));
    else if (code < 0x20 || is_between(code, 0x7F, 0x9F)) output += format("\\x%02x", static_cast<unsigned>(code));
    else if (is_hidden(code)) output += format("\\u%04x", static_cast<unsigned>(code));
    else output += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return output;
}

std::string xml_text(std::string_view text) {
  std::string output;
  for (const char character : terminal_text(text)) {
    switch (character) {
      case '&': output += "&amp;"; break;
      case '<': output += "&lt;"; break;
      case '>': output += "&gt;"; break;
      case '"': output += "&quot;"; break;
      case '\'': output += "&apos;"; break;
      default: output += character;
    }
  }
  return output;
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    std::size_t bytes;
    width += width_of(decode_utf8(text, &bytes));
    text.remove_prefix(bytes);
  }
  return width;
}

std::string shortened(std::string_view text, int columns) {
  if (display_width(text) <= columns) return std::string(text);
  std::string output;
  for (int width = 1;;) {  // 1: the ellipsis
    std::size_t bytes;
    width += width_of(decode_utf8(text, &bytes));
    if (width > columns) return output + "\u2026";
    output += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
}

}  // namespace attend::tool
