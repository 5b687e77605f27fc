// How names are spelled in messages.
#include "io/text.h"

#include <algorithm>

namespace attend::io {

namespace {

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

std::string quoted(std::string_view name, std::size_t longest) {
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

std::string listed(const std::vector<std::string>& names, std::size_t room) {
  std::string list;
  for (std::size_t n = 0; n < names.size(); ++n) {
    const std::string more = " and " + std::to_string(names.size() - n) + " more", next = (n == 0 ? "" : ", ") + names[n];
    const bool last = n + 1 == names.size();
    if (n > 0 && list.size() + next.size() + (last ? 0 : more.size()) > room) return list + more;
    list += next;
  }
  return list;
}

namespace {

// A name before a text, of which `room` bytes are for both.
std::string quoted_before(const std::string& name, const std::string& text, std::size_t room) {
  const std::size_t left = room > text.size() ? room - text.size() : 0;
  return quoted(name, std::clamp(left, shortest_name, longest_name));
}

}  // namespace

std::size_t room_beside(const std::string& path, std::size_t taken) {
  const std::size_t room = longest_message - std::string_view("'': ").size() - std::min(path.size(), shortest_name);
  return room - std::min(room, taken);
}

Status file_error(const std::string& path, const std::string& what) {
  const std::string text = ": " + what;
  return Status::error(StatusCode::invalid_argument, "%s%s", quoted_before(path, text, longest_message - 2).c_str(), text.c_str());
}

Status tensor_error(const std::string& path, const std::string& name, const std::string& what) {
  const std::string before = "tensor ", text = ": " + what;
  return file_error(path, before + quoted_before(name, text, room_beside(path, before.size() + 2)) + text);
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
