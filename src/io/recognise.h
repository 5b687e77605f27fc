// Recognises files of other formats, so that messages can say what a file is.
#pragma once

#include <string>
#include <string_view>

namespace attend::io {

/// " (it is a ...: what to do)" for a file that begins so; empty where nobody knows.
std::string recognised(std::string_view bytes);

}  // namespace attend::io
