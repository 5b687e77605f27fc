// What a user says to a model that was trained on chats, as the text that it continues.
#include "chat_prompt.h"

#include <string_view>
#include <vector>

#include "failure.h"
#include "io/text.h"

namespace attend::tool {

namespace {

const std::string begin = "<|im_start|>", end = "<|im_end|>";

std::string message(const std::string& role, const std::string& text) { return begin + role + '\n' + text + end + '\n'; }

/// The text of the system in a template of Jinja, unless the template puts it together.
std::string system_text(std::string_view chat) {
  for (const std::string_view line_feed : {"\n", "\\n"}) {
    const std::string before = begin + "system" + std::string(line_feed);
    const std::size_t at = chat.find(before);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = chat.substr(at + before.size()), text = rest.substr(0, rest.find(end));
    if (text.size() < rest.size() && text.find_first_of("'\"{}\\") == std::string_view::npos) return std::string(text);
  }
  return "";
}

}  // namespace

std::string chat_prompt(const io::GgufFile& file, const std::string& system, const std::string& user) {
  const char* const key = "tokenizer.chat_template";
  std::vector<std::string_view> chat;
  if (file.find_value(key) != nullptr) require(file.read_texts(key, &chat));
  if (chat.size() != 1 || chat[0].find(begin) == std::string_view::npos) {
    throw Failure(io::quoted(file.path()) + ": " + key + (chat.empty() ? " is missing" : " is not ChatML") + "; --chat takes models whose messages begin with " + begin);
  }
  const std::string said = system.empty() ? system_text(chat[0]) : system;
  return (said.empty() ? "" : message("system", said)) + message("user", user) + begin + "assistant\n";
}

}  // namespace attend::tool
