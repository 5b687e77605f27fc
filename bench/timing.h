// Timing: how long one call takes.
#pragma once

#include <functional>
#include <vector>

namespace attend::bench {

/// Seconds since some point in the past.
double seconds_now();
/// Seconds that the CPU has worked for this thread.
double cpu_seconds_now();

struct Timing {
  double min, median;  // seconds a call
};

/// Calls for at least `seconds`, at least once. Short calls are timed several at once.
Timing measure(const std::function<void()>& call, double seconds, double (*clock)() = seconds_now);

/// The middle value, or the mean of the two in the middle; of at least one.
double median(std::vector<double> values);

}  // namespace attend::bench
