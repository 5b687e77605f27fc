// Tests of memory: the heap, workspaces and packed weights in the caller's memory, and running out of it.

#include "engine_test.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "base/memory.h"

#include <pthread.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#include <unistd.h>

#include <fstream>

// Under a sanitizer too, an allocation that cannot be is null.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

using namespace engine_test;

namespace {

/// While it lives, the engine's heap is counted, and refuses allocation number `failing` (from 0; -1: none)
/// and all that follow.
class WatchedHeap {
 public:
  explicit WatchedHeap(int failing = -1) {
    count_ = 0;
    failing_ = failing;
    attend::allocator = take;
  }
  ~WatchedHeap() { attend::allocator = aligned_alloc; }
  WatchedHeap(const WatchedHeap&) = delete;
  WatchedHeap& operator=(const WatchedHeap&) = delete;
  int count() const { return count_; }

 private:
  static void* take(std::size_t alignment, std::size_t bytes) {
    const int number = count_++;
    return failing_ >= 0 && number >= failing_ ? nullptr : aligned_alloc(alignment, bytes);
  }
  static int count_, failing_;
};
int WatchedHeap::count_ = 0;
int WatchedHeap::failing_ = -1;

/// Bytes of the process's heap that are in use; 0 where that cannot be asked.
std::size_t heap_in_use() {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  return mallinfo2().uordblks;
#else
  return 0;
#endif
}

/// Whether calls leave memory behind on the process's heap. The first ones may: malloc keeps a few freed blocks
/// of each size for the next taker, and counts them as in use.
template <class Call>
bool leaks(Call call) {
  for (int warm = 0; warm < 40; ++warm) call();
  const std::size_t before = heap_in_use();
  for (int again = 0; again < 10; ++again) call();
  return heap_in_use() != before;
}

/// Memory of the caller's at an offset from a cache line, with canaries behind it.
class CallersMemory {
 public:
  CallersMemory(std::size_t bytes, std::size_t offset)
      : bytes_(bytes), offset_(offset), block_(static_cast<unsigned char*>(aligned_alloc(64, all()))) {
    REQUIRE(block_ != nullptr);
    std::memset(block_, 0xa5, all());
  }
  ~CallersMemory() { std::free(block_); }
  CallersMemory(const CallersMemory&) = delete;
  CallersMemory& operator=(const CallersMemory&) = delete;
  void* data() const { return block_ + offset_; }
  std::size_t size() const { return bytes_; }
  bool surroundings_untouched() const { return is_canary(0, offset_) && is_canary(offset_ + bytes_, all()); }
  bool untouched() const { return is_canary(0, all()); }

 private:
  std::size_t all() const { return (bytes_ + offset_ + 127) / 64 * 64; }
  bool is_canary(std::size_t from, std::size_t to) const {
    for (std::size_t i = from; i < to; ++i) {
      if (block_[i] != 0xa5) return false;
    }
    return true;
  }
  std::size_t bytes_, offset_;
  unsigned char* block_;
};

void in_order(void*, int count, void (*task)(void*, int), void* context) {
  for (int index = 0; index < count; ++index) task(context, index);
}

/// The options of a call on so many threads, one after the other.
AttentionOptions on_threads(int count) {
  AttentionOptions options;
  options.threads.count = count;
  options.threads.parallel_for = in_order;
  return options;
}

/// Every call that may take memory, each a function of a workspace.
struct Calls {
  Tensor x, keys, weights, output, product;
  Layer layer;
  DotProductAttention attention;
  OperationOptions options;
  AttentionOptions with_weights, core_options;
  Tensor table = Tensor({8, 2});
  KeyValueCache cache;

