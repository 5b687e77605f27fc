// Tests of threads: pools, the caller's parallel_for, equal bits, many callers at once.

#include "engine_test.h"

#include "base/parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

using namespace engine_test;

namespace {

/// The caller's ways to run indices: one after the other, backwards, on threads of its own.
void forwards(void* calls, int count, void (*task)(void*, int), void* context) {
  if (calls) ++*static_cast<int*>(calls);
  for (int index = 0; index < count; ++index) task(context, index);
}
void backwards(void*, int count, void (*task)(void*, int), void* context) {
  for (int index = count - 1; index >= 0; --index) task(context, index);
}
void new_threads(void*, int count, void (*task)(void*, int), void* context) {
  std::vector<std::thread> threads;
  for (int index = 0; index < count; ++index) threads.emplace_back(task, context, index);
  for (std::thread& thread : threads) thread.join();
}

Threads threads_of(int count, ParallelFor parallel_for, void* pool = nullptr) {
  Threads threads;
  threads.count = count;
  threads.parallel_for = parallel_for;
  threads.pool = pool;
  return threads;
}

/// Calls `check(threads)` for every way to run on several threads.
template <class Check>
void for_each_threads(Check check) {
  for (int count : {2, 3, 7}) {
    CAPTURE(count);
    ThreadPool pool;
    REQUIRE_OK(ThreadPool::make(count, &pool));
    CHECK(pool.threads().count == count);
    for (int again = 0; again < 3; ++again) check(pool.threads());
    Threads more = pool.threads();
    more.count = count + 1;  // more than the pool has: it still runs every index
    check(more);
    check(threads_of(count, forwards));
    check(threads_of(count, backwards));
    check(threads_of(count, new_threads));
  }
  check(threads_of(max_threads, forwards));
}

/// Whether a child of fork finds `check` true, within a minute: one that hangs is ended. It may not use doctest.
template <class Check>
bool in_child(Check check) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(60);
    _exit(check() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Whether a pool runs each of so many indices once, and all on this thread.
bool runs_here(const Threads& threads, int count) {
  struct Seen {
    std::thread::id here = std::this_thread::get_id();
    int times[16] = {};
    std::atomic<int> elsewhere{0};
  } seen;
  threads.parallel_for(threads.pool, count, [](void* context, int index) {
    Seen& all = *static_cast<Seen*>(context);
    ++all.times[index];
    if (std::this_thread::get_id() != all.here) ++all.elsewhere;
  }, &seen);
  bool right = seen.elsewhere == 0;
  for (int index = 0; index < 16; ++index) right = right && seen.times[index] == (index < count ? 1 : 0);
  return right;
}

/// Whether another thread takes an index, for which this one waits: a pool's caller runs what no worker has taken.
bool has_others(const Threads& threads, int count) {
  struct Seen {
    std::thread::id here = std::this_thread::get_id();
    std::chrono::steady_clock::time_point end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    std::atomic<bool> elsewhere{false};
  } seen;
  threads.parallel_for(threads.pool, count, [](void* context, int) {
    Seen& all = *static_cast<Seen*>(context);
    if (std::this_thread::get_id() != all.here) all.elsewhere = true;
    while (!all.elsewhere && std::chrono::steady_clock::now() < all.end) std::this_thread::yield();
  }, &seen);
  return seen.elsewhere;
}

/// A call large enough to be shared among threads, and what it gives.
struct SharedCall {
  Random random{75};
  Layer layer{Layer::square(96, 3, Isa::best, true), random};
  Tensor x{{3, 150, 96}}, expected{{3, 150, 96}}, output{{3, 150, 96}};
  Workspace workspace;

  SharedCall() {
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, expected));
  }
  /// Whether it gives the same bits on these threads.
  bool same_on(const Threads& threads) {
    AttentionOptions options;
    options.threads = threads;
    const std::size_t bytes = static_cast<std::size_t>(output.count()) * sizeof(float);
    std::memset(output.view.data, 0, bytes);
    return layer.attention.forward(x.view, x.view, x.view, {}, output.view, workspace, options).ok() &&
           std::memcmp(output.view.data, expected.view.data, bytes) == 0;
  }
};

}  // namespace

