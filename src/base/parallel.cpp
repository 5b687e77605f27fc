// Stages over threads, and the pool whose idle workers sleep.
#include "base/parallel.h"

#include <new>

#include "base/cpu.h"
#include "base/memory.h"

#if ATTEND_THREADS
#include <pthread.h>
#include <sched.h>
#endif

namespace attend {

namespace {

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

// Threads claim tasks from a counter, so nobody waits for a thread that has not begun: a parallel_for may run its indices one by one.
struct Region {
  const Stage* stages;
  int stage_count;
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
      const std::int64_t task = __atomic_fetch_add(&region.claimed[s], 1, __ATOMIC_RELAXED);
      if (task >= stage.count) break;
      stage.run(stage.context, task, thread);
      ++done;
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
  Region region = {stages, stage_count, {}, {}};
  threads.parallel_for(threads.pool, threads.count, take_part, &region);
}

#if ATTEND_THREADS

namespace {

// How many forks lie between the process that first made a pool and this one. A child has the memory of its parent's pools, but none of
// their threads, and mutexes that a missing thread may hold. The number of the process would not do: systems reuse it.
unsigned long forks = 0;
int fork_error = 0;  // forks are not counted

void count_forks() noexcept {
  fork_error = pthread_atfork(nullptr, nullptr, [] { ++forks; });
}

}  // namespace

struct ThreadPool::State {
  unsigned long home;       // `forks` in the process of its threads
  pthread_mutex_t mutex;
  pthread_cond_t work, finished;
  int workers;              // started
  bool busy, ending;
  unsigned long generation; // number of the region that is to be run
  int count;                // indices of the region; worker w runs index w + 1
  int running;              // workers that have not ended the region
  void (*task)(void*, int);
  void* context;
  struct Worker {
    State* state;
    int index;
    pthread_t thread;
  } worker[max_threads];

  // Whether the pool's threads are of this process; a child may read nothing else of the pool.
  bool at_home() const noexcept { return home == forks; }
  bool begin(int region_count, void (*region_task)(void*, int), void* region_context) noexcept;
  void end() noexcept;
  static void* run(void* pointer) noexcept;
  static void parallel_for(void* pool, int count, void (*task)(void*, int), void* context) noexcept;
};

void* ThreadPool::State::run(void* pointer) noexcept {
  const Worker& self = *static_cast<Worker*>(pointer);
  State& state = *self.state;
  unsigned long seen = 0;
  pthread_mutex_lock(&state.mutex);
  for (;;) {
    while (state.generation == seen && !state.ending) pthread_cond_wait(&state.work, &state.mutex);
    if (state.ending) break;
    seen = state.generation;
    if (self.index >= state.count) continue;
    void (*const task)(void*, int) = state.task;
    void* const context = state.context;
    pthread_mutex_unlock(&state.mutex);
    task(context, self.index);
    pthread_mutex_lock(&state.mutex);
    if (--state.running == 0) pthread_cond_signal(&state.finished);
  }
  pthread_mutex_unlock(&state.mutex);
  return nullptr;
}

// Gives the workers their indices of a region; false where they run another region, are too few, or are not there.
bool ThreadPool::State::begin(int region_count, void (*region_task)(void*, int), void* region_context) noexcept {
  if (!at_home()) return false;
  pthread_mutex_lock(&mutex);
  const bool free = !busy && region_count <= workers + 1;
  if (free) {
    busy = true;
    task = region_task;
    context = region_context;
    count = region_count;
    running = region_count - 1;
    ++generation;
    pthread_cond_broadcast(&work);
  }
  pthread_mutex_unlock(&mutex);
  return free;
}

void ThreadPool::State::end() noexcept {
  pthread_mutex_lock(&mutex);
  while (running > 0) pthread_cond_wait(&finished, &mutex);
  busy = false;
  pthread_mutex_unlock(&mutex);
}

void ThreadPool::State::parallel_for(void* pool, int count, void (*task)(void*, int),
                                     void* context) noexcept {
  State& state = *static_cast<State*>(pool);
  if (!state.begin(count, task, context)) {
    for (int index = 0; index < count; ++index) task(context, index);
    return;
  }
  task(context, 0);
  state.end();
}

Status ThreadPool::make(int count, ThreadPool* pool) noexcept {
  if (count < 1 || count > max_threads) {
    return Status::error(StatusCode::invalid_argument, "count: %d threads, expected 1 to %d", count,
                         max_threads);
  }
  if (pool == nullptr) return Status::error(StatusCode::invalid_argument, "pool: null");
  State* state = nullptr;
  if (count > 1) {
    static pthread_once_t counted = PTHREAD_ONCE_INIT;
    pthread_once(&counted, count_forks);
    if (fork_error != 0) {
      return Status::error(StatusCode::out_of_memory, "pool: no memory to be told of forks");
    }
    void* memory = allocate(sizeof(State));
    if (memory == nullptr) {
      return Status::error(StatusCode::out_of_memory, "pool: no memory for %zu bytes", sizeof(State));
    }
    state = new (memory) State();
    state->home = forks;
    pthread_mutex_init(&state->mutex, nullptr);
    pthread_cond_init(&state->work, nullptr);
    pthread_cond_init(&state->finished, nullptr);
  }
  ThreadPool made;
  made.state_ = state;
  for (int index = 1; index < count; ++index) {
    State::Worker& worker = state->worker[index - 1];
    worker.state = state;
    worker.index = index;
    if (pthread_create(&worker.thread, nullptr, State::run, &worker) != 0) {
      return Status::error(StatusCode::out_of_memory, "pool: thread %d of %d could not be started",
                           index + 1, count);
    }
    ++state->workers;
  }
  made.state_ = pool->state_;
  pool->state_ = state;
  return Status();
}

ThreadPool::~ThreadPool() {
  if (state_ == nullptr) return;
  if (state_->at_home()) {
    pthread_mutex_lock(&state_->mutex);
    state_->ending = true;
    pthread_cond_broadcast(&state_->work);
    pthread_mutex_unlock(&state_->mutex);
    for (int w = 0; w < state_->workers; ++w) pthread_join(state_->worker[w].thread, nullptr);
    pthread_cond_destroy(&state_->finished);
    pthread_cond_destroy(&state_->work);
    pthread_mutex_destroy(&state_->mutex);
  }
  release(state_);
}

Threads ThreadPool::threads() noexcept {
  Threads threads;
  if (state_ != nullptr) {
    threads.count = state_->workers + 1;
    threads.parallel_for = State::parallel_for;
    threads.pool = state_;
  }
  return threads;
}

#else

Status ThreadPool::make(int count, ThreadPool* pool) noexcept {
  if (pool == nullptr) return Status::error(StatusCode::invalid_argument, "pool: null");
  if (count == 1) return Status();
  return Status::error(StatusCode::unsupported, "count: %d threads, but this build has no threads",
                       count);
}
ThreadPool::~ThreadPool() {}
Threads ThreadPool::threads() noexcept { return Threads(); }

#endif

}  // namespace attend