  static Layer make_layer(Isa isa) {
    Random random(81);
    static const float frequencies[] = {1.0f, 0.1f, 0.01f};
    MultiHeadAttentionConfig config = Layer::square(40, 2, isa, true);
    config.num_kv_heads = 1;
    config.qk_norm = true;
    config.rotary.inverse_frequencies = ConstTensorView(frequencies, 3);
    return Layer(config, random);
  }
  explicit Calls(Isa isa)
      : x({2, 20, 40}), keys({2, 70, 40}), weights({2, 2, 20, 70}), output({2, 20, 40}), product({2, 20, 70}), layer(make_layer(isa)) {
    Random random(82);
    x.fill(random);
    keys.fill(random);
    options.isa = isa;
    with_weights.attention_weights = weights.view;
    core_options.isa = isa;
    core_options.causal = true;
    core_options.relative_position_bias.table = table.fill(random).view;
    REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
    KeyValueCacheConfig config;
    config.batch = config.num_kv_heads = 2;
    config.head_dim = 20;
    config.capacity = 100;
    config.ring = true;
    REQUIRE_OK(KeyValueCache::make(config, &cache));
  }
  Status forward(Workspace& workspace) {
    return layer.attention.forward(x.view, keys.view, keys.view, {}, output.view, workspace, with_weights);
  }
  Status dot_product(Workspace& workspace) {
    return attention.forward(x.view, keys.view, keys.view, {}, output.view, workspace);
  }
  Status core(Workspace& workspace) {
    return attend::attention(one_head(x), one_head(keys), one_head(keys), {}, one_head(output), workspace, core_options);
  }
  Status cached(Workspace& workspace) {
    AttentionOptions windowed = core_options;
    windowed.window_left = 50;
    const Status status = cache.append(one_head(x), one_head(x), {}, options);
    return status.ok() ? attend::attention_cached(one_head(x), cache, {}, one_head(output), workspace, windowed) : status;
  }
  // (B, n, 40) as two heads of 20 in place.
  static TensorView one_head(Tensor& tensor) {
    TensorView view(tensor.view.data, tensor.view.sizes[0], 2, tensor.view.sizes[1], 20);
    view.strides[1] = 20;
    view.strides[2] = 40;
    return view;
  }
  Status multiply(Workspace& workspace) { return matmul(x.view, keys.view, true, {}, product.view, workspace, options); }
};

}  // namespace

TEST_CASE("memory: after the first call of a shape the heap is left alone") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Calls calls(isa);
    for (Status (Calls::*call)(Workspace&) : {&Calls::forward, &Calls::dot_product, &Calls::core, &Calls::cached, &Calls::multiply}) {
      Workspace workspace;
      {
        const WatchedHeap heap;
        REQUIRE_OK((calls.*call)(workspace));
        CHECK(heap.count() == 1);
      }
      const std::size_t bytes = workspace.bytes();
      CHECK(bytes > 0);
      const WatchedHeap heap(0);
      const std::size_t before = heap_in_use();
      for (int again = 0; again < 3; ++again) REQUIRE_OK((calls.*call)(workspace));
      CHECK(heap_in_use() == before);
      CHECK(heap.count() == 0);
      CHECK(workspace.bytes() == bytes);
    }
    // Nor do the operations without a workspace ever touch it.
    const WatchedHeap heap(0);
    const Lengths lengths({10, 70}, 2);
    REQUIRE_OK(sequence_mask(calls.keys.view, lengths.view, 0.0f, calls.keys.view, calls.options));
    REQUIRE_OK(masked_softmax(calls.product.view, lengths.view, calls.product.view, calls.options));
    Tensor heads({4, 20, 20});
    REQUIRE_OK(transpose_qkv(calls.x.view, 2, heads.view, calls.options));
    REQUIRE_OK(transpose_output(heads.view, 2, calls.x.view, calls.options));
    CHECK(heap.count() == 0);
  }
}

TEST_CASE("memory: a smaller call fits into what a larger one took, a larger one grows it") {
  Calls calls(Isa::best);
  Workspace workspace;
  REQUIRE_OK(calls.forward(workspace));
  const std::size_t bytes = workspace.bytes();
  Tensor small({1, 3, 40}), large({2, 200, 40}), output({2, 200, 40});
  small.fill(1.0f);
  large.fill(1.0f);
  {
    const WatchedHeap heap(0);
    Tensor small_output({1, 3, 40});
    REQUIRE_OK(calls.layer.attention.forward(small.view, small.view, small.view, {}, small_output.view, workspace));
  }
  const WatchedHeap heap;
  REQUIRE_OK(calls.layer.attention.forward(large.view, large.view, large.view, {}, output.view, workspace));
  CHECK(heap.count() == 1);
  CHECK(workspace.bytes() > bytes);
}

