// The test program: every *_test.cpp of this folder in one binary, run by doctest. At its end it says what ran where, for a
// CPU that lacks an ISA leaves the tests of its kernels out.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "attend/attend.hpp"
#include "base/isas.h"

namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 10, "model name") == 0 && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return "not named";
}

void print_isas() {
  std::string ran, left_out;
  for (const attend::IsaEntry& entry : attend::isas) {
    if (attend::isa_compiled(entry.isa)) (attend::isa_usable(entry.isa) ? ran : left_out) += std::string(" ") + entry.name;
  }
  const char* const emulator = std::getenv("ATTEND_EMULATOR");
  const bool natively = emulator == nullptr || *emulator == '\0';
  std::printf("[attend] CPU: %s | ISAs that ran%s:%s", cpu_model().c_str(), natively ? " natively" : (" under " + std::string(emulator)).c_str(), ran.c_str());
  if (!left_out.empty()) std::printf(" | compiled, but not run here:%s", left_out.c_str());
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int result = context.run();
  if (!context.shouldExit()) print_isas();
  return result;
}
