// Text from files and users, made safe for terminals and SVG.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attend::tool {

/// As printf, into a string.
std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

/// Where the element stands of an array of that shape in C order: "(0, 3, 7)".
std::string place_text(const std::vector<std::int64_t>& shape, std::size_t element);

/// One printable line: invalid UTF-8 becomes \xNN, as do control characters; those that reorder or
/// hide text (bidirectional controls, zero-width space, ...) become \uNNNN.
std::string terminal_text(std::string_view text);

/// terminal_text with the characters that mean something in XML as entities.
std::string xml_text(std::string_view text);

/// Columns that the text takes on a terminal: 2 for East Asian wide characters and emoji, 0 for combining marks.
int display_width(std::string_view text);

/// The text; where it takes more than `columns`, an ellipsis replaces its end.
std::string shortened(std::string_view text, int columns);

}  // namespace attend::tool