TEST_CASE("memory: each failing allocation is an out_of_memory that changes nothing and loses nothing") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Calls calls(isa);
    const MultiHeadAttentionConfig config = calls.layer.config;
    struct Attempt {
      std::string name;
      int allocations;
      Status (*run)(Calls& calls, Workspace& workspace, MultiHeadAttention& attention, ThreadPool& pool);
    };
    const Attempt attempts[] = {
        {"make", 1, [](Calls& c, Workspace&, MultiHeadAttention& attention, ThreadPool&) {
           return MultiHeadAttention::make(c.layer.config, c.layer.weights, &attention);
         }},
        {"make_random", 2, [](Calls& c, Workspace&, MultiHeadAttention& attention, ThreadPool&) {
           return MultiHeadAttention::make_random(c.layer.config, 1, &attention);
         }},
        {"pool", 1, [](Calls&, Workspace&, MultiHeadAttention&, ThreadPool& pool) { return ThreadPool::make(2, &pool); }},
        {"cache", 1, [](Calls& c, Workspace&, MultiHeadAttention&, ThreadPool&) {
           KeyValueCache made;
           return KeyValueCache::make(c.cache.config(), &made);
         }},
        {"forward", 1, [](Calls& c, Workspace& workspace, MultiHeadAttention&, ThreadPool&) { return c.forward(workspace); }},
        {"dot product", 1, [](Calls& c, Workspace& workspace, MultiHeadAttention&, ThreadPool&) { return c.dot_product(workspace); }},
        {"matmul", 1, [](Calls& c, Workspace& workspace, MultiHeadAttention&, ThreadPool&) { return c.multiply(workspace); }},
    };
    for (const Attempt& attempt : attempts) {
      CAPTURE(attempt.name);
      for (int failing = 0; failing <= attempt.allocations; ++failing) {
        CAPTURE(failing);
        MultiHeadAttention attention;
        ThreadPool pool;
        Workspace workspace;
        const auto fail = [&] {
          const WatchedHeap heap(failing);
          return attempt.run(calls, workspace, attention, pool).ok();
        };
        if (failing < attempt.allocations) CHECK(!leaks(fail));
        const WatchedHeap heap(failing);
        const Status status = attempt.run(calls, workspace, attention, pool);
        if (failing == attempt.allocations) {
          CHECK(status.ok());
          CHECK(heap.count() == attempt.allocations);
          continue;
        }
        CHECK(status.code() == StatusCode::out_of_memory);
        CHECK(std::string(status.message()).find("bytes") + std::string(status.message()).find("floats") != 2 * std::string::npos);
        CHECK(calls.output.untouched());
        CHECK(calls.weights.untouched());
        CHECK(calls.product.untouched());
        CHECK(workspace.bytes() == 0);
        CHECK(attention.isa() == Isa::best);
        CHECK(pool.threads().count == 1);
      }
      calls = Calls(isa);
    }
    CHECK(config.isa == isa);
  }
}

TEST_CASE("memory: workspace_bytes is enough at any alignment, and no byte too many at the worst") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(83);
    for (int round = 0; round < share_of(20); ++round) {
      const std::int64_t H = random.between(1, 4), E = H * random.between(1, 70), B = random.between(1, 3);
      const std::int64_t L = random.between(1, 60), S = random.between(0, 150);
      CAPTURE(text_of({B, H, L, S, E}));
      MultiHeadAttentionConfig config = Layer::square(E, H, isa);
      config.num_kv_heads = random.one_in(2) ? 1 : 0;
      config.head_dim = random.one_in(2) ? E / H : 0;
      const Layer layer(config, random);
      Tensor queries({B, L, E}), keys({B, S, E}), output({B, L, E}), expected({B, L, E});
      queries.fill(random);
      keys.fill(random);
      REQUIRE_OK(layer.forward(queries, keys, keys, {}, expected));
      for (int threads : {1, 3}) {
        CAPTURE(threads);
        // Small calls run on one thread, and then need no more than for one.
        const std::int64_t narrow = config.num_kv_heads == 1 ? E / H : E;
        const bool shared = 2.0 * static_cast<double>((B * L + 2) * E * E + (B * S + 2) * E * narrow) >= 2e6;
        const AttentionOptions options = on_threads(threads);
        const std::size_t bytes = layer.attention.workspace_bytes({B, L, S}, options);
        REQUIRE(bytes > 0);
        for (std::size_t offset : {0, 1, 4, 63}) {
          CAPTURE(offset);
          const CallersMemory memory(bytes, offset);
          Workspace workspace(memory.data(), memory.size());
          output.fill(not_a_number);
          const WatchedHeap heap(0);
          REQUIRE_OK(layer.attention.forward(queries.view, keys.view, keys.view, {}, output.view, workspace, options));
          CHECK_SAME_BITS(output, expected);
          CHECK(memory.surroundings_untouched());
        }
        if (threads > 1 && !shared) continue;
        const CallersMemory memory(bytes, 1);
        Workspace workspace(memory.data(), bytes - 1);
        Tensor untouched({B, L, E});
        const Status status = layer.attention.forward(queries.view, keys.view, keys.view, {}, untouched.view, workspace, options);
        CHECK(status.code() == StatusCode::out_of_memory);
        CHECK(std::string(status.message()).find("workspace: holds " + std::to_string(bytes - 64) + " bytes, " +
                                                 std::to_string(bytes - 63) + " are needed") == 0);
        CHECK(untouched.untouched());
      }
    }
  }
}

