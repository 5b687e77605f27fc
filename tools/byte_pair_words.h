// Words of a text as GPT-2's regular expression cuts it, before each is made of tokens.
#pragma once

#include <cstddef>
#include <string_view>

namespace attend::tool {

/// The bytes of the first word of a text, which is UTF-8 and not empty. A word has the blank before it; digits stand alone where they are split.
std::size_t first_word(std::string_view text, bool split_digits) noexcept;

}  // namespace attend::tool
