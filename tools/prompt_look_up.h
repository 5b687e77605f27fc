// Which tokens may come next, by what came after the same tokens before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace attend::tool {

/// At most `count` tokens that followed where the last three tokens, or two, or one, came last before; none where they came nowhere. Source:
/// Saxena 2023, prompt lookup decoding.
std::vector<std::int32_t> look_up(const std::vector<std::int32_t>& tokens, std::size_t count);

}  // namespace attend::tool