TEST_CASE("memory: the operations' workspace bytes are enough at any alignment, and no byte too many at the worst") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(85);
    for (int round = 0; round < share_of(20); ++round) {
      const std::int64_t B = random.between(1, 3), L = random.between(1, 60), S = random.between(1, 150), D = random.between(1, 70);
      CAPTURE(text_of({B, L, S, D}));
      Tensor queries({B, L, D}), keys({B, S, D}), output({B, L, D}), expected({B, L, D}), product({B, L, S}), expected_product({B, L, S});
      queries.fill(random);
      keys.fill(random);
      if (random.one_in(2)) keys.view.strides[2] = 0;  // values that are copied
      DotProductAttention attention;
      REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
      OperationOptions options;
      options.isa = isa;
      Workspace own;
      AttentionOptions forward;
      Tensor table({random.between(4, 40), 1});
      const bool biased = round % 2 == 1;  // by a table in the workspace
      if (biased) forward.relative_position_bias.table = table.fill(random).view;
      REQUIRE_OK(attention.forward(queries.view, keys.view, keys.view, {}, expected.view, own, forward));
      REQUIRE_OK(matmul(queries.view, keys.view, true, {}, expected_product.view, own, options));
      for (int threads : {1, 3}) {
        forward.threads = on_threads(threads).threads;
        const std::size_t bytes = attention.workspace_bytes(queries.view, keys.view, keys.view, forward);
        const std::size_t unbiased = attention.workspace_bytes(queries.view, keys.view, keys.view, on_threads(threads));
        CHECK((biased ? bytes > unbiased : bytes == unbiased));
        for (std::size_t offset : {0, 1, 63}) {
          const CallersMemory memory(bytes, offset);
          Workspace workspace(memory.data(), memory.size());
          output.fill(not_a_number);
          REQUIRE_OK(attention.forward(queries.view, keys.view, keys.view, {}, output.view, workspace, forward));
          CHECK_SAME_BITS(output, expected);
          CHECK(memory.surroundings_untouched());
        }
        const CallersMemory memory(bytes, 1);
        Workspace workspace(memory.data(), bytes - 1);
        CHECK(attention.forward(queries.view, keys.view, keys.view, {}, output.view, workspace, forward).code() == StatusCode::out_of_memory);
      }
      const std::size_t bytes = matmul_workspace_bytes(queries.view, keys.view, true, {isa, {}});
      for (std::size_t offset : {0, 1, 63}) {
        const CallersMemory memory(bytes, offset);
        Workspace workspace(memory.data(), memory.size());
        product.fill(not_a_number);
        REQUIRE_OK(matmul(queries.view, keys.view, true, {}, product.view, workspace, options));
        CHECK_SAME_BITS(product, expected_product);
        CHECK(memory.surroundings_untouched());
      }
      const CallersMemory memory(bytes, 1);
      Workspace workspace(memory.data(), bytes - 1);
      CHECK(matmul(queries.view, keys.view, true, {}, product.view, workspace, options).code() == StatusCode::out_of_memory);
    }
    Tensor x({2, 3, 4}), y({2, 5, 6});
    DotProductAttention attention;
    CHECK(attention.workspace_bytes(x.view, x.view, x.view) == 0);  // not made
    REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
    CHECK(attention.workspace_bytes(x.view, x.view, x.view) > 0);
    CHECK(attention.workspace_bytes(x.view, y.view, y.view) == 0);
    CHECK(attention.workspace_bytes(x.view, x.view, x.view, on_threads(0)) == 0);
    CHECK(attention.workspace_bytes(x.view, x.view, x.view, on_threads(max_threads + 1)) == 0);
    AttentionOptions of_heads;
    of_heads.relative_position_bias.table = ConstTensorView(x.view.data, 8, 2);
    CHECK(attention.workspace_bytes(x.view, x.view, x.view, of_heads) == 0);
    CHECK(matmul_workspace_bytes(x.view, y.view, true, {isa, {}}) == 0);
  }
}