TEST_CASE("threads: a layer gives the same bits for any number, in any order") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(71);
    MultiHeadAttentionConfig config = Layer::square(96, 3, isa, true);
    config.dropout = 0.3f;
    const Layer layer(config, random);
    for (std::int64_t L : {40, 150}) {
      const std::int64_t B = 3, S = 170;
      CAPTURE(L);
      Tensor queries({B, L, 96}), keys({B, S, 96}), values({B, S, 96});
      queries.fill(random);
      keys.fill(random);
      values.fill(random);
      const Lengths lengths({S, 0, 77}, B);
      for (bool training : {false, true}) {
        CAPTURE(training);
        AttentionOptions options;
        options.training = training;
        Tensor expected({B, L, 96}), expected_weights({B, 3, L, S});
        options.attention_weights = expected_weights.view;
        REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, expected, options));
        for_each_threads([&](const Threads& threads) {
          Tensor output({B, L, 96}), weights({B, 3, L, S});
          options.attention_weights = weights.view;
          options.threads = threads;
          REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, output, options));
          CHECK_SAME_BITS(output, expected);
          CHECK_SAME_BITS(weights, expected_weights);
        });
      }
    }
  }
}

TEST_CASE("threads: the operations give the same bits for any number, in any order") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(72);
    const std::int64_t B = 3, L = 60, S = 140, D = 40;
    Tensor queries({B, L, D}), keys({B, S, D}, random), values({B, S, D}, random), scores({B, L, S});
    queries.fill(random);
    keys.fill(random);
    values.fill(random);
    scores.fill(random);
    const Lengths lengths({S, 0, 77}, B), rows({30, 0, 60}, B);
    DotProductAttention attention;
    REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));

    // All of them, into one list of results.
    const auto run = [&](const Threads& threads) {
      std::vector<Tensor> results;
      OperationOptions options;
      options.isa = isa;
      options.threads = threads;
      AttentionOptions forward_options;
      forward_options.threads = threads;
      Workspace workspace;
      const auto result = [&](const Shape& shape) -> const TensorView& {
        results.push_back(Tensor(shape));
        return results.back().view;
      };
      REQUIRE_OK(matmul(queries.view, keys.view, true, {}, result({B, L, S}), workspace, options));
      REQUIRE_OK(matmul(queries.view, ConstTensorView(values.view.data, D, D), false, {}, result({B, L, D}), workspace, options));
      REQUIRE_OK(sequence_mask(queries.view, rows.view, 3.0f, result({B, L, D}), options));
      REQUIRE_OK(masked_softmax(scores.view, lengths.view, result({B, L, S}), options));
      REQUIRE_OK(transpose_qkv(queries.view, 5, result({B * 5, L, D / 5}), options));
      REQUIRE_OK(transpose_output(queries.view, 3, result({1, L, D * 3}), options));
      REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, lengths.view, result({B, L, D}), workspace, forward_options));
      return results;
    };
    const std::vector<Tensor> expected = run(Threads());
    for_each_threads([&](const Threads& threads) {
      const std::vector<Tensor> results = run(threads);
      for (std::size_t n = 0; n < results.size(); ++n) {
        CAPTURE(n);
        CHECK_SAME_BITS(results[n], expected[n]);
      }
    });
  }
}

TEST_CASE("threads: panels of which a thread claims several at a time give the same bits for any number, in any order") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (std::int64_t outputs : {1537, 3072, 4099}) {  // of 33 panels and more
      CAPTURE(outputs);
      Random random(76);
      const std::int64_t rows = 9, inputs = 150;
      Tensor weight({outputs, inputs}, random), x({rows, inputs}, random), expected({rows, outputs}), output({rows, outputs});
      Linear linear;
      LinearConfig config;
      config.inputs = inputs;
      config.outputs = outputs;
      config.isa = isa;
      REQUIRE_OK(Linear::make(config, {weight.view, {}}, &linear));
      Workspace workspace;
      REQUIRE_OK(linear.forward(x.view, expected.view, workspace));
      for_each_threads([&](const Threads& threads) {
        output.fill(random);
        LinearOptions options;
        options.threads = threads;
        REQUIRE_OK(linear.forward(x.view, output.view, workspace, options));
        CHECK_SAME_BITS(output, expected);
      });
    }
  }
}

TEST_CASE("threads: work too small to share stays with the caller") {
  Random random(73);
  const Layer layer(Layer::square(20, 2, Isa::best), random);
  Tensor x({1, 3, 20}), output({1, 3, 20});
  x.fill(random);
  int calls = 0;
  AttentionOptions options;
  options.threads = threads_of(4, forwards, &calls);
  REQUIRE_OK(layer.forward(x, x, x, {}, output, options));
  CHECK(calls == 0);
}

TEST_CASE("threads: the default is the caller's alone, and so is an empty pool's") {
  ThreadPool pool;
  CHECK(pool.threads().count == 1);
  REQUIRE_OK(ThreadPool::make(1, &pool));
  CHECK(pool.threads().count == 1);
  REQUIRE_OK(ThreadPool::make(3, &pool));
  CHECK(pool.threads().count == 3);
  REQUIRE_OK(ThreadPool::make(2, &pool));  // the old threads end
  CHECK(pool.threads().count == 2);
}

