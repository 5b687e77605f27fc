// The texts of tokens, one a line.
#include "tokens.h"

#include "attend/io.hpp"
#include "failure.h"

namespace attend::tool {

std::vector<std::string> read_tokens(const std::string& path) {
  io::InputFile file;
  require(io::InputFile::open(path, &file));
  return lines_of({reinterpret_cast<const char*>(file.data()), file.size()});
}

std::vector<std::string> lines_of(std::string_view rest) {
  std::vector<std::string> lines;
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (rest.substr(0, byte_order_mark.size()) == byte_order_mark) rest.remove_prefix(byte_order_mark.size());
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.emplace_back(line);
  }
  return lines;
}

std::vector<std::string> numbered_tokens(std::size_t count) {
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < count; ++i) tokens.push_back(std::to_string(i));
  return tokens;
}

}  // namespace attend::tool
