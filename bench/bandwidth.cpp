// The bandwidth loop: one load a cache line, prefetched.
#include "bandwidth.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "each_thread.h"
#include "machine.h"
#include "timing.h"

namespace attend::bench {
namespace {

constexpr std::size_t line = 64 / sizeof(std::uint64_t);
constexpr std::size_t ahead = 2048 / sizeof(std::uint64_t);

std::uint64_t read_lines(const std::uint64_t* words, std::size_t count) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count; i += line) {
    __builtin_prefetch(words + i + ahead);
    sum += words[i];
  }
  return sum;
}

}  // namespace

double measure_read_bandwidth(const Threads& threads) {
  const std::size_t each = 4 * last_cache_bytes() / static_cast<std::size_t>(threads.count) / 64 * line;  // words
  // Not zeros: pages of zeros can be one page.
  const std::vector<std::uint64_t> memory(each * static_cast<std::size_t>(threads.count), 0x0123456789abcdef);
  return sum_on_each_thread(threads, [&](int index) {
    const std::uint64_t* words = memory.data() + each * static_cast<std::size_t>(index);
    double best = 0.0;
    const double begin = seconds_now();
    do {
      const double start = seconds_now();
      const volatile std::uint64_t sum = read_lines(words, each);
      static_cast<void>(sum);
      best = std::max(best, static_cast<double>(each * sizeof(std::uint64_t)) / (seconds_now() - start));
    } while (seconds_now() - begin < 50e-3);
    return best * 1e-9;
  });
}

}  // namespace attend::bench
