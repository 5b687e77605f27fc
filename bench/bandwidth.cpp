// The bandwidth loop: one load a cache line.
#include "bandwidth.h"

#include <algorithm>
#include <cstdint>

#include "data.h"
#include "each_thread.h"
#include "machine.h"
#include "timing.h"

namespace attend::bench {
namespace {

constexpr std::size_t line = 64 / sizeof(float);
constexpr std::size_t part = (std::size_t{16} << 20) / sizeof(float);  // that is timed: on a shared machine a millisecond passes undisturbed

// Which distance is best depends on the CPU: with 0, nothing is fetched but by the CPU itself.
constexpr std::size_t distances[] = {0, 2048 / sizeof(float)};

float read_part(const float* floats, std::size_t ahead) {
  float sum = 0.0f;
  for (std::size_t i = 0; i < part; i += line) {
    __builtin_prefetch(floats + i + ahead);
    sum += floats[i];
  }
  return sum;
}

}  // namespace

double measure_read_bandwidth(const Threads& threads) {
  const std::size_t parts = 4 * last_cache_bytes() / sizeof(float) / static_cast<std::size_t>(threads.count) / part + 1;  // of a thread
  const std::size_t all = parts * static_cast<std::size_t>(threads.count) * part;
  const std::unique_ptr<float, Release> memory = large_floats(static_cast<std::int64_t>(all));
  std::fill_n(memory.get(), all, 1.0f);  // not zeros: pages of zeros can be one page
  return sum_on_each_thread(threads, [&](int index) {
    const float* const first = memory.get() + static_cast<std::size_t>(index) * parts * part;
    double best = 0.0;
    const double begin = seconds_now();
    do {
      for (const std::size_t ahead : distances) {
        for (std::size_t p = 0; p < parts; ++p) {
          const double start = seconds_now();
          const volatile float sum = read_part(first + p * part, ahead);
          static_cast<void>(sum);
          best = std::max(best, static_cast<double>(part * sizeof(float)) / (seconds_now() - start));
        }
      }
    } while (seconds_now() - begin < 50e-3);
    return best * 1e-9;
  });
}

}  // namespace attend::bench
