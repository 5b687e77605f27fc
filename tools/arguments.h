// The arguments of a verb, parsed by its table of flags; the same table makes its help.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "attend/attend.hpp"

namespace attend::tool {

struct Flag {
  const char* name;   // "--out"
  const char* value;  // what stands for its value in the help; null: it takes none
  const char* help;
  bool required = false;
  bool repeatable = false;
};

/// Lists of flags, one after the other.
std::vector<Flag> joined(std::initializer_list<std::vector<Flag>> lists);

/// The word behind which all are operands, whatever they begin with.
inline constexpr std::string_view end_of_flags = "--";

class Arguments;

struct Verb {
  const char* name;
  const char* summary;       // one line
  std::string details;       // paragraphs for its help, each line ended
  std::vector<Flag> flags;   // without those that all verbs have
  int (*run)(const Arguments& arguments);  // gives the exit code; throws Failure
  /// What stands on the line without a flag, in this order: all of it is required, but for a last one that is repeatable.
  std::vector<Flag> operands = {};
};

/// The command line, checked against the verb's flags: `--name value` or `--name=value`, each at most once unless it is repeatable. An
/// operand is found by its name, as a flag is.
class Arguments {
 public:
  /// Throws Failure.
  Arguments(const Verb& verb, int count, const char* const* words);

  bool has(const char* flag) const { return values_.count(flag) != 0; }
  /// The value of a flag; empty if it was not given.
  std::string text(const char* flag) const;
  /// All values of a repeatable flag, in order.
  std::vector<std::string> texts(const char* flag) const;
  /// Throws Failure unless it is an integer from lowest to highest.
  std::int64_t integer(const char* flag, std::int64_t otherwise, std::int64_t lowest,
                       std::int64_t highest) const;
  /// Throws Failure unless it is a finite number of at least `lowest`.
  double number(const char* flag, double otherwise, double lowest) const;
  /// Throws Failure unless the status of a call is ok. Where its message begins with the name of an argument that a flag stands for, the
  /// flag and its value stand there instead: "--mask 'm.npy': shape ..".
  void require(const Status& status) const;

 private:
  std::map<std::string, std::vector<std::string>> values_;
};

std::string help_text(const Verb& verb);

/// "; did you mean 'X'?" with the nearest of the names, or nothing where none is near.
std::string suggestion(const std::string& word, const std::vector<std::string>& names);

}  // namespace attend::tool
