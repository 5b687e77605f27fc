// Timing by the steady clock.
#include "timing.h"

#include <algorithm>
#include <chrono>

namespace attend::bench {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Timing measure(const std::function<void()>& call, double seconds) {
  constexpr double least_sample = 20e-6;  // seconds, that reading the clock (25 ns) does not show
  std::vector<double> samples;
  int calls = 1;  // a sample
  const double begin = seconds_now();
  do {
    const double start = seconds_now();
    for (int i = 0; i < calls; ++i) call();
    const double taken = seconds_now() - start;
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