TEST_CASE("memory: workspace_bytes of packed sequences is enough, and no byte too many at the worst") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(87);
    MultiHeadAttentionConfig config = Layer::square(40, 4, isa);
    config.num_kv_heads = 2;
    const Layer layer(config, random);
    const std::int64_t starts[] = {0, 3, 3, 30, 41};
    Tensor rows({1, 41, 40}), output({1, 41, 40});
    rows.fill(random);
    AttentionOptions options;
    options.query_starts = options.key_starts = IndexView(starts, 5);
    const std::size_t bytes = layer.attention.workspace_bytes({1, 41, 41}, options);
    const CallersMemory memory(bytes, 1);
    Workspace enough(memory.data(), bytes), too_little(memory.data(), bytes - 1);
    const WatchedHeap heap(0);
    CHECK(layer.attention.forward(rows.view, rows.view, rows.view, {}, output.view, too_little, options).code() == StatusCode::out_of_memory);
    CHECK(output.untouched());
    REQUIRE_OK(layer.attention.forward(rows.view, rows.view, rows.view, {}, output.view, enough, options));
    CHECK(memory.surroundings_untouched());
  }
}

TEST_CASE("memory: workspace_bytes is 0 where no call can be") {
  Random random(84);
  const Layer layer(Layer::square(8, 1, Isa::best), random);
  const MultiHeadAttention& attention = layer.attention;
  CHECK(attention.workspace_bytes({1, 1, 1}) > 0);
  CHECK(attention.workspace_bytes({1, 1, 1}, on_threads(max_threads)) > 0);
  CHECK(attention.workspace_bytes({-1, 1, 1}) == 0);
  CHECK(attention.workspace_bytes({1, -1, 1}) == 0);
  CHECK(attention.workspace_bytes({1, 1, -1}) == 0);
  CHECK(attention.workspace_bytes({1, 1, 1}, on_threads(0)) == 0);
  CHECK(attention.workspace_bytes({1, 1, 1}, on_threads(max_threads + 1)) == 0);
  CHECK(attention.workspace_bytes({INT64_MAX, INT64_MAX, INT64_MAX}) == 0);
  CHECK(attention.workspace_bytes({1, INT64_MAX, 1}) == 0);
  CHECK(attention.workspace_bytes({INT64_MAX, 0, 0}) == 0);
  CHECK(MultiHeadAttention().workspace_bytes({1, 1, 1}) == 0);
}

