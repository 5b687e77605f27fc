// What a user says to a model that was trained on chats, as the text that it continues.
#pragma once

#include <string>

#include "attend/io.hpp"

namespace attend::tool {

/// The text in ChatML: what the system says, what the user says, and the beginning of the answer. Where `system` is empty, the system says what
/// the file's template has it say, if that is plain text; else nothing. Throws Failure unless the file's template is ChatML.
std::string chat_prompt(const io::GgufFile& file, const std::string& system, const std::string& user);

}  // namespace attend::tool
