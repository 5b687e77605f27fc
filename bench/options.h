// What attend-bench was asked for on its command line.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "attend/attend.hpp"
#include "cases.h"

namespace attend::bench {

/// Bad usage or output: main prints the message as one line and exits with 2.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::vector<const Case*> cases;
  Isa isa = Isa::best;  // after parsing: the one that is meant
  int threads = 1;
  double seconds = 0.5;  // a case
  int rounds = 1;
  std::string json;  // a path; empty: none
  bool cpu_time = false, naive = false, list = false, help = false;
};

extern const char* const help_text;

/// What is wrong with a word that is none of these names, of which there is at least one: "unknown case 'sed'; the nearest is 'seed'".
std::string unknown(const char* what, const std::string& word, const std::vector<std::string>& names);

/// Throws Failure.
Options parse_options(int count, const char* const* words);

}  // namespace attend::bench
