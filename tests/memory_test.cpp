// Tests of memory: the heap, workspaces and packed weights in the caller's memory, and running out of it.

#include <doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend.hpp"
#include "reference/reference.h"

namespace engine_test {

using namespace attend;
using reference::Shape;

inline constexpr double u = reference::unit_roundoff;
inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
inline constexpr float infinite = std::numeric_limits<float>::infinity();

inline std::vector<Isa> usable_isas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon}) {
    if (isa_usable(isa)) isas.push_back(isa);
  }
  return isas;
}

inline std::string name_of(Isa isa) { return isa_name(isa); }

/// How many random shapes to take instead of `count`: emulators set ATTEND_TEST_SHARE=N for 1 / N of them.
inline int share_of(int count) {
  const char* share = std::getenv("ATTEND_TEST_SHARE");
  const int divisor = share ? std::atoi(share) : 1;
  return divisor > 1 ? (count + divisor - 1) / divisor : count;
}

/// splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(most - least + 1));
  }
  bool once_in(int times) { return between(1, times) == 1; }
  template <class Value>
  Value one_of(std::initializer_list<Value> values) {
    return values.begin()[between(0, static_cast<std::int64_t>(values.size()) - 1)];
  }
  /// In [-1, 1).
  float number() { return static_cast<float>(bits() >> 40) * 0x1p-23f - 1.0f; }

 private:
  std::uint64_t state_;
};

/// A tensor with memory of its own. The gaps between its elements, a margin on both sides, and at first
/// the elements too, hold a canary: a NaN of its own bits, so that reading it shows as well as writing it.
class Tensor {
 public:
  TensorView view;

  /// Contiguous.
  explicit Tensor(const Shape& shape) { lay_out(shape, nullptr); }
  /// Axes in any order in memory, with gaps.
  Tensor(const Shape& shape, Random& layout) { lay_out(shape, &layout); }

  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&&) = default;

  std::int64_t count() const { return static_cast<std::int64_t>(places_.size()); }
  /// The n-th element, row-major.
  float& operator[](std::int64_t n) { return memory_[places_[static_cast<std::size_t>(n)]]; }
  float operator[](std::int64_t n) const { return memory_[places_[static_cast<std::size_t>(n)]]; }
  template <class... Indices>
  float& at(Indices... indices) { return (*this)[flat_index(indices...)]; }
  template <class... Indices>
  float at(Indices... indices) const { return (*this)[flat_index(indices...)]; }

  Tensor& fill(float value) {
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = value;
    return *this;
  }
  Tensor& fill(Random& random, float scale = 1.0f) {
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = scale * random.number();
    return *this;
  }
  Tensor& fill(std::initializer_list<float> values) {
    REQUIRE(static_cast<std::int64_t>(values.size()) == count());
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = values.begin()[n];
    return *this;
  }
  Tensor& copy(const Tensor& other) {
    REQUIRE(other.count() == count());
    for (std::int64_t n = 0; n < count(); ++n) (*this)[n] = other[n];
    return *this;
  }

  Shape shape() const { return Shape(view.sizes, view.sizes + view.rank); }
  reference::Array array() const { return reference::Array(view); }

  /// No element and no byte around them was written.
  bool untouched() const { return canaries_from(false); }
  /// No byte but the elements was written.
  bool gaps_untouched() const { return canaries_from(true); }

 private:
  static constexpr std::size_t margin = 80;  // floats: more than any ISA's vector or tile row
  static bool is_canary(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits == 0x7fc0beadu;
  }

  template <class... Indices>
  std::int64_t flat_index(Indices... indices) const {
    const std::int64_t list[] = {static_cast<std::int64_t>(indices)...};
    std::int64_t flat = 0;
    for (std::size_t axis = 0; axis < sizeof...(indices); ++axis) flat = flat * view.sizes[axis] + list[axis];
    return flat;
  }

  void lay_out(const Shape& shape, Random* layout) {
    view.rank = static_cast<int>(shape.size());
    int order[max_rank] = {0, 1, 2, 3};  // innermost last
    std::int64_t stride = layout ? layout->one_of<std::int64_t>({1, 1, 2, 3}) : 1;
    if (layout && layout->once_in(2)) std::swap(order[layout->between(0, view.rank - 1)], order[layout->between(0, view.rank - 1)]);
    for (int place = view.rank - 1; place >= 0; --place) {
      const std::size_t axis = static_cast<std::size_t>(order[place]);
      view.sizes[axis] = shape[axis];
      view.strides[axis] = stride;
      stride *= shape[axis] > 0 ? shape[axis] : 1;
      if (layout) stride += layout->one_of<std::int64_t>({0, 0, 1, 5});
    }
    const std::uint32_t canary = 0x7fc0beadu;
    float value;
    std::memcpy(&value, &canary, sizeof value);
    memory_.assign(static_cast<std::size_t>(stride) + 2 * margin, value);
    view.data = memory_.data() + margin;
    const std::int64_t elements = reference::count_of(shape);
    for (std::int64_t n = 0; n < elements; ++n) {
      std::int64_t rest = n, place = 0;
      for (int axis = view.rank - 1; axis >= 0; --axis) {
        place += rest % view.sizes[axis] * view.strides[axis];
        rest /= view.sizes[axis];
      }
      places_.push_back(margin + static_cast<std::size_t>(place));
    }
  }

  bool canaries_from(bool gaps_alone) const {
    std::vector<bool> element(memory_.size(), false);
    if (gaps_alone) {
      for (std::size_t place : places_) element[place] = true;
    }
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      if (!element[i] && !is_canary(memory_[i])) return false;
    }
    return true;
  }

  std::vector<float> memory_;
  std::vector<std::size_t> places_;
};