TEST_CASE("threads: a pool runs each index once, on as many threads as it has") {
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(4, &pool));
  const Threads threads = pool.threads();
  for (int count : {1, 2, 4, 9}) {
    CAPTURE(count);
    struct Seen {
      std::atomic<int> times[16] = {};
    } seen;
    threads.parallel_for(threads.pool, count, [](void* context, int index) { ++static_cast<Seen*>(context)->times[index]; }, &seen);
    for (int index = 0; index < 16; ++index) CHECK(seen.times[index] == (index < count ? 1 : 0));
  }
}

TEST_CASE("threads: a pool that is kept awake shares shorter calls, and gives the same bits") {
  ThreadPool pool;
  pool.keep_awake(true);  // of no threads
  CHECK(pool.threads().count == 1);
  REQUIRE_OK(ThreadPool::make(3, &pool));
  CHECK(least_threaded_work(pool.threads()) == 2e6);
  pool.keep_awake(true);
  CHECK(least_threaded_work(pool.threads()) == 2e5);

  // Calls in a row, calls that find the threads asleep, and calls as they fall asleep; fewer indices than threads, and more.
  Random random(79);
  for (int call = 0; call < 300; ++call) {
    CAPTURE(call);
    if (call == 200) pool.keep_awake(false);
    if (call == 250) pool.keep_awake(true);
    const int count = 2 + call % 3;
    std::atomic<int> ran{0};
    const Threads threads = pool.threads();
    threads.parallel_for(threads.pool, count, [](void* context, int index) { *static_cast<std::atomic<int>*>(context) += 1 << (8 * index); }, &ran);
    CHECK(ran == ((std::int64_t{1} << (8 * count)) - 1) / 255);  // each once
    if (call % 10 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200 * (call / 10)));
  }

  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const Layer layer(Layer::square(200, 4, isa), random);  // a row, and two for the weights: 480,000 multiply-adds
    Tensor x({1, 1, 200}), output({1, 1, 200}), expected({1, 1, 200});
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, expected));
    AttentionOptions options;
    options.threads = pool.threads();
    REQUIRE_OK(layer.forward(x, x, x, {}, output, options));
    CHECK_SAME_BITS(output, expected);

    struct Counted : AwakePool {
      int calls = 0;
    } counted;
    counted.parallel_for = [](void* awake, int count, void (*task)(void*, int), void* context) {
      forwards(&static_cast<Counted*>(static_cast<AwakePool*>(awake))->calls, count, task, context);
    };
    options.threads = threads_of(3, run_awake, static_cast<AwakePool*>(&counted));
    REQUIRE_OK(layer.forward(x, x, x, {}, output, options));
    CHECK(counted.calls == 1);
    int calls = 0;
    options.threads = threads_of(3, forwards, &calls);
    REQUIRE_OK(layer.forward(x, x, x, {}, output, options));
    CHECK(calls == 0);
  }
}

TEST_CASE("threads: a pool that is kept awake serves many threads and forks, and ends while its threads wait") {
  for (int round = 0; round < 10; ++round) {
    ThreadPool pool;
    REQUIRE_OK(ThreadPool::make(3, &pool));
    pool.keep_awake(true);
    const Threads threads = pool.threads();
    std::atomic<int> ran{0};
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 3; ++caller) {
      callers.emplace_back([&] {
        for (int call = 0; call < 200; ++call) threads.parallel_for(threads.pool, 3, [](void* context, int) { ++*static_cast<std::atomic<int>*>(context); }, &ran);
      });
    }
    CHECK(in_child([&] { return runs_here(threads, 3); }));
    for (std::thread& caller : callers) caller.join();
    CHECK(ran == 3 * 200 * 3);
  }
}

TEST_CASE("threads: a pool's caller waits for no worker that has not begun") {
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(2, &pool));
  int here = 0;
  for (int call = 0; call < 2000; ++call) here += runs_here(pool.threads(), 2) ? 1 : 0;
  CHECK(here > 0);  // both indices
}

TEST_CASE("threads: pools come and go") {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool;
    REQUIRE_OK(ThreadPool::make(1 + round % 5, &pool));
    pool.keep_awake(round % 2 == 0);
  }
}