TEST_CASE("memory: packed_bytes is enough at any alignment, and one byte less is refused") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(85);
    for (int round = 0; round < share_of(20); ++round) {
      MultiHeadAttentionConfig config;
      config.num_heads = random.between(1, 4);
      config.num_hiddens = config.num_heads * random.between(1, 40);
      config.key_size = random.between(1, 60);
      config.query_size = random.between(1, 60);
      config.value_size = random.between(1, 60);
      config.bias = random.one_in(2);
      config.isa = isa;
      const std::int64_t D = random.between(1, 40);
      Tensor frequencies({random.between(0, D / 2)});
      if (random.one_in(2)) {
        config.num_kv_heads = 1;
        config.head_dim = D;
        config.output_size = config.num_hiddens;
        config.qk_norm = random.one_in(2);
        config.rotary.inverse_frequencies = frequencies.fill(random).view;
      }
      const Layer layer(config, random);
      const std::int64_t E = config.num_hiddens;
      Tensor queries({1, 3, config.query_size}), keys({1, 5, config.key_size}), values({1, 5, config.value_size});
      Tensor expected({1, 3, E}), output({1, 3, E});
      queries.fill(random);
      keys.fill(random);
      values.fill(random);
      REQUIRE_OK(layer.forward(queries, keys, values, {}, expected));
      const std::size_t bytes = MultiHeadAttention::packed_bytes(config);
      for (std::size_t offset : {0, 1, 63}) {
        CAPTURE(offset);
        const CallersMemory memory(bytes, offset);
        MultiHeadAttention attention;
        {
          const WatchedHeap heap(0);
          REQUIRE_OK(MultiHeadAttention::make(config, layer.weights, &attention, memory.data(), memory.size()));
        }
        Workspace workspace;
        REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, {}, output.view, workspace));
        CHECK_SAME_BITS(output, expected);
        CHECK(memory.surroundings_untouched());
      }
      const CallersMemory memory(bytes, 0);
      MultiHeadAttention attention;
      const Status status = MultiHeadAttention::make(config, layer.weights, &attention, memory.data(), bytes - 1);
      CHECK(status.code() == StatusCode::out_of_memory);
      CHECK(std::string(status.message()) == "memory_bytes: " + std::to_string(bytes - 1) +
                                                 ", expected at least packed_bytes(config) = " + std::to_string(bytes));
      CHECK(attention.isa() == Isa::best);
      CHECK(memory.untouched());
    }
  }
}

TEST_CASE("memory: packed_bytes is 0 for a config that is not valid") {
  MultiHeadAttentionConfig config = Layer::square(12, 3, Isa::best);
  CHECK(MultiHeadAttention::packed_bytes(config) > 0);
  config.num_heads = 5;
  CHECK(MultiHeadAttention::packed_bytes(config) == 0);
  config = Layer::square(12, 3, static_cast<Isa>(99));
  CHECK(MultiHeadAttention::packed_bytes(config) == 0);
}

TEST_CASE("memory: with the caller's everywhere, all works where the heap gives nothing") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Calls calls(isa);
    Tensor expected({2, 20, 40}), expected_dot_product({2, 20, 40}), expected_product({2, 20, 70});
    {
      Workspace workspace;
      REQUIRE_OK(calls.dot_product(workspace));
      expected_dot_product.copy(calls.output);
      REQUIRE_OK(calls.forward(workspace));
      expected.copy(calls.output);
      REQUIRE_OK(calls.multiply(workspace));
      expected_product.copy(calls.product);
    }
    const CallersMemory packed(MultiHeadAttention::packed_bytes(calls.layer.config), 5);
    const CallersMemory memory(1 << 20, 3);
    const WatchedHeap heap(0);
    MultiHeadAttention attention;
    REQUIRE_OK(MultiHeadAttention::make(calls.layer.config, calls.layer.weights, &attention, packed.data(), packed.size()));
    MultiHeadAttention moved(static_cast<MultiHeadAttention&&>(attention));
    calls.layer.attention = static_cast<MultiHeadAttention&&>(moved);
    Workspace workspace(memory.data(), memory.size());
    REQUIRE_OK(calls.dot_product(workspace));
    CHECK_SAME_BITS(calls.output, expected_dot_product);
    REQUIRE_OK(calls.forward(workspace));
    CHECK_SAME_BITS(calls.output, expected);
    REQUIRE_OK(calls.multiply(workspace));
    CHECK_SAME_BITS(calls.product, expected_product);
    CHECK(heap.count() == 0);
  }
}

TEST_CASE("memory: a workspace over no memory, or too little, refuses without touching anything") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Calls calls(isa);
    unsigned char little[100];
    for (std::size_t bytes : {std::size_t{0}, std::size_t{1}, sizeof little}) {
      Workspace none(nullptr, bytes), some(little, bytes);
      for (Workspace* workspace : {&none, &some}) {
        for (Status (Calls::*call)(Workspace&) : {&Calls::forward, &Calls::dot_product, &Calls::core, &Calls::cached, &Calls::multiply}) {
          const Status status = (calls.*call)(*workspace);
          CHECK(status.code() == StatusCode::out_of_memory);
          CHECK(std::string(status.message()).find("workspace: holds ") == 0);
        }
      }
    }
    CHECK(calls.output.untouched());
    CHECK(calls.weights.untouched());
    CHECK(calls.product.untouched());
  }
}

