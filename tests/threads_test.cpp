// Tests of threads: pools, the caller's parallel_for, equal bits, many callers at once.

#include "engine_test.h"

#include <atomic>
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

TEST_CASE("threads: pools come and go") {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool;
    REQUIRE_OK(ThreadPool::make(1 + round % 5, &pool));
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
