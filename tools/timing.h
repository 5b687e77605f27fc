// How long a call takes: the fastest of many runs.
#pragma once

#include <algorithm>

#include "clock.h"

namespace attend::tool {

/// Microseconds of the fastest run in a tenth of a second, at least three runs.
template <class Call>
double fastest_microseconds(Call call) {
  double fastest = 1e30;
  const double begun = seconds_now();
  for (int runs = 0; runs < 3 || seconds_now() - begun < 0.1; ++runs) {
    const double start = seconds_now();
    call();
    fastest = std::min(fastest, seconds_now() - start);
  }
  return fastest * 1e6;
}

}  // namespace attend::tool
