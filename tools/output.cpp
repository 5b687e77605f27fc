// Where a verb's output goes.
#include "output.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "failure.h"
#include "io/output_file.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

bool is_device(const std::string& path) {
  struct stat facts;
  return stat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode) && !S_ISDIR(facts.st_mode);
}

void require_writable(const std::string& path) {
  if (is_device(path)) return;
  io::OutputFile file;
  require(file.open(path));
}

bool is_standard_output(const std::string& path) {
  struct stat file, output;
  return stat(path.c_str(), &file) == 0 && fstat(STDOUT_FILENO, &output) == 0 && file.st_dev == output.st_dev &&
         file.st_ino == output.st_ino;
}

void require_two_files(const char* name, const std::string& path, const char* other_name, const std::string& other) {
  std::error_code error, of_links;
  const std::filesystem::path one = std::filesystem::weakly_canonical(path, error);
  const std::filesystem::path two = std::filesystem::weakly_canonical(other, error);
  const bool same_place = !error && std::filesystem::absolute(one) == std::filesystem::absolute(two);
  if (path == other || same_place || std::filesystem::equivalent(path, other, of_links)) {
    throw Failure(std::string(name) + " and " + other_name + " are one file, " + io::quoted(path));
  }
}

void print_remark(const char* verb, const std::string& text) {
  if (text.empty()) return;
  std::fflush(stdout);  // what was printed before stands before, wherever both go
  std::fprintf(stderr, "attend %s: %s\n", verb, terminal_text(text).c_str());
}

void write_text(const std::string& path, const std::string& text) {
  io::OutputFile file;
  require(file.open(path));
  require(file.write(text.data(), text.size()));
  require(file.commit());
}

}  // namespace attend::tool
