// The only place that knows threads: stages of independent tasks, run by any number of them.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

/// `count` independent tasks; all of one stage end before the next begins.
struct Stage {
  std::int64_t count;
  /// thread: 0 to threads - 1, distinct among tasks that run at the same time.
  void (*run)(const void* context, std::int64_t task, int thread);
  const void* context;
};

inline constexpr int max_stages = 9;

/// Runs the stages, one parallel region for all of them. With one thread: plain loops, no lock, no
/// atomic operation.
void run_stages(const Threads& threads, const Stage* stages, int stage_count) noexcept;

}  // namespace attend