TEST_CASE("threads: many threads run one layer at once, each with its own workspace") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(74);
    const std::int64_t B = 2, L = 50, S = 90, E = 64;
    const Layer layer(Layer::square(E, 4, isa, true), random);
    Tensor queries({B, L, E}), keys({B, S, E}), values({B, S, E}), expected({B, L, E});
    queries.fill(random);
    keys.fill(random);
    values.fill(random);
    const Lengths lengths({S, 40}, B);
    REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, expected));
    ThreadPool shared;  // some of them share a pool: one uses it, the others run alone
    REQUIRE_OK(ThreadPool::make(2, &shared));

    const int callers = 8, rounds = 10;
    std::vector<Tensor> outputs;
    for (int n = 0; n < callers; ++n) outputs.push_back(Tensor({B, L, E}));
    std::atomic<int> errors{0};
    std::vector<std::thread> threads;
    for (int n = 0; n < callers; ++n) {
      threads.emplace_back([&, n] {
        Workspace workspace;
        AttentionOptions options;
        if (n % 2 == 1) options.threads = shared.threads();
        for (int round = 0; round < rounds; ++round) {
          const Status status = layer.attention.forward(queries.view, keys.view, values.view, lengths.view,
                                                        outputs[static_cast<std::size_t>(n)].view, workspace, options);
          if (!status.ok()) ++errors;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(errors == 0);
    for (const Tensor& output : outputs) CHECK_SAME_BITS(output, expected);
  }
}

TEST_CASE("threads: in a child of fork a pool made before runs calls on their caller's thread, and ends") {
  SharedCall call;
  std::optional<ThreadPool> pool;
  pool.emplace();
  REQUIRE_OK(ThreadPool::make(3, &*pool));
  const Threads before = pool->threads();
  CHECK(call.same_on(before));
  CHECK(in_child([&] {
    if (!runs_here(before, 3) || !runs_here(pool->threads(), 3) || !call.same_on(before)) return false;
    // A child's child, whatever number it has.
    const pid_t child = fork();
    if (child == 0) {
      const bool right = runs_here(before, 3) && call.same_on(before);
      pool.reset();
      _exit(right ? 0 : 1);
    }
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return false;
    pool.reset();
    return true;
  }));
  CHECK(in_child([&] { return ThreadPool::make(1, &*pool).ok() && pool->threads().count == 1; }));
  // The parent goes on with its threads.
  CHECK(has_others(pool->threads(), 3));
  CHECK(call.same_on(pool->threads()));
}

TEST_CASE("threads: a child of fork makes pools of its own, in place of its parent's too") {
  SharedCall call;
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(3, &pool));
  const bool may_start_threads = in_child([] {
    std::thread([] {}).join();
    return true;
  });
  if (!may_start_threads) {  // under the thread sanitizer, and in qemu 7.2
    MESSAGE("not tested: here a child of a process with several threads cannot start any");
    return;
  }
  CHECK(in_child([&] {
    ThreadPool other;
    if (!ThreadPool::make(2, &other).ok() || !has_others(other.threads(), 2) || !call.same_on(other.threads())) return false;
    if (!ThreadPool::make(2, &pool).ok() || !has_others(pool.threads(), 2) || !call.same_on(pool.threads())) return false;
    const pid_t child = fork();  // where those are a parent's again
    if (child == 0) _exit(runs_here(other.threads(), 2) && call.same_on(pool.threads()) ? 0 : 1);
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
  }));
  CHECK(has_others(pool.threads(), 3));
}

TEST_CASE("threads: a child of fork is free of what another thread was doing in the pool") {
  SharedCall call;
  std::optional<ThreadPool> pool;
  pool.emplace();
  REQUIRE_OK(ThreadPool::make(3, &*pool));
  const Threads threads = pool->threads();
  const auto child = [&] {
    const bool right = runs_here(threads, 3) && call.same_on(threads);
    pool.reset();
    return right;
  };
  SUBCASE("a region of which no index has ended") {
    struct Waiting {
      std::atomic<int> begun{0};
      std::atomic<bool> go_on{false};
    } waiting;
    std::thread other([&] {
      threads.parallel_for(threads.pool, 3, [](void* context, int) {
        Waiting& all = *static_cast<Waiting*>(context);
        ++all.begun;
        while (!all.go_on) std::this_thread::yield();
      }, &waiting);
    });
    while (waiting.begun < 3) std::this_thread::yield();
    const bool right = in_child(child);
    waiting.go_on = true;
    other.join();
    CHECK(right);
  }
  SUBCASE("regions that come and go: in some forks another thread holds the mutex") {
    std::atomic<bool> enough{false};
    std::thread other([&] {
      while (!enough) threads.parallel_for(threads.pool, 3, [](void*, int) {}, nullptr);
    });
    bool right = true;
    for (int n = 0; n < 40 && right; ++n) right = in_child(child);
    enough = true;
    other.join();
    CHECK(right);
  }
  CHECK(has_others(threads, 3));
  CHECK(call.same_on(threads));
}
