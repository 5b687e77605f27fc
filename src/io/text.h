// How names are spelled in messages.
#pragma once

#include <string>
#include <string_view>

namespace attend::io {

/// The name in single quotes, control characters as \xNN, the middle of a long one as "...".
std::string quoted(std::string_view name);

}  // namespace attend::io
