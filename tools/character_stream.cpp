// A stream of bytes, of which whole characters go on.
#include "character_stream.h"

#include <cstddef>

#include "unicode.h"

namespace attend::tool {

std::string CharacterStream::take(std::string_view bytes) {
  held_ += bytes;
  std::string whole;
  std::string_view rest = held_;
  while (!rest.empty()) {
    std::size_t count;
    const bool is_whole = decode_utf8(rest, &count) != not_utf8;
    const unsigned char first = static_cast<unsigned char>(rest[0]);
    if (!is_whole && count == rest.size() && first >= 0xC2 && first <= 0xF4) break;  // the next bytes may complete it
    whole += is_whole ? rest.substr(0, count) : "\uFFFD";
    rest.remove_prefix(count);
  }
  held_ = std::string(rest);
  return whole;
}

}  // namespace attend::tool
