// The texts of tokens, one a line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attend::tool {

/// The lines of a text of any bytes, without their ends and a byte order mark at the text's start; those of a file. The second throws Failure.
std::vector<std::string> lines_of(std::string_view text);
std::vector<std::string> read_tokens(const std::string& path);

/// "0", "1", ...: what stands for tokens whose texts are not known.
std::vector<std::string> numbered_tokens(std::size_t count);

}  // namespace attend::tool
