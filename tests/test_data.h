// Where the tests' files are: in $ATTEND_TEST_DATA, or else in "tests" of the working directory.
#pragma once

#include <cstdlib>
#include <string>

namespace attend {

/// test_data("golden/cases.txt") -> "tests/golden/cases.txt".
inline std::string test_data(const std::string& path) {
  const char* folder = std::getenv("ATTEND_TEST_DATA");
  return std::string(folder != nullptr ? folder : "tests") + "/" + path;
}

}  // namespace attend
