// The arguments of a verb, parsed by its table of flags; the same table makes its help.
#include "arguments.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "attend/attend.hpp"
#include "failure.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

const Flag common_flags[] = {
    {"--isa", "NAME", "the ISA, one that attend info lists; default: $ATTEND_ISA, else the CPU's best"},
    {"--threads", "N", "how many threads compute; default: 1"},
    {"--help", nullptr, "prints this text"},
};

std::vector<Flag> all_flags(const Verb& verb) {
  return joined({verb.flags, {std::begin(common_flags), std::end(common_flags)}});
}

}  // namespace

std::vector<Flag> joined(std::initializer_list<std::vector<Flag>> lists) {
  std::vector<Flag> all;
  for (const std::vector<Flag>& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& names) {
  if (word.size() > 64) return "";
  std::string nearest;
  std::size_t least = 0;
  for (const std::string& name : names) {
    const bool begins = word.size() > 2 && name.compare(0, word.size(), word) == 0;
    const std::size_t distance = begins ? 1 : io::edit_distance(word, name);
    if (nearest.empty() || distance < least) {
      nearest = name;
      least = distance;
    }
  }
  const std::size_t letters = word.size() - std::min(word.size(), word.find_first_not_of('-'));
  return least <= std::max<std::size_t>(1, letters / 2) ? "; did you mean '" + nearest + "'?" : "";
}

Arguments::Arguments(const Verb& verb, int count, const char* const* words) {
  const std::vector<Flag> flags = all_flags(verb);
  std::size_t operands = 0;
  bool flags_ended = false;
  for (int i = 0; i < count; ++i) {
    const std::string word = words[i];
    if (word == end_of_flags && !flags_ended) {
      flags_ended = true;
      continue;
    }
    if (flags_ended || word.compare(0, 2, "--") != 0) {
      const bool repeats = operands == verb.operands.size() && operands > 0 && verb.operands.back().repeatable;
      if (operands == verb.operands.size() && !repeats) throw Failure("unexpected argument " + io::quoted(word));
      const Flag& operand = verb.operands[repeats ? operands - 1 : operands++];
      const char* const name = operand.name;
      if (word.empty() && !operand.repeatable) throw Failure(std::string(name) + " is empty");
      values_[name].push_back(word);
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const auto flag = std::find_if(flags.begin(), flags.end(),
                                   [&](const Flag& candidate) { return name == candidate.name; });
    if (flag == flags.end()) {
      std::vector<std::string> names;
      for (const Flag& candidate : flags) names.push_back(candidate.name);
      throw Failure("unknown flag " + io::quoted(name) + suggestion(name, names));
    }
    if (has(flag->name) && !flag->repeatable) throw Failure(name + " was given twice");
    std::string value;
    if (flag->value == nullptr) {
      if (equals != std::string::npos) throw Failure(name + " takes no value");
    } else if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else {
      if (i + 1 == count || std::strncmp(words[i + 1], "--", 2) == 0) {
        throw Failure(name + " needs a value: " + flag->value);
      }
      value = words[++i];
    }
    // The prefix of a whole file is empty; nothing else may be.
    if (flag->value != nullptr && value.empty() && name != "--prefix") throw Failure(name + " is empty");
    values_[name].push_back(value);
  }
  if (operands < verb.operands.size() && !verb.operands[operands].repeatable) throw Failure(std::string(verb.operands[operands].name) + " is missing");
  for (const Flag& flag : flags) {
    if (flag.required && !has(flag.name)) throw Failure(std::string(flag.name) + " is missing");
  }
}

std::string Arguments::text(const char* flag) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? "" : found->second.front();
}

std::vector<std::string> Arguments::texts(const char* flag) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

std::int64_t Arguments::integer(const char* flag, std::int64_t otherwise, std::int64_t lowest,
                                std::int64_t highest) const {
  if (!has(flag)) return otherwise;
  const std::string word = text(flag);
  char* end;
  errno = 0;
  const long long value = std::strtoll(word.c_str(), &end, 10);
  if (errno != 0 || *end != '\0' || value < lowest || value > highest) {
    throw Failure(format("%s %s is not an integer from %lld to %lld", flag, io::quoted(word).c_str(),
                         static_cast<long long>(lowest), static_cast<long long>(highest)));
  }
  return value;
}

double Arguments::number(const char* flag, double otherwise, double lowest) const {
  if (!has(flag)) return otherwise;
  const std::string word = text(flag);
  char* end;
  const double value = std::strtod(word.c_str(), &end);
  if (*end != '\0' || !std::isfinite(value) || value < lowest) {
    throw Failure(format("%s %s is not a number of at least %g", flag, io::quoted(word).c_str(), lowest));
  }
  return value;
}

void Arguments::require(const Status& status) const {
  if (status.ok()) return;
  const std::string message = status.message();
  const std::size_t end = std::min(message.size(), message.find(':'));
  std::string name = message.substr(0, end);
  if (name == "additive_mask") name = "mask";
  if (name == "offset") name = "causal_offset";
  std::replace(name.begin(), name.end(), '_', '-');
  const auto found = values_.find("--" + name);
  if (found != values_.end()) throw Failure(found->first + ' ' + io::quoted(found->second.front()) + message.substr(end), status.code());
  tool::require(status);
}

std::string help_text(const Verb& verb) {
  const auto spelled = [](const Flag& flag) {
    return std::string(flag.name) + (flag.value != nullptr ? std::string(" ") + flag.value : "");
  };
  const std::vector<Flag> flags = all_flags(verb);
  std::string text = std::string("attend ") + verb.name + ": " + verb.summary + "\n\nusage: attend " + verb.name;
  std::size_t width = 0;
  for (const Flag& operand : verb.operands) text += std::string(" ") + (operand.repeatable ? std::string("[") + operand.name + " ...]" : operand.name);
  for (const Flag& flag : flags) {
    if (flag.required) text += " " + spelled(flag);
    width = std::max(width, spelled(flag).size());
  }
  text += " [flags]\n\n";
  for (const Flag& flag : joined({verb.operands, flags})) {
    text += format("  %-*s  %s\n", static_cast<int>(width), spelled(flag).c_str(), flag.help);
  }
  return verb.details.empty() ? text : text + "\n" + verb.details;
}

}  // namespace attend::tool
