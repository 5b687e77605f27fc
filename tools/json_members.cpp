// JsonMembers: the scalars of a small JSON file, such as a model's config.json.
#include "json_members.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "attend/io.hpp"
#include "failure.h"
#include "io/json.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

constexpr std::size_t most_config_bytes = 1 << 20;

}  // namespace

JsonMembers::JsonMembers(const std::string& path) : path_(path) {
  std::error_code unknown;  // of a folder, say, which InputFile refuses
  const std::uintmax_t bytes = std::filesystem::file_size(path, unknown);
  if (!unknown && bytes > most_config_bytes) throw Failure(io::quoted(path) + ": " + std::to_string(bytes) + " bytes are too many for a config");
  io::InputFile file;
  require(io::InputFile::open(path, &file));
  io::JsonReader reader({reinterpret_cast<const char*>(file.data()), file.size()});
  std::string key, value;
  for (reader.enter_object(); reader.next_member(&key);) {
    io::JsonReader rest = reader;
    if (rest.read_scalar(&value)) {
      members_[key] = value;
      reader = rest;
    } else {
      reader.skip_value();
    }
  }
  if (!reader.failed()) reader.at_end();
  if (reader.failed()) throw Failure(io::quoted(path) + ": " + reader.error());
}

std::string JsonMembers::text(const char* name) const {
  const auto found = members_.find(name);
  return found == members_.end() ? "" : found->second;
}

std::int64_t JsonMembers::size(const char* name, std::int64_t most) const {
  const std::string spelled = text(name);
  char* end = nullptr;
  const long long size = std::strtoll(spelled.c_str(), &end, 10);
  if (!spelled.empty() && *end == '\0' && size >= 1 && size <= most) return size;
  throw Failure(format("%s: %s is %s, expected 1 to %lld", io::quoted(path_).c_str(), name, spelled.empty() ? "missing" : io::quoted(spelled).c_str(),
                       static_cast<long long>(most)));
}

double JsonMembers::number(const char* name, double otherwise) const {
  if (!has(name)) return otherwise;
  const std::string spelled = text(name);
  char* end = nullptr;
  const double number = std::strtod(spelled.c_str(), &end);
  if (!spelled.empty() && *end == '\0' && std::isfinite(number) && number >= 0.0) return number;
  throw Failure(format("%s: %s is %s, expected a number, 0 or more", io::quoted(path_).c_str(), name, io::quoted(spelled).c_str()));
}

std::string JsonMembers::word(const char* name, const std::string& expected, const char* why) const {
  if (!has(name)) return expected.substr(0, expected.find(" or "));
  if (is_one_of(text(name), expected)) return text(name);
  throw Failure(format("%s: %s is %s, expected %s: %s", io::quoted(path_).c_str(), name, io::quoted(text(name)).c_str(), expected.c_str(), why));
}

bool is_one_of(std::string_view text, std::string_view words) {
  constexpr std::string_view between = " or ";
  for (std::size_t end = words.find(between); end != std::string_view::npos; end = words.find(between)) {
    if (text == words.substr(0, end)) return true;
    words.remove_prefix(end + between.size());
  }
  return text == words;
}

}  // namespace attend::tool
