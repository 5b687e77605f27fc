// The pool of threads: idle workers sleep, or for a while watch for work. Nobody waits for a worker that has not begun.
#include "base/parallel.h"

#include <new>

#include "base/memory.h"

#if ATTEND_THREADS
#include <pthread.h>
#endif

namespace attend {

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

struct ThreadPool::State : AwakePool {
  unsigned long home;       // `forks` in the process of its threads
  pthread_mutex_t mutex;
  pthread_cond_t work, finished;
  int workers;              // started
  bool busy, ending;
  bool awake;               // read without the mutex, too, as are left and running
  int left;                 // indices 1 to left of a region are taken by nobody
  int running;              // workers that have taken an index and not ended it
  void (*task)(void*, int);
  void* context;
  pthread_t worker[max_threads];

  // Whether the pool's threads are of this process; a child may read nothing else of the pool.
  bool at_home() const noexcept { return home == forks; }
  void lock() noexcept;
  bool watch() const noexcept;
  int take() noexcept;
  bool begin(int count, void (*region_task)(void*, int), void* region_context) noexcept;
  void end() noexcept;
  static void* run(void* pointer) noexcept;
  static void run_region(void* pool, int count, void (*task)(void*, int), void* context) noexcept;
};

// Whoever holds the mutex does so for less time than a system call takes.
void ThreadPool::State::lock() noexcept {
  for (long spins = 0; spins < 100; ++spins) {
    if (pthread_mutex_trylock(&mutex) == 0) return;
    pause_briefly(spins);
  }
  pthread_mutex_lock(&mutex);
}

// Whether there is an index. Where the pool is to be kept awake, one may come within about a millisecond; half of the turns are system calls.
bool ThreadPool::State::watch() const noexcept {
  for (long spins = 0; spins < 4000 && __atomic_load_n(&awake, __ATOMIC_RELAXED) && __atomic_load_n(&left, __ATOMIC_RELAXED) == 0; ++spins) {
    pause_briefly(spins);
  }
  return __atomic_load_n(&left, __ATOMIC_RELAXED) != 0;
}

// An index of the region that is the caller's now; the mutex is held.
int ThreadPool::State::take() noexcept {
  const int index = left;
  __atomic_store_n(&left, index - 1, __ATOMIC_RELAXED);
  return index;
}

void* ThreadPool::State::run(void* pointer) noexcept {
  State& state = *static_cast<State*>(pointer);
  for (;;) {
    // Whoever wakes too late for an index, or sees one that another takes, watches anew before it sleeps.
    const bool came = state.watch();
    state.lock();
    if (!came && state.left == 0 && !state.ending) pthread_cond_wait(&state.work, &state.mutex);
    if (state.ending) break;
    if (state.left > 0) {
      const int index = state.take();
      __atomic_store_n(&state.running, state.running + 1, __ATOMIC_RELAXED);
      pthread_mutex_unlock(&state.mutex);
      state.task(state.context, index);
      state.lock();
      __atomic_store_n(&state.running, state.running - 1, __ATOMIC_RELAXED);
      if (state.running == 0) pthread_cond_signal(&state.finished);
    }
    pthread_mutex_unlock(&state.mutex);
  }
  pthread_mutex_unlock(&state.mutex);
  return nullptr;
}

// Offers the workers the indices of a region from 1 on; false where they run another region, are too few, or are not there.
bool ThreadPool::State::begin(int count, void (*region_task)(void*, int), void* region_context) noexcept {
  if (!at_home()) return false;
  lock();
  const bool free = !busy && count <= workers + 1;
  if (free) {
    busy = true;
    task = region_task;
    context = region_context;
    __atomic_store_n(&left, count - 1, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&mutex);
  if (free) pthread_cond_broadcast(&work);  // a system call where workers sleep, which first need the mutex
  return free;
}

// Runs the indices that no worker has taken; those of a call find no task left. Its workers end its last stage when the caller does, and are
// here at once.
void ThreadPool::State::end() noexcept {
  for (long spins = 0; spins < 1000 && __atomic_load_n(&left, __ATOMIC_RELAXED) == 0 && __atomic_load_n(&running, __ATOMIC_RELAXED) > 0; ++spins) {
    pause_briefly(spins);
  }
  lock();
  while (left > 0) {
    const int index = take();
    pthread_mutex_unlock(&mutex);
    task(context, index);
    lock();
  }
  while (running > 0) pthread_cond_wait(&finished, &mutex);
  busy = false;
  pthread_mutex_unlock(&mutex);
}

void ThreadPool::State::run_region(void* pool, int count, void (*task)(void*, int),
                                   void* context) noexcept {
  State& state = *static_cast<State*>(static_cast<AwakePool*>(pool));
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
    state->parallel_for = State::run_region;
    state->home = forks;
    pthread_mutex_init(&state->mutex, nullptr);
    pthread_cond_init(&state->work, nullptr);
    pthread_cond_init(&state->finished, nullptr);
  }
  ThreadPool made;
  made.state_ = state;
  for (int index = 1; index < count; ++index) {
    if (pthread_create(&state->worker[index - 1], nullptr, State::run, state) != 0) {
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
    keep_awake(false);
    pthread_mutex_lock(&state_->mutex);
    state_->ending = true;
    pthread_cond_broadcast(&state_->work);
    pthread_mutex_unlock(&state_->mutex);
    for (int w = 0; w < state_->workers; ++w) pthread_join(state_->worker[w], nullptr);
    pthread_cond_destroy(&state_->finished);
    pthread_cond_destroy(&state_->work);
    pthread_mutex_destroy(&state_->mutex);
  }
  release(state_);
}

void ThreadPool::keep_awake(bool awake) noexcept {
  if (state_ != nullptr) __atomic_store_n(&state_->awake, awake, __ATOMIC_RELAXED);
}

Threads ThreadPool::threads() noexcept {
  Threads threads;
  if (state_ != nullptr) {
    threads.count = state_->workers + 1;
    threads.parallel_for = __atomic_load_n(&state_->awake, __ATOMIC_RELAXED) ? run_awake : State::run_region;
    threads.pool = static_cast<AwakePool*>(state_);
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
void ThreadPool::keep_awake(bool) noexcept {}
Threads ThreadPool::threads() noexcept { return Threads(); }

#endif

}  // namespace attend
