// A strict reader of the JSON that .safetensors headers are made of.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace attend::io {

/// Reads a text from front to back as the caller's grammar asks; it holds no tree and never
/// recurses, so that depth and memory are the caller's. After the first error every call is false.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text);  // an error unless it is UTF-8

  bool enter_object() { return enter('{', "an object"); }
  /// Reads the next "key": and leaves its value to the caller; false after the last, or on error.
  bool next_member(std::string* key);
  bool enter_array() { return enter('[', "an array"); }
  /// Whether another element, to be read by the caller, follows; false after the last, or on error.
  bool next_element() { return next(']'); }
  bool read_string(std::string* value);
  /// A non-negative integer below 2^63, in digits alone.
  bool read_integer(std::int64_t* value);
  /// A string's text; or a number, true, false or null as it is spelled.
  bool read_scalar(std::string* value);
  /// Passes over a value of any kind: reads strings and brackets, and takes all else for a value if it looks like one.
  bool skip_value();
  /// Whether only white space is left.
  bool at_end();

  bool failed() const noexcept { return !error_.empty(); }
  /// "byte 17: expected ..."; empty if there was none.
  const std::string& error() const noexcept { return error_; }

 private:
  bool fail(const char* expected);
  bool enter(char opening, const char* what);
  bool next(char closing);
  void accept_space();
  bool accept(char character);       // skips white space first
  bool accept_here(char character);  // skips nothing
  bool read_code_unit(unsigned* unit);
  void skip_literal();
  char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
  std::string_view text_;
  std::size_t at_ = 0;
  bool first_ = true;  // whether nothing has been read yet of the object or array at hand
  std::string error_;
};

/// Whether the text is well-formed UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text) noexcept;
/// Appends a code point that is none of a surrogate.
void append_utf8(char32_t code, std::string* text);
/// The text as a JSON string with its quotes.
std::string json_string(std::string_view text);

}  // namespace attend::io