/// Valid lengths, (B,), (B, L) or none.
struct Lengths {
  std::vector<std::int64_t> values;
  LengthsView view;

  Lengths() = default;
  Lengths(std::vector<std::int64_t> numbers, std::int64_t batch) : values(std::move(numbers)) {
    view = LengthsView(values.data(), batch);
  }
  Lengths(std::vector<std::int64_t> numbers, std::int64_t batch, std::int64_t queries) : values(std::move(numbers)) {
    view = LengthsView(values.data(), batch, queries);
  }
  Lengths(Lengths&&) = default;
  Lengths& operator=(Lengths&&) = default;

  /// Of any of the three forms; lengths from 0 to a bit more than S, often at the ends.
  static Lengths random(Random& random, std::int64_t B, std::int64_t L, std::int64_t S) {
    const auto draw = [&](std::int64_t count) {
      std::vector<std::int64_t> drawn(static_cast<std::size_t>(count));
      for (std::int64_t& length : drawn) {
        length = random.once_in(4) ? random.one_of<std::int64_t>({0, 1, S, S + 3, INT64_MAX}) : random.between(0, S);
      }
      return drawn;
    };
    switch (random.between(0, 2)) {
      case 0: return Lengths();
      case 1: return Lengths(draw(B), B);
      default: return Lengths(draw(B * L), B, L);
    }
  }
};

/// The first element whose bits differ (NaN equals NaN), or -1.
inline std::int64_t first_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.count() == b.count());
  for (std::int64_t n = 0; n < a.count(); ++n) {
    const float x = a[n], y = b[n];
    if (std::memcmp(&x, &y, sizeof x) != 0 && !(std::isnan(x) && std::isnan(y))) return n;
  }
  return -1;
}
#define CHECK_SAME_BITS(a, b) CHECK(engine_test::first_difference(a, b) == -1)

#define REQUIRE_OK(call)                       \
  do {                                         \
    const attend::Status status_of_ = (call);  \
    REQUIRE_MESSAGE(status_of_.ok(), std::string(status_of_.message())); \
  } while (false)

