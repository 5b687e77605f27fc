// JsonMembers: the scalars of a small JSON file, such as a model's config.json.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace attend::tool {

/// The members of a file's object that are scalars, as they are spelled.
class JsonMembers {
 public:
  /// Throws Failure.
  explicit JsonMembers(const std::string& path);

  const std::string& path() const noexcept { return path_; }
  bool has(const char* name) const { return members_.count(name) != 0; }
  /// "" where there is none of that name.
  std::string text(const char* name) const;
  /// From 1 to `most`; throws Failure where it is missing or something else.
  std::int64_t size(const char* name, std::int64_t most) const;
  /// 0 or more, or `otherwise` where it is missing; throws Failure where it is something else.
  double number(const char* name, double otherwise) const;
  /// One of the words that " or " separates, the first of them where it is missing; throws Failure, with the reason, where it is something
  /// else.
  std::string word(const char* name, const std::string& expected, const char* why) const;

 private:
  std::string path_;
  std::map<std::string, std::string> members_;
};

/// Whether a text is one of the words that " or " separates.
bool is_one_of(std::string_view text, std::string_view words);

}  // namespace attend::tool
