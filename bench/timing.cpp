// Timing, by the clock on the wall or by that of the thread.
#include "timing.h"

#include <algorithm>
#include <chrono>
#include <ctime>

namespace attend::bench {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds_now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Timing measure(const std::function<void()>& call, double seconds, double (*clock)()) {
  constexpr double least_sample = 50e-6;  // seconds, beside which reading the clock does not show
  std::vector<double> samples;
  int calls = 1;  // a sample
  const double begin = seconds_now();
  do {
    const double start = clock();
    for (int i = 0; i < calls; ++i) call();
    const double taken = clock() - start;
    if (taken < least_sample) {
      calls *= 2;
    } else {
      samples.push_back(taken / calls);
    }
  } while (samples.empty() || seconds_now() - begin < seconds);
  return {*std::min_element(samples.begin(), samples.end()), median(samples)};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

}  // namespace attend::bench
