// The clock that progress and timings go by.
#pragma once

#include <chrono>

namespace attend::tool {

/// Seconds since some point in the past.
inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace attend::tool
