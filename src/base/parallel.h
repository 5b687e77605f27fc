// Stages of independent tasks, run by any number of threads. Only parallel.cpp and thread_pool.cpp know threads.
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

/// A call of fewer multiply-adds runs on its caller's thread: to wake a thread (11 us) costs more than it brings. A pool that is kept awake
/// begins within a microsecond. One row through a matrix is such a call: SmolLM2-135M writes 1.24 (int8) to 1.49 times (float32) the tokens on two
/// threads with 5e5 where 1e6 left its 576 x 1536 to one; kept awake, int8 another 1.25 times (Xeon, 480 MiB of L3).
double least_threaded_work(const Threads& threads) noexcept;

/// What run_awake gets as its pool.
struct AwakePool {
  ParallelFor parallel_for;
};

/// The parallel_for by which a pool that is kept awake is known.
void run_awake(void* pool, int count, void (*task)(void* context, int index), void* context);

/// One turn of a loop that waits for another thread; after 2000 turns, of which the processor's other work hears.
void pause_briefly(long spins) noexcept;

}  // namespace attend
