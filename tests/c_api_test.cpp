// Tests of the C API: structs of other sizes, threads, instruction sets, workspaces. c_layer_test, c_core_test and c_cache_test have the calls.

#include "c_twin.h"

#include <atomic>

using namespace c_twin;

namespace {

/// A struct of a caller of another version: so many of its bytes, and others after them.
template <class Struct>
struct Resized {
  std::vector<std::uint64_t> words = std::vector<std::uint64_t>(sizeof(Struct) / 8 + 8);

  Resized(const Struct& whole, std::size_t size) {
    std::memcpy(words.data(), &whole, sizeof whole);
    std::memset(bytes() + size, size < sizeof whole ? 0xa5 : 0, words.size() * 8 - size);  // what lies behind an older one is not its own
    std::memcpy(words.data(), &size, sizeof size);
  }
  unsigned char* bytes() { return reinterpret_cast<unsigned char*>(words.data()); }
  Struct* get() { return reinterpret_cast<Struct*>(words.data()); }
};

struct CountedRuns {
  std::atomic<int> regions{0};
};

void run_counted(void* pool, int count, void (*task)(void* context, int index), void* context) {
  ++static_cast<CountedRuns*>(pool)->regions;
  for (int index = count - 1; index >= 0; --index) task(context, index);
}

}  // namespace

TEST_CASE("C API: a struct of an older caller is completed with zeros, what a newer one has set is refused") {
  Random random(61);
  Tensor x({1, 3, 8}), output({1, 3, 8}), expected({1, 3, 8});
  x.fill(random);
  MultiHeadAttentionConfig sizes = Layer::square(8, 2, Isa::best);
  const Layer layer(sizes, random);
  const CLayer made(layer);

  // A call without the fields after its output; options without all that follow `causal`.
  AttentionOptions causal;
  causal.causal = true;
  REQUIRE_OK(layer.forward(x, x, x, {}, expected, causal));
  Options options(causal);
  Resized<attend_options> old_options(options.value, offsetof(attend_options, windowed));
  attend_mha_call call = {sizeof call, in(x), in(x), in(x), {}, out(output), nullptr, old_options.get()};
  require_done(attend_mha_forward(made.layer, &call, &problem));
  CHECK_SAME_BITS(output, expected);
  REQUIRE_OK(layer.forward(x, x, x, {}, expected));
  Resized<attend_mha_call> old_call(call, offsetof(attend_mha_call, workspace));
  require_done(attend_mha_forward(made.layer, old_call.get(), &problem));
  CHECK_SAME_BITS(output, expected);

  // Newer ones.
  output.fill(3.0f);
  Resized<attend_mha_call> new_call(call, sizeof call + 16);
  require_done(attend_mha_forward(made.layer, new_call.get(), &problem));
  output.fill(3.0f);
  new_call.bytes()[sizeof call + 15] = 1;
  check_invalid(attend_mha_forward(made.layer, new_call.get(), &problem), "call: sets a field of attend_mha_call that this library (0.1.0) does not know");
  CHECK(attend_mha_workspace_bytes(made.layer, new_call.get()) == 0);
  Resized<attend_options> new_options(options.value, sizeof(attend_options) + 8);
  new_options.bytes()[sizeof(attend_options)] = 1;
  call.options = new_options.get();
  check_invalid(attend_mha_forward(made.layer, &call, &problem), "options: sets a field of attend_options that this library");

  // What was not set, or garbage.
  for (const std::size_t size : {std::size_t{0}, sizeof(std::size_t) - 1, std::size_t{1} << 40, SIZE_MAX}) {
    options.value.size = size;
    call.options = &options.value;
    check_invalid(attend_mha_forward(made.layer, &call, &problem), "options.size: " + std::to_string(size) + ", expected sizeof (attend_options)");
    call.size = size;
    check_invalid(attend_mha_forward(made.layer, &call, &problem), "call.size: " + std::to_string(size) + ", expected sizeof (attend_mha_call)");
    call.size = sizeof call;
  }
  for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == 3.0f);
  const Config config(sizes);
  attend_mha_config no_size = config.value;
  no_size.size = 0;
  attend_mha_weights weights = c_weights(layer.weights);
  attend_mha* none = nullptr;
  check_invalid(attend_mha_make(&no_size, &weights, nullptr, 0, &none, &problem), "config.size: 0, expected sizeof (attend_mha_config)");
  CHECK(attend_mha_bytes(&no_size) == 0);
  weights.size = 0;
  check_invalid(attend_mha_make(&config.value, &weights, nullptr, 0, &none, &problem), "weights.size: 0, expected sizeof (attend_mha_weights)");
  Options biased(causal);
  biased.bias.table = in(x);
  biased.value.relative_position_bias = &biased.bias;
  call.options = &biased.value;
  check_invalid(attend_mha_forward(made.layer, &call, &problem), "relative_position_bias.size: 0, expected sizeof (attend_relative_position_bias)");

  // What the library gives back fits the caller's struct.
  Resized<attend_mha_config> short_config(attend_mha_config(), offsetof(attend_mha_config, num_hiddens));
  require_done(attend_mha_get_config(made.layer, short_config.get(), nullptr, &problem));
  CHECK(short_config.get()->value_size == 8);
  CHECK(short_config.bytes()[offsetof(attend_mha_config, num_hiddens)] == 0xa5);
  Resized<attend_mha_config> long_config(attend_mha_config(), sizeof(attend_mha_config) + 8);
  long_config.bytes()[sizeof(attend_mha_config)] = 0xa5;
  require_done(attend_mha_get_config(made.layer, long_config.get(), nullptr, &problem));
  CHECK(long_config.get()->output_size == 0);
  CHECK(long_config.get()->num_heads == 2);
  CHECK(long_config.get()->size == sizeof(attend_mha_config) + 8);
  CHECK(long_config.bytes()[sizeof(attend_mha_config)] == 0);
  check_invalid(attend_mha_get_config(made.layer, &(no_size = {}), nullptr, &problem), "config.size: 0");
}

