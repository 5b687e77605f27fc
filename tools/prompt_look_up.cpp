// Which tokens may come next, by what came after the same tokens before.
#include "prompt_look_up.h"

#include <algorithm>

namespace attend::tool {

std::vector<std::int32_t> look_up(const std::vector<std::int32_t>& tokens, std::size_t count) {
  if (count == 0) return {};
  for (std::ptrdiff_t length = 3; length > 0; --length) {
    if (static_cast<std::size_t>(length) >= tokens.size()) continue;
    const auto last = tokens.end() - length;
    const auto found = std::find_end(tokens.begin(), tokens.end() - 1, last, tokens.end());
    if (found == tokens.end() - 1) continue;
    const auto next = found + length;
    return {next, next + std::min(static_cast<std::ptrdiff_t>(count), tokens.end() - next)};
  }
  return {};
}

}  // namespace attend::tool
