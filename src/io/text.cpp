// How names are spelled in messages.
#include "io/text.h"

#include <algorithm>
#include <vector>

namespace attend::io {

namespace {

constexpr std::size_t longest = 72;

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

void append_visibly(std::string_view text, std::string* output) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    const unsigned char next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if (byte < 0x20 || byte == 0x7F || (byte == 0xC2 && next >= 0x80 && next < 0xA0)) {
      const char* digits = "0123456789abcdef";
      const unsigned char code = byte == 0xC2 ? next : byte;  // U+0080 to U+009F control terminals
      *output += {'\\', 'x', digits[code >> 4], digits[code & 15]};
      i += byte == 0xC2;
    } else {
      *output += text[i];
    }
  }
}

}  // namespace

std::string quoted(std::string_view name) {
  std::string output = "'";
  if (name.size() <= longest) {
    append_visibly(name, &output);
  } else {
    std::size_t head = longest / 3, tail = name.size() - (longest - head - 3);
    while (head > 0 && continues_character(name[head])) --head;
    while (tail < name.size() && continues_character(name[tail])) ++tail;
    append_visibly(name.substr(0, head), &output);
    output += "...";
    append_visibly(name.substr(tail), &output);
  }
  return output += '\'';
}

Status tensor_error(const std::string& path, const std::string& name, const std::string& what) {
  return Status::error(StatusCode::invalid_argument, "%s: tensor %s: %s", quoted(path).c_str(), quoted(name).c_str(), what.c_str());
}

std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> before(to.size() + 1), row(to.size() + 1), next(to.size() + 1);
  for (std::size_t j = 0; j <= to.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= from.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (from[i - 1] != to[j - 1])});
      const bool swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
      if (swapped) next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before.swap(row);
    row.swap(next);
  }
  return row[to.size()];
}

}  // namespace attend::io
