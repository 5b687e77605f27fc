// The read bandwidth of memory.
#pragma once

#include "attend/attend.hpp"

namespace attend::bench {

/// GB/s that all threads together read from memory four times as large as the last cache.
double measure_read_bandwidth(const Threads& threads);

}  // namespace attend::bench
