// What a file is that is not of the format that was asked for.
#pragma once

#include <string>
#include <string_view>

namespace attend::io {

/// " (it is a ...: what to do)" of a file that begins so; empty for one that is not recognised.
std::string recognised(std::string_view bytes);

}  // namespace attend::io