// Sanitizers have frames of their own.
#if defined(__has_feature)
#define HAS_FEATURE(feature) __has_feature(feature)
#else
#define HAS_FEATURE(feature) 0
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !HAS_FEATURE(address_sanitizer) && !HAS_FEATURE(thread_sanitizer)
namespace {

/// Runs a call on a painted stack and counts the bytes below the call's own frame that it has written. It has run before: the
/// first call of a function of a shared library takes 3 KB and more, of the dynamic linker's, and malloc's of a thread 4.
template <class Call>
std::size_t stack_of(const Call& call) {
  call();
  constexpr std::size_t size = 256 * 1024;
  struct Run {
    const Call& call;
    unsigned char* top;
  } run = {call, nullptr};
  unsigned char* stack = static_cast<unsigned char*>(aligned_alloc(4096, size));
  REQUIRE(stack != nullptr);
  std::memset(stack, 0xa5, size);
  pthread_attr_t attributes;
  pthread_t thread;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstack(&attributes, stack, size) == 0);
  REQUIRE(pthread_create(&thread, &attributes, [](void* pointer) -> void* {
    Run& started = *static_cast<Run*>(pointer);
    started.top = static_cast<unsigned char*>(__builtin_frame_address(0));
    started.call();
    return nullptr;
  }, &run) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
  std::size_t below = 0;
  while (stack[below] == 0xa5) ++below;
  const std::size_t used = static_cast<std::size_t>(run.top - stack) - below;
  std::free(stack);
  return used;
}

}  // namespace

TEST_CASE("memory: a call takes at most 8 KiB of stack") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Calls calls(isa);
    Workspace workspace;
    for (Status (Calls::*call)(Workspace&) : {&Calls::forward, &Calls::dot_product, &Calls::core, &Calls::cached, &Calls::multiply}) {
      bool ok = false;
      const std::size_t bytes = stack_of([&] { ok = (calls.*call)(workspace).ok(); });
      CHECK(ok);
      CHECK(bytes > 0);
      CHECK(bytes <= 7168);  // 1 KiB less, for not every way through a call is taken here: stack_test.cpp sums up the deepest
      if (std::getenv("ATTEND_SHOW_STACK") != nullptr) MESSAGE(name_of(isa) << ": " << bytes << " bytes");
    }
  }
}

TEST_CASE("memory: making a layer takes its packed bytes and 5 %, also while it is made, of low precision too") {
  // In kilobytes: what is resident, and the most that was since the line before reset it.
  const auto resident = [](const char* name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind(name, 0) == 0) return std::atoll(line.c_str() + std::strlen(name));
    }
    return 0LL;
  };
  std::ofstream reset("/proc/self/clear_refs");
  if (!(reset << "5" << std::flush) || std::getenv("ATTEND_EMULATOR") != nullptr || resident("VmHWM:") == 0) {
    MESSAGE("skipped: nothing tells the most memory that was resident");
    return;
  }
  constexpr std::int64_t width = 2048;
  std::vector<float> row(width, 0.5f);
  const std::int64_t sizes[] = {width, width}, strides[] = {0, 1};  // every row of the matrix is the same
  const ConstTensorView matrix = ConstTensorView::strided(row.data(), sizes, strides);
  for (const WeightType type : {WeightType::float32, WeightType::bfloat16, WeightType::float16, WeightType::int8}) {
    MultiHeadAttentionConfig config = Layer::square(width, 16, Isa::best);
    config.weight_type = type;
    config.low_precision = low_precision();
    MultiHeadAttentionWeights weights;
    weights.query = weights.key = weights.value = weights.output = matrix;
    MultiHeadAttention layer;
    if (!(std::ofstream("/proc/self/clear_refs") << "5" << std::flush)) return;
    const long long before = resident("VmRSS:");
    const Status status = MultiHeadAttention::make(config, weights, &layer);
    if (status.code() == StatusCode::unsupported) continue;  // a build without low precision
    REQUIRE_OK(status);
    const double packed = static_cast<double>(MultiHeadAttention::packed_bytes(config));
    CHECK(static_cast<double>(resident("VmHWM:") - before) * 1024.0 < 1.05 * packed + 65536.0);
  }
}
#endif

