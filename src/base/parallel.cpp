// Stages over threads.
#include "base/parallel.h"

#include "base/arithmetic.h"
#include "base/cpu.h"

#if ATTEND_THREADS
#include <sched.h>
#endif

namespace attend {

void pause_briefly([[maybe_unused]] long spins) noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
#if ATTEND_THREADS
  if (spins > 2000) sched_yield();  // more threads than cores
#endif
}

namespace {

// Threads claim tasks from a counter, so nobody waits for a thread that has not begun: a parallel_for may run its indices one by one.
struct Region {
  const Stage* stages;
  int stage_count, threads;
  alignas(64) std::int64_t claimed[max_stages];
  alignas(64) std::int64_t ended[max_stages];
};

void take_part(void* pointer, int thread) noexcept {
  const FloatingPointMode mode;
  Region& region = *static_cast<Region*>(pointer);
  for (int s = 0; s < region.stage_count; ++s) {
    const Stage& stage = region.stages[s];
    std::int64_t done = 0;
    for (;;) {
      const std::int64_t unclaimed = stage.reads_on ? stage.count - __atomic_load_n(&region.claimed[s], __ATOMIC_RELAXED) : 0;
      const std::int64_t claim = larger(unclaimed / (4 * region.threads), 1);
      const std::int64_t first = __atomic_fetch_add(&region.claimed[s], claim, __ATOMIC_RELAXED), end = smaller(first + claim, stage.count);
      if (first >= end) break;
      for (std::int64_t task = first; task < end; ++task) stage.run(stage.context, task, thread);
      done += end - first;
    }
    if (done > 0) __atomic_fetch_add(&region.ended[s], done, __ATOMIC_RELEASE);
    for (long spins = 0; __atomic_load_n(&region.ended[s], __ATOMIC_ACQUIRE) < stage.count; ++spins) {
      pause_briefly(spins);
    }
  }
}

}  // namespace

void run_stages(const Threads& threads, const Stage* stages, int stage_count) noexcept {
  if (threads.count == 1) {
    const FloatingPointMode mode;
    for (int s = 0; s < stage_count; ++s) {
      for (std::int64_t task = 0; task < stages[s].count; ++task) stages[s].run(stages[s].context, task, 0);
    }
    return;
  }
  Region region = {stages, stage_count, threads.count, {}, {}};
  threads.parallel_for(threads.pool, threads.count, take_part, &region);
}

void run_awake(void* pool, int count, void (*task)(void* context, int index), void* context) {
  static_cast<const AwakePool*>(pool)->parallel_for(pool, count, task, context);
}

double least_threaded_work(const Threads& threads) noexcept { return threads.parallel_for == run_awake ? 2e5 : 2e6; }

}  // namespace attend
