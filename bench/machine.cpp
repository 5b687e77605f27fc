// The machine, by what Linux says of it.
#include "machine.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <thread>

namespace attend::bench {
namespace {

/// What stands after "name   :" in /proc/cpuinfo, of the first CPU; empty if nothing does.
std::string cpu_fact(const std::string& name) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, name.size(), name) != 0) continue;
    const std::size_t colon = line.find_first_not_of(" \t", name.size());
    if (colon == std::string::npos || line[colon] != ':') continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

}  // namespace

std::string machine_name() {
  std::string name = cpu_fact("model name");
  if (name.empty() && !cpu_fact("CPU part").empty()) {  // ARM kernels give numbers
    name = "implementer " + cpu_fact("CPU implementer") + " part " + cpu_fact("CPU part");
  }
  if (name.empty()) name = "unknown CPU";
  return name + ", " + std::to_string(std::thread::hardware_concurrency()) + " CPUs";
}

std::size_t last_cache_bytes() {
  constexpr std::size_t mebibyte = 1024 * 1024;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    int level = 0;
    std::string size;
    std::ifstream(folder + "/level") >> level;
    std::ifstream(folder + "/size") >> size;  // "32768K"
    const std::size_t bytes = std::strtoull(size.c_str(), nullptr, 10) * 1024;
    if (level == 3 && bytes > 0) return std::min(bytes, 256 * mebibyte);
  }
  return 32 * mebibyte;
}

std::size_t huge_page_bytes() {
  constexpr char name[] = "AnonHugePages:";
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name, 0) == 0) return std::strtoull(line.c_str() + sizeof name - 1, nullptr, 10) * 1024;  // "  268288 kB"
  }
  return 0;
}

}  // namespace attend::bench
