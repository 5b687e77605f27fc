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
  /// Whether a task reads on into what the next one reads, by the CPU's fetches or its own: a thread claims a quarter of its share of what is
  /// left then. (Panel by panel, what one of two threads fetched the other read: SmolLM2 wrote 112 tokens a second in int8, no more than on
  /// one thread, not 147; Zen 4, AVX2.)
  bool reads_on = false;
};

inline constexpr int max_stages = 9;

/// Runs the stages, one parallel region for all of them. With one thread: plain loops, no lock, no
/// atomic operation.
void run_stages(const Threads& threads, const Stage* stages, int stage_count) noexcept;

/// A layer's, attention's or a linear layer's call of fewer multiply-adds runs on its caller's thread. To wake a thread takes the caller 11 us
/// (Zen 3) to 25 (Xeon with 480 MiB of L3, where two million multiply-adds take 23 in float32 with AVX-512); a pool that is kept awake shares
/// 0.6 million in 4.6 us where one thread takes 6.4.
double least_threaded_work(const Threads& threads) noexcept;

/// What the pool that run_awake is given begins with: how it runs tasks.
struct AwakePool {
  ParallelFor parallel_for;
};

/// The parallel_for by which a pool that is kept awake is known.
void run_awake(void* pool, int count, void (*task)(void* context, int index), void* context);

/// One turn of a loop that waits for another thread; after some two thousand it lets other threads run first.
void pause_briefly(long spins) noexcept;

}  // namespace attend