#define CHECK_CLOSE(actual, expected, tolerance)                                                    \
  do {                                                                                              \
    const attend::reference::Comparison compared_ = attend::reference::compare(actual, expected, tolerance); \
    CHECK_MESSAGE(compared_.ok, #actual ": " << compared_.message);                                 \
  } while (false)

inline std::string text_of(const Shape& shape) {
  std::string text;
  for (std::int64_t size : shape) text += (text.empty() ? "" : " ") + std::to_string(size);
  return text;
}

/// A layer with random weights, and the same for the reference.
struct Layer {
  MultiHeadAttentionConfig config;
  std::vector<Tensor> tensors;  // query, key, value, output, then their biases
  MultiHeadAttentionWeights weights;
  MultiHeadAttention attention;

  explicit Layer(const MultiHeadAttentionConfig& wanted, Random& random, Random* layout = nullptr) : config(wanted) {
    const std::int64_t E = config.num_hiddens;
    for (std::int64_t inputs : {config.query_size, config.key_size, config.value_size, E}) {
      add({E, inputs}, layout);
      tensors.back().fill(random, static_cast<float>(std::sqrt(6.0 / static_cast<double>(inputs + E))));
    }
    for (int bias = 0; bias < 4 && config.bias; ++bias) {
      add({E}, layout);
      tensors.back().fill(random);
    }
    make();
  }

  /// Square, with identity matrices: what comes in are the heads themselves.
  static Layer identity(std::int64_t num_hiddens, std::int64_t num_heads, Isa isa) {
    Random random(1);
    Layer layer(square(num_hiddens, num_heads, isa), random);
    for (Tensor& tensor : layer.tensors) {
      tensor.fill(0.0f);
      for (std::int64_t n = 0; n < num_hiddens; ++n) tensor.at(n, n) = 1.0f;
    }
    layer.make();
    return layer;
  }

  static MultiHeadAttentionConfig square(std::int64_t num_hiddens, std::int64_t num_heads, Isa isa, bool bias = false) {
    MultiHeadAttentionConfig config;
    config.key_size = config.query_size = config.value_size = config.num_hiddens = num_hiddens;
    config.num_heads = num_heads;
    config.bias = bias;
    config.isa = isa;
    return config;
  }

  void make() {
    ConstTensorView* const views[] = {&weights.query,      &weights.key,      &weights.value,      &weights.output,
                                      &weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
    for (std::size_t n = 0; n < tensors.size(); ++n) *views[n] = tensors[n].view;
    REQUIRE_OK(MultiHeadAttention::make(config, weights, &attention));
  }

  reference::LayerWeights reference_weights() const { return reference::LayerWeights(weights); }

  Status forward(const Tensor& queries, const Tensor& keys, const Tensor& values, const LengthsView& valid_lens,
                 Tensor& output, const ForwardOptions& options = {}) const {
    Workspace workspace;
    return attention.forward(queries.view, keys.view, values.view, valid_lens, output.view, workspace, options);
  }

 private:
  void add(const Shape& shape, Random* layout) { tensors.push_back(layout ? Tensor(shape, *layout) : Tensor(shape)); }
};

}  // namespace engine_test

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "memory.h"

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

/// Every call that may take memory, each a function of a workspace.
struct Calls {
  Tensor x, keys, weights, output, product;
  Layer layer;
  DotProductAttention attention;
  OperationOptions options;

  static Layer make_layer(Isa isa) {
    Random random(81);
    return Layer(Layer::square(40, 2, isa, true), random);
  }
  explicit Calls(Isa isa)
      : x({2, 20, 40}), keys({2, 70, 40}), weights({2, 2, 20, 70}), output({2, 20, 40}), product({2, 20, 70}), layer(make_layer(isa)) {
    Random random(82);
    x.fill(random);
    keys.fill(random);
    options.isa = isa;
    REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
  }
  Status forward(Workspace& workspace) {
    ForwardOptions with_weights;
    with_weights.attention_weights = weights.view;
    return layer.attention.forward(x.view, keys.view, keys.view, {}, output.view, workspace, with_weights);
  }
  Status dot_product(Workspace& workspace) {
    return attention.forward(x.view, keys.view, keys.view, {}, output.view, workspace);
  }
  Status multiply(Workspace& workspace) { return matmul(x.view, keys.view, true, {}, product.view, workspace, options); }
};

}  // namespace

TEST_CASE("memory: after the first call of a shape the heap is left alone") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Calls calls(isa);
    for (Status (Calls::*call)(Workspace&) : {&Calls::forward, &Calls::dot_product, &Calls::multiply}) {
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
      const Layer layer(Layer::square(E, H, isa), random);
      Tensor queries({B, L, E}), keys({B, S, E}), output({B, L, E}), expected({B, L, E});
      queries.fill(random);
      keys.fill(random);
      REQUIRE_OK(layer.forward(queries, keys, keys, {}, expected));
      for (int threads : {1, 3}) {
        CAPTURE(threads);
        // Small calls run on one thread, and then need no more than for one.
        const bool shared = 2.0 * static_cast<double>(B * (L + S) * E * E) >= 1e6;
        ForwardOptions options;
        options.threads.count = threads;
        options.threads.parallel_for = in_order;
        const std::size_t bytes = layer.attention.workspace_bytes({B, L, S}, threads);
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

TEST_CASE("memory: workspace_bytes is 0 where no call can be") {
  Random random(84);
  const Layer layer(Layer::square(8, 1, Isa::best), random);
  const MultiHeadAttention& attention = layer.attention;
  CHECK(attention.workspace_bytes({1, 1, 1}) > 0);
  CHECK(attention.workspace_bytes({1, 1, 1}, max_threads) > 0);
  CHECK(attention.workspace_bytes({-1, 1, 1}) == 0);
  CHECK(attention.workspace_bytes({1, -1, 1}) == 0);
  CHECK(attention.workspace_bytes({1, 1, -1}) == 0);
  CHECK(attention.workspace_bytes({1, 1, 1}, 0) == 0);
  CHECK(attention.workspace_bytes({1, 1, 1}, max_threads + 1) == 0);
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
      config.bias = random.once_in(2);
      config.isa = isa;
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
        for (Status (Calls::*call)(Workspace&) : {&Calls::forward, &Calls::dot_product, &Calls::multiply}) {
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

TEST_CASE("memory: a workspace's room is aligned, and absurd wishes fail") {
  Workspace workspace;
  void* memory = workspace.reserve(1);
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0);
  CHECK(workspace.reserve(0) == memory);
  CHECK(workspace.reserve(SIZE_MAX) == nullptr);
  CHECK(workspace.reserve(SIZE_MAX / 2) == nullptr);
  CHECK(workspace.reserve(1) == memory);  // what it held, it holds
}
