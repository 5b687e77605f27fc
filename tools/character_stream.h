// A stream of bytes, of which whole characters go on.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace attend::tool {

/// Holds back a character of UTF-8 until all its bytes are there. What can become none is U+FFFD.
class CharacterStream {
 public:
  /// The whole characters that are there now.
  std::string take(std::string_view bytes);
  /// What is left at the end: U+FFFD for half a character.
  std::string finish() { return std::exchange(held_, {}).empty() ? "" : "\uFFFD"; }

 private:
  std::string held_;
};

}  // namespace attend::tool
