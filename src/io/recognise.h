// Recognises files of other formats, so that messages can say what a file is.
#pragma once

#include <string>
#include <string_view>

namespace attend::io {

/// " (it is a ...: what to do)" for a file that begins so; empty where nobody knows. `writer` says what writes the format that was expected.
std::string recognised(std::string_view bytes, const std::string& writer);

}  // namespace attend::io
