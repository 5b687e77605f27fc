// make help: it names every target that people call.
#include <doctest.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "test_data.h"

TEST_CASE("make help: prints what the head of the Makefile says, where every target is") {
  const std::string root = attend::test_data("..");
  std::string help;
  std::FILE* const pipe = popen(("make -s -C '" + root + "' help 2> /dev/null").c_str(), "r");
  REQUIRE(pipe != nullptr);
  for (int character = std::fgetc(pipe); character != EOF; character = std::fgetc(pipe)) help += static_cast<char>(character);
  CHECK(pclose(pipe) == 0);

  std::ifstream makefile(root + "/Makefile");
  std::string head, line, word;
  while (std::getline(makefile, line) && line[0] == '#') head += line.substr(line.size() > 1 ? 2 : 1) + '\n';
  CHECK(help == head);
  while (line.rfind(".PHONY:", 0) != 0) REQUIRE(std::getline(makefile, line));
  std::string names = line.substr(7), more;
  while (names.back() == '\\' && std::getline(makefile, more)) names.replace(names.size() - 1, 1, more);
  const std::set<std::string> internal = {"all", "tests", "python-library", "python-library-path"};
  std::istringstream words(names);
  while (words >> word) {
    if (internal.count(word) == 0) CHECK_MESSAGE(help.find("make " + word) != std::string::npos, word);
  }
}