TEST_CASE("memory: what is made gives its memory back, moved or made anew") {
  Random random(86);
  const Layer layer(Layer::square(40, 2, Isa::best, true), random);
  bool moved = true;
  CHECK(!leaks([&] {
    MultiHeadAttention first, second;
    Status status;
    for (int again = 0; again < 3 && status.ok(); ++again) status = MultiHeadAttention::make(layer.config, layer.weights, &first);
    second = static_cast<MultiHeadAttention&&>(first);
    if (status.ok()) status = MultiHeadAttention::make(layer.config, layer.weights, &first);
    first = static_cast<MultiHeadAttention&&>(second);
    MultiHeadAttention& same = first;
    first = static_cast<MultiHeadAttention&&>(same);  // onto itself
    MultiHeadAttention third(static_cast<MultiHeadAttention&&>(first));
    moved = moved && status.ok() && third.workspace_bytes({1, 1, 1}) > 0 && first.workspace_bytes({1, 1, 1}) == 0;
    Workspace workspace;
    moved = moved && workspace.reserve(100) != nullptr && workspace.reserve(10000) != nullptr && workspace.bytes() >= 10000;
    ThreadPool pool;
    moved = moved && ThreadPool::make(1, &pool).ok();
  }));
  CHECK(moved);
}

TEST_CASE("memory: rows of a cache that nothing was written to take none") {
  const auto resident_pages = [] {
    long long size = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> size >> resident;
    return resident;
  };
  const long long before = resident_pages();
  if (before == 0) {
    MESSAGE("skipped: no /proc/self/statm");
    return;
  }
  KeyValueCacheConfig config;
  config.batch = 1;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.capacity = 32768;
  KeyValueCache cache;
  REQUIRE(KeyValueCache::make(config, &cache).ok());  // 256 MiB
  const std::vector<float> rows(8 * 128, 1.0f);
  const ConstTensorView row(rows.data(), 1, 8, 1, 128);
  REQUIRE(cache.append(row, row).ok());
  CHECK((resident_pages() - before) * sysconf(_SC_PAGESIZE) < 8 << 20);
}

TEST_CASE("memory: a workspace's room is aligned, and absurd wishes fail") {
  Workspace workspace;
  void* memory = workspace.reserve(1);
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0);
  CHECK(workspace.reserve(0) == memory);
  CHECK(workspace.reserve(SIZE_MAX) == nullptr);
  CHECK(workspace.reserve(SIZE_MAX / 2) == nullptr);
  CHECK(workspace.reserve(1) == memory);  // what it held, it holds
}

#if defined(__linux__)
TEST_CASE("memory: a cache's own takes at most twice what its tokens need and a megabyte, in huge pages too") {
  const std::int64_t G = 2, D = 128, most = 24 * 1024, step = 512;  // 12 MiB a head
  KeyValueCacheConfig config;
  config.num_kv_heads = G;
  config.head_dim = D;
  config.capacity = most;
  KeyValueCache cache;
  REQUIRE_OK(KeyValueCache::make(config, &cache));
  const std::vector<float> rows(static_cast<std::size_t>(G * step * D), 0.5f);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t head_bytes = static_cast<std::size_t>(most * D) * sizeof(float);
  std::size_t worst = 0, spare = 0;  // bytes beyond what is promised, and beyond what tokens need
  for (std::int64_t count = 1; cache.length(0) + count <= most; count = step) {
    const ConstTensorView view(rows.data(), 1, G, count, D);
    REQUIRE_OK(cache.append(view, view));
    const std::size_t needed = static_cast<std::size_t>(4 * cache.length(0) * D) * sizeof(float);
    std::size_t resident = 0;
    for (std::int64_t g = 0; g < G; ++g) {
      for (const float* first : {cache.key(0, g, 0), cache.value(0, g, 0)}) {
        const std::uintptr_t from = reinterpret_cast<std::uintptr_t>(first) / page * page;
        std::vector<unsigned char> pages((head_bytes + page - 1) / page);
        if (mincore(reinterpret_cast<void*>(from), pages.size() * page, pages.data()) != 0) return;  // an emulator may not know it
        for (unsigned char here : pages) resident += (here & 1) != 0 ? page : 0;
      }
    }
    if (resident > 2 * needed + (1 << 20)) worst = std::max(worst, resident - 2 * needed - (1 << 20));
    if (resident > needed) spare = std::max(spare, resident - needed);
  }
  CHECK(worst == 0);
  MESSAGE("beyond its tokens a cache took at most ", spare >> 10, " KiB");
}
#endif