TEST_CASE("C API: instruction sets and the version are those of the C++ API") {
  CHECK(std::string(attend_version()) == version());
  CHECK(attend_best_isa() == static_cast<attend_isa>(best_isa()));
  for (const Isa isa : {Isa::best, Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon}) {
    const attend_isa given = static_cast<attend_isa>(isa);
    CHECK(std::string(attend_isa_name(given)) == isa_name(isa));
    CHECK(attend_isa_compiled(given) == isa_compiled(isa));
    CHECK(attend_isa_usable(given) == isa_usable(isa));
    attend_isa found = ATTEND_ISA_SCALAR;
    CHECK(attend_isa_from_name(isa_name(isa), &found) == 1);
    CHECK(found == given);
  }
  attend_isa found = ATTEND_ISA_NEON;
  CHECK(attend_isa_from_name("sse", &found) + attend_isa_from_name(nullptr, &found) + attend_isa_from_name("neon", nullptr) == 0);
  CHECK(found == ATTEND_ISA_NEON);
}

TEST_CASE("C API: threads of a pool or of the caller's change no bits") {
  Random random(62);
  MultiHeadAttentionConfig sizes = Layer::square(64, 4, Isa::best);
  const Layer layer(sizes, random);
  const CLayer made(layer);
  Tensor x({2, 64, 64}), output({2, 64, 64}), expected({2, 64, 64});
  x.fill(random);
  REQUIRE_OK(layer.forward(x, x, x, {}, expected));
  attend_options options = {};
  options.size = sizeof options;
  const attend_mha_call call = {sizeof call, in(x), in(x), in(x), {}, out(output), nullptr, &options};
  CountedRuns runs;
  options.threads = {3, run_counted, &runs};
  require_done(attend_mha_forward(made.layer, &call, &problem));
  CHECK_SAME_BITS(output, expected);
  CHECK(runs.regions == 1);
  attend_operation_options of_operation = {};
  of_operation.size = sizeof of_operation;
  of_operation.threads = options.threads;
  const attend_const_tensor given = in(x);
  const attend_tensor to = out(output);
  require_done(attend_masked_softmax(&given, nullptr, &to, &of_operation, &problem));
  CHECK(runs.regions == 2);

  attend_thread_pool* pool = nullptr;
  require_done(attend_thread_pool_make(3, &pool, &problem));
  options.threads = attend_thread_pool_threads(pool);
  CHECK(options.threads.count == 3);
  require_done(attend_mha_forward(made.layer, &call, &problem));
  CHECK_SAME_BITS(output, expected);
  attend_thread_pool_keep_awake(pool, 7);
  CHECK((attend_thread_pool_threads(pool).parallel_for != options.threads.parallel_for));
  attend_thread_pool_keep_awake(pool, 0);
  CHECK((attend_thread_pool_threads(pool).parallel_for == options.threads.parallel_for));
  attend_thread_pool_keep_awake(nullptr, 1);
  attend_thread_pool_destroy(pool);

  attend_thread_pool* none = nullptr;
  check_invalid(attend_thread_pool_make(0, &none, &problem), "count: 0 threads, expected 1 to 256");
  check_invalid(attend_thread_pool_make(2, nullptr, &problem), "pool: null");
  CHECK(none == nullptr);
  attend_thread_pool_destroy(nullptr);
  CHECK(attend_thread_pool_threads(nullptr).count == 0);
}

TEST_CASE("C API: a workspace grows on the heap, or is the caller's memory") {
  attend_workspace grown = {};
  void* const first = attend_workspace_reserve(&grown, 100);
  CHECK(first != nullptr);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
  CHECK(attend_workspace_reserve(&grown, 50) == first);
  CHECK(attend_workspace_reserve(&grown, 10000) != nullptr);
  CHECK(grown.bytes >= 10000);
  CHECK(grown.owned == 1);
  CHECK(attend_workspace_reserve(&grown, SIZE_MAX) == nullptr);
  CHECK(grown.bytes >= 10000);
  attend_workspace_release(&grown);
  CHECK(grown.memory == nullptr);

  std::vector<unsigned char> memory(200);
  attend_workspace callers = {memory.data(), 163, 0};
  CHECK(attend_workspace_reserve(&callers, 100) != nullptr);
  CHECK(attend_workspace_reserve(&callers, 164) == nullptr);
  attend_workspace_release(&callers);
  CHECK(callers.memory == memory.data());
  CHECK(callers.bytes == 163);
  attend_workspace lost = {nullptr, 100, 0};  // memory that was to be there
  CHECK(attend_workspace_reserve(&lost, 10) == nullptr);
  CHECK(attend_workspace_reserve(nullptr, 10) == nullptr);
  attend_workspace_release(nullptr);
}
