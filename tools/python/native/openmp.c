/* Runs the tasks of a call on the threads of an OpenMP runtime that the process has loaded, as PyTorch's: those wait for work by
 * spinning, and would take the cores from threads of another pool. */
#include <attend/attend.h>

/* GOMP_parallel of GNU's runtime, which Intel's and LLVM's have, too: runs the function on so many threads, the caller's included. */
typedef void (*parallel_function)(void (*function)(void *data), void *data, unsigned threads, unsigned flags);

/* What attend_threads.pool points to. */
typedef struct openmp_pool {
  parallel_function parallel;
  int threads;
} openmp_pool;

typedef struct work {
  void (*task)(void *context, int index);
  void *context;
  int count;
  int next; /* the first index that no thread has taken */
} work;

static void run_tasks(void *data) {
  work *all = data;
  int index;
  while ((index = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED)) < all->count) all->task(all->context, index);
}

/* An attend_parallel_for. */
__attribute__((visibility("default"))) void attend_python_openmp(void *pool, int count, void (*task)(void *context, int index),
                                                                void *context) {
  const openmp_pool *of = pool;
  work all = {task, context, count, 0};
  const int threads = count < of->threads ? count : of->threads;
  if (threads > 1) {
    of->parallel(run_tasks, &all, (unsigned)threads, 0);
  } else {
    run_tasks(&all);
  }
}
