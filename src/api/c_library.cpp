// The C API beside calls: the version, instruction sets, the pool of threads.
#include <new>

#include "api/c_structs.h"
#include "base/memory.h"

struct attend_thread_pool {
  attend::ThreadPool pool;
};

using namespace attend;

extern "C" {

const char* attend_version(void) { return version(); }

const char* attend_isa_name(attend_isa isa) { return isa_name(static_cast<Isa>(isa)); }

int attend_isa_from_name(const char* name, attend_isa* isa) {
  Isa found;
  if (isa == nullptr || !isa_from_name(name, &found)) return 0;
  *isa = static_cast<attend_isa>(found);
  return 1;
}

int attend_isa_compiled(attend_isa isa) { return isa_compiled(static_cast<Isa>(isa)); }

int attend_isa_usable(attend_isa isa) { return isa_usable(static_cast<Isa>(isa)); }

attend_isa attend_best_isa(void) { return static_cast<attend_isa>(best_isa()); }

attend_code attend_thread_pool_make(int count, attend_thread_pool** pool, attend_error* error) {
  if (pool == nullptr) return report_null("pool", error);
  void* const memory = allocate(sizeof(attend_thread_pool));
  if (memory == nullptr) {
    return report(Status::error(StatusCode::out_of_memory, "pool: no memory for %zu bytes", sizeof(attend_thread_pool)), error);
  }
  attend_thread_pool* const made = new (memory) attend_thread_pool;
  const attend_code code = report(ThreadPool::make(count, &made->pool), error);
  if (code == ATTEND_OK) {
    *pool = made;
  } else {
    attend_thread_pool_destroy(made);
  }
  return code;
}

void attend_thread_pool_destroy(attend_thread_pool* pool) {
  if (pool == nullptr) return;
  pool->~attend_thread_pool();
  release(pool);
}

void attend_thread_pool_keep_awake(attend_thread_pool* pool, int awake) {
  if (pool != nullptr) pool->pool.keep_awake(awake != 0);
}

attend_threads attend_thread_pool_threads(attend_thread_pool* pool) {
  if (pool == nullptr) return {};
  const Threads threads = pool->pool.threads();
  return {threads.count, threads.parallel_for, threads.pool};
}

}  // extern "C"
