// Tests of the C API: KV caches of every kind, and calls over them, with the bits of the C++ API; errors leave all as it was.

#include "c_twin.h"

#include "base/memory.h"

using namespace c_twin;

namespace {

enum class Kind { plain, ring, paged };

/// The same empty cache twice: in C, in memory of exactly the bytes that it asks for, one byte off a cache line,
/// and in C++.
struct TwinCaches {
  static constexpr std::int64_t B = 2, G = 2;
  std::vector<std::int64_t> pages;
  std::vector<unsigned char> memory;
  KeyValueCacheConfig config;
  attend_kv_cache_config sizes = {};
  attend_kv_cache* cache = nullptr;
  KeyValueCache twin;

  TwinCaches(Kind kind, std::int64_t capacity, std::int64_t head_dim, std::int64_t value_dim) {
    config.batch = B;
    config.num_kv_heads = G;
    config.head_dim = head_dim;
    config.value_dim = value_dim;
    config.capacity = capacity;
    config.ring = kind == Kind::ring;
    if (kind == Kind::paged) {
      const std::int64_t columns = (capacity + 2) / 3;
      config.page_rows = 3;
      config.page_count = B * columns;
      // With strides: every other number is no page.
      for (std::int64_t p = 0; p < config.page_count; ++p) pages.insert(pages.end(), {config.page_count - 1 - p, -9});
      config.pages = IndexView::strided(pages.data(), {B, columns}, {2 * columns, 2});
    }
    sizes = {sizeof sizes, config.batch, config.num_kv_heads, config.head_dim, config.value_dim == config.head_dim ? 0 : config.value_dim,
             config.capacity, config.ring, config.page_rows, config.page_count, numbers(config.pages), ATTEND_CACHE_FLOAT32, nullptr};
    REQUIRE_OK(KeyValueCache::make(config, &twin));
    const std::size_t bytes = attend_kv_cache_bytes(&sizes);
    REQUIRE(bytes > KeyValueCache::bytes(config));
    memory.assign(bytes + 2 * margin, 0xa5);
    unsigned char* const start = static_cast<unsigned char*>(align_up(memory.data())) + 1;
    check_refused(attend_kv_cache_make(&sizes, start, bytes - 1, &cache, &problem), ATTEND_OUT_OF_MEMORY, "memory_bytes: ");
    CHECK(cache == nullptr);
    require_done(attend_kv_cache_make(&sizes, start, bytes, &cache, &problem));
  }
  ~TwinCaches() {
    attend_kv_cache_destroy(cache);
    const unsigned char* const end = static_cast<unsigned char*>(align_up(memory.data())) + 1 + attend_kv_cache_bytes(&sizes);
    for (const unsigned char* byte = end; byte < memory.data() + memory.size(); ++byte) CHECK(*byte == 0xa5);
  }

  /// Whether both hold the same tokens.
  bool same() const {
    const auto equal = [](const float* a, const float* b, std::int64_t count) {
      return a != nullptr && b != nullptr && std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(float)) == 0;
    };
    bool same = true;
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t first = twin.first(b), length = twin.length(b);
      same = same && attend_kv_cache_length(cache, b) == length && attend_kv_cache_first(cache, b) == first;
      for (std::int64_t g = 0; g < G && same; ++g) {
        for (std::int64_t j = first; j < length; ++j) {
          same = same && equal(attend_kv_cache_key(cache, b, g, j), twin.key(b, g, j), config.head_dim) &&
                 equal(attend_kv_cache_value(cache, b, g, j), twin.value(b, g, j), config.value_dim);
        }
        same = same && attend_kv_cache_key(cache, b, g, length) == nullptr && attend_kv_cache_value(cache, b, g, first - 1) == nullptr;
      }
    }
    return same;
  }

 private:
  static constexpr std::size_t margin = 64;
};

/// n rows, and how many of them each entry takes; of one number: all of n.
struct Step {
  std::int64_t n;
  std::vector<std::int64_t> counts;
  IndexView view() const { return counts.empty() ? IndexView() : IndexView(counts.data(), static_cast<std::int64_t>(counts.size())); }
};

}  // namespace

TEST_CASE("C API: a layer decodes over caches of every kind with the bits of the C++ API") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(47);
    Tensor frequencies({3});
    const Layer layer(rich_config(isa, frequencies.fill(random)), random);
    const CLayer made(layer);
    constexpr std::int64_t B = TwinCaches::B, H = 4;
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      CAPTURE(static_cast<int>(kind));
      TwinCaches caches(kind, kind == Kind::ring ? 12 : 30, 6, 6);
      Workspace workspace;
      // A prefill, entries of different counts, single tokens, several; once taken back between.
      for (const Step& step : {Step{6, {}}, {3, {2, 3}}, {1, {}}, {1, {}}, {1, {0, 1}}, {4, {}}, {1, {}}, {2, {2, 1}}}) {
        const std::int64_t n = step.n;
        CAPTURE(n);
        const IndexView new_counts = step.view();
        std::int64_t S = 0;
        for (std::int64_t b = 0; b < B; ++b) S = std::max(S, caches.twin.length(b) + (step.counts.empty() ? n : step.counts[static_cast<std::size_t>(b)]));
        Tensor x({B, n, 20}, random), y({B, n, 20}, random), z({B, n, 20}, random), output({B, n, 9}, random);
        for (Tensor* tensor : {&x, &y, &z}) tensor->fill(random);
        RandomOptions drawn(random, {B, H, n, S, true, true, false});
        drawn.options.causal = true;
        drawn.options.offset = 0;
        drawn.options.offsets = {};
        if (kind == Kind::ring) drawn.options.window_left = 4;
        REQUIRE_OK(layer.attention.forward_cached(x.view, y.view, z.view, new_counts, &caches.twin, output.view, workspace, drawn.options));
        const Options options(drawn.options);
        attend_mha_cached_call call = {sizeof call, in(x), in(y), in(z), numbers(new_counts), caches.cache, out(output), nullptr, &options.value};
        Written written(drawn.outputs(output));
        const std::size_t bytes = attend_mha_cached_workspace_bytes(made.layer, &call);
        CHECK(bytes == layer.attention.workspace_bytes({B, n, n}, caches.twin, drawn.options));
        run_in(bytes, &call.workspace, [&] { return attend_mha_forward_cached(made.layer, &call, &problem); });
        CHECK(caches.same());
        written.check_same();
        if (n == 4) {
          for (std::int64_t b = 0; b < B; ++b) {
            require_done(attend_kv_cache_truncate(caches.cache, b, caches.twin.length(b) - 2, &problem));
            REQUIRE_OK(caches.twin.truncate(b, caches.twin.length(b) - 2));
          }
          CHECK(caches.same());
        }
      }
      // Queries alone read what is there.
      Tensor x({B, 3, 20}), output({B, 3, 9});
      x.fill(random);
      const std::int64_t counts[] = {1, 1}, places[] = {5, 6, 2};
      attend_mha_cached_call call = {};
      call.size = sizeof call;
      call.queries = in(x);
      call.new_counts = numbers(IndexView(counts, B));
      call.cache = caches.cache;
      call.output = out(output);
      REQUIRE_OK(layer.attention.forward_cached(x.view, {}, {}, IndexView(counts, B), &caches.twin, output.view, workspace));
      Written written({&output});
      const std::size_t reading = attend_mha_cached_workspace_bytes(made.layer, &call);
      run_in(reading, &call.workspace, [&] { return attend_mha_forward_cached(made.layer, &call, &problem); });
      written.check_same();
      CHECK(caches.same());
      // An encoder's output, once; where it stands may be told.
      attend_kv_cache_clear(caches.cache);
      caches.twin.clear();
      AttentionOptions positions;
      positions.key_positions = IndexView(places, 3);
      const Options options(positions);
      attend_mha_project_call rows = {};
      rows.size = sizeof rows;
      rows.keys = rows.values = in(x);
      rows.cache = caches.cache;
      rows.options = &options.value;
      const std::size_t bytes = attend_mha_project_workspace_bytes(made.layer, &rows);
      CHECK(bytes == layer.attention.workspace_bytes({B, 0, 3}, caches.twin, positions));
      run_in(bytes, &rows.workspace, [&] { return attend_mha_project(made.layer, &rows, &problem); });
      rows.counts = numbers(IndexView(counts, B));
      rows.options = nullptr;
      require_done(attend_mha_project(made.layer, &rows, &problem));
      REQUIRE_OK(layer.attention.project(x.view, x.view, {}, &caches.twin, workspace, positions));
      REQUIRE_OK(layer.attention.project(x.view, x.view, IndexView(counts, B), &caches.twin, workspace));
      CHECK(caches.same());
    }
  }
}

TEST_CASE("C API: the core over a cache gives the bits of the C++ API") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(53);
    constexpr std::int64_t B = TwinCaches::B, G = TwinCaches::G, H = 4, D = 5, Dv = 3;
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      CAPTURE(static_cast<int>(kind));
      TwinCaches caches(kind, 12, D, Dv);
      Workspace workspace;
      for (const Step& step : {Step{5, {}}, {1, {}}, {3, {3, 0}}, {1, {}}}) {
        const std::int64_t n = step.n;
        CAPTURE(n);
        const IndexView new_counts = step.view();
        Tensor q({B, H, n, D}, random), k({B, G, n, D}, random), v({B, G, n, Dv}, random), output({B, H, n, Dv}, random);
        for (Tensor* tensor : {&q, &k, &v}) tensor->fill(random);
        const attend_const_tensor given_k = in(k), given_v = in(v);
        const attend_indices given_counts = numbers(new_counts);
        attend_operation_options appending = {};
        appending.size = sizeof appending;
        appending.isa = static_cast<int>(isa);
        require_done(attend_kv_cache_append(caches.cache, &given_k, &given_v, &given_counts, &appending, &problem));
        REQUIRE_OK(caches.twin.append(k.view, v.view, new_counts));
        CHECK(caches.same());
        std::int64_t S = 0;
        for (std::int64_t b = 0; b < B; ++b) S = std::max(S, caches.twin.length(b));
        RandomOptions drawn(random, {B, H, n, S});
        drawn.options.isa = isa;
        REQUIRE_OK(attention_cached(q.view, caches.twin, new_counts, output.view, workspace, drawn.options));
        const Options options(drawn.options);
        attend_attention_cached_call call = {sizeof call, in(q), caches.cache, {}, out(output), nullptr, &options.value};
        call.query_counts = given_counts;
        Written written(drawn.outputs(output));
        call.q.data = nullptr;
        const std::size_t bytes = attend_attention_cached_workspace_bytes(&call);
        CHECK(bytes == attention_workspace_bytes(q.view, caches.twin, drawn.options));
        call.q = in(q);
        run_in(bytes, &call.workspace, [&] { return attend_attention_cached(&call, &problem); });
        written.check_same();
      }
    }
  }
}

TEST_CASE("C API: what a cache cannot do is refused with a message, and leaves it as it was") {
  Random random(59);
  constexpr std::int64_t B = TwinCaches::B;
  Tensor frequencies({3});
  const Layer layer(rich_config(Isa::best, frequencies.fill(random)), random);
  const CLayer made(layer);
  TwinCaches caches(Kind::plain, 4, 6, 6);
  Tensor k({B, 2, 3, 6}), rows({B, 3, 20}), output({B, 3, 9}), q({B, 4, 3, 6}), core({B, 4, 3, 6});
  for (Tensor* tensor : {&k, &rows, &q}) tensor->fill(random);
  for (Tensor* tensor : {&output, &core}) tensor->fill(3.0f);
  const std::int64_t counts[] = {3, 2}, wrong_counts[] = {1, 4};
  const attend_const_tensor given_k = in(k);
  const attend_indices given_counts = numbers(IndexView(counts, B)), given_wrong = numbers(IndexView(wrong_counts, B));
  const auto append = [&](attend_kv_cache* cache, const attend_const_tensor* keys, const attend_const_tensor* values, const attend_indices* numbers) {
    return attend_kv_cache_append(cache, keys, values, numbers, nullptr, &problem);
  };
  require_done(append(caches.cache, &given_k, &given_k, &given_counts));
  REQUIRE_OK(caches.twin.append(k.view, k.view, IndexView(counts, B)));

  attend_mha_cached_call call = {sizeof call, in(rows), in(rows), in(rows), {}, caches.cache, out(output), nullptr, nullptr};
  attend_mha_project_call project = {sizeof project, in(rows), in(rows), {}, caches.cache, nullptr, nullptr};
  attend_attention_cached_call core_call = {sizeof core_call, in(q), caches.cache, {}, out(core), nullptr, nullptr};
  const attend_code full = ATTEND_OUT_OF_MEMORY;

  check_refused(append(caches.cache, &given_k, &given_k, nullptr), full, "cache: entry 0 holds 3 of 4 tokens, no room for 3 more");
  check_refused(attend_mha_forward_cached(made.layer, &call, &problem), full, "cache: entry 0 holds 3 of 4 tokens, no room for 3 more");
  check_refused(attend_mha_project(made.layer, &project, &problem), full, "cache: entry 0 holds 3 of 4 tokens, no room for 3 more");
  check_invalid(append(caches.cache, &given_k, &given_k, &given_wrong), "counts: [1] is 4, expected 0 to 3");
  check_invalid(append(caches.cache, nullptr, &given_k, nullptr), "k: shape () has 0 axes, expected 4");
  attend_const_tensor no_data = given_k;
  no_data.data = nullptr;
  check_invalid(append(caches.cache, &given_k, &no_data, nullptr), "v: data is null, but its shape is (2, 2, 3, 6)");
  check_invalid(attend_kv_cache_truncate(caches.cache, 0, 4, &problem), "length: 4, expected 0 or 0 to 3, what entry 0 holds");
  check_invalid(attend_kv_cache_truncate(caches.cache, 2, 0, &problem), "b: 2, expected 0 to 1");

  check_invalid(append(nullptr, &given_k, &given_k, nullptr), "cache: null");
  check_invalid(attend_kv_cache_truncate(nullptr, 0, 0, &problem), "cache: null");
  check_invalid(attend_mha_forward_cached(nullptr, &call, &problem), "layer: null");
  check_invalid(attend_mha_forward_cached(made.layer, nullptr, &problem), "call: null");
  check_invalid(attend_mha_project(nullptr, &project, &problem), "layer: null");
  check_invalid(attend_mha_project(made.layer, nullptr, &problem), "call: null");
  check_invalid(attend_attention_cached(nullptr, &problem), "call: null");
  attend_mha_cached_call wrong = call;
  wrong.cache = nullptr;
  check_invalid(attend_mha_forward_cached(made.layer, &wrong, &problem), "cache: null");
  CHECK(attend_mha_cached_workspace_bytes(made.layer, &wrong) == 0);
  attend_mha_project_call wrong_project = project;
  wrong_project.cache = nullptr;
  check_invalid(attend_mha_project(made.layer, &wrong_project, &problem), "cache: null");
  attend_attention_cached_call wrong_core = core_call;
  wrong_core.cache = nullptr;
  check_invalid(attend_attention_cached(&wrong_core, &problem), "cache: null");
  CHECK(attend_mha_cached_workspace_bytes(nullptr, &call) + attend_mha_cached_workspace_bytes(made.layer, nullptr) == 0);
  CHECK(attend_mha_project_workspace_bytes(nullptr, &project) + attend_mha_project_workspace_bytes(made.layer, nullptr) == 0);
  CHECK(attend_attention_cached_workspace_bytes(nullptr) + attend_attention_cached_workspace_bytes(&wrong_core) == 0);
  CHECK(attend_kv_cache_length(nullptr, 0) + attend_kv_cache_first(nullptr, 0) == 0);
  CHECK(attend_kv_cache_key(nullptr, 0, 0, 0) == nullptr);
  CHECK(attend_kv_cache_value(nullptr, 0, 0, 0) == nullptr);
  CHECK(attend_kv_cache_length(caches.cache, B) == 0);
  CHECK(attend_kv_cache_key(caches.cache, 0, 2, 0) == nullptr);
  attend_kv_cache_clear(nullptr);
  attend_kv_cache_destroy(nullptr);

  // Half of the new rows.
  wrong = call;
  wrong.values = {};
  check_invalid(attend_mha_forward_cached(made.layer, &wrong, &problem), "values: ");
  wrong_project = project;
  wrong_project.keys = {};
  check_invalid(attend_mha_project(made.layer, &wrong_project, &problem), "keys: ");
  // Packed sequences have no cache, heads have to be divided, and a layer's cache is of its heads.
  const std::int64_t starts[] = {0, 3};
  attend_options options = {};
  options.size = sizeof options;
  options.query_starts = options.key_starts = numbers(IndexView(starts, 2));
  core_call.options = &options;
  check_invalid(attend_attention_cached(&core_call, &problem), "query_starts: given, but attention over a cache has no use for it");
  core_call.options = nullptr;
  core_call.q.sizes[1] = 3;
  check_invalid(attend_attention_cached(&core_call, &problem), "cache: 2 heads do not divide those of q, 3");
  CHECK(attend_attention_cached_workspace_bytes(&core_call) == 0);
  const TwinCaches other(Kind::plain, 20, 5, 6);
  wrong = call;
  wrong.cache = other.cache;
  check_invalid(attend_mha_forward_cached(made.layer, &wrong, &problem), "cache: 2 heads of 5 and 6, expected 2 of 6 and 6");
  CHECK(attend_mha_cached_workspace_bytes(made.layer, &wrong) == 0);
  CHECK(caches.same());
  CHECK(attend_kv_cache_length(other.cache, 0) == 0);
  for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == 3.0f);
  for (std::int64_t n = 0; n < core.count(); ++n) CHECK(core[n] == 3.0f);

  // A page that is not in the pool; a ring that has let go what a window would see.
  TwinCaches paged(Kind::paged, 5, 6, 6), ring(Kind::ring, 3, 6, 6);
  paged.pages[2] = 99;
  require_done(append(paged.cache, &given_k, &given_k, nullptr));
  attend_const_tensor one_row = given_k;
  one_row.sizes[2] = 1;
  check_invalid(append(paged.cache, &one_row, &one_row, nullptr), "pages: [0, 1] is 99, expected 0 to 3");
  CHECK(attend_kv_cache_length(paged.cache, 0) == 3);
  project.cache = ring.cache;
  require_done(attend_mha_project(made.layer, &project, &problem));
  options = {};
  options.size = sizeof options;
  options.windowed = 1;
  options.window_left = 2;
  options.window_right = -1;
  project.options = call.options = &options;
  check_invalid(attend_mha_project(made.layer, &project, &problem), "window_left: given, but project has no use for it");
  call.cache = ring.cache;
  check_invalid(attend_mha_forward_cached(made.layer, &call, &problem), "cache: query 0 of entry 0 sees tokens from 1 on");
  CHECK(attend_kv_cache_length(ring.cache, 1) == 3);
}

TEST_CASE("C API: each field of a cache's config is in what config() gives, or is refused by name") {
  TwinCaches plain(Kind::plain, 4, 6, 5), ring(Kind::ring, 3, 6, 6), paged(Kind::paged, 5, 6, 6);
  for (TwinCaches* caches : {&plain, &ring, &paged}) {
    attend_kv_cache_config given = {};
    given.size = sizeof given;
    require_done(attend_kv_cache_get_config(caches->cache, &given, &problem));
    const KeyValueCacheConfig wanted = caches->twin.config();
    CHECK(given.batch == wanted.batch);
    CHECK(given.num_kv_heads == wanted.num_kv_heads);
    CHECK(given.head_dim == wanted.head_dim);
    CHECK(given.value_dim == wanted.value_dim);
    CHECK(given.capacity == wanted.capacity);
    CHECK(given.ring == wanted.ring);
    CHECK(given.page_rows == wanted.page_rows);
    CHECK(given.page_count == wanted.page_count);
    CHECK(given.pages.data == wanted.pages.data);
    CHECK(given.pages.rank == wanted.pages.rank);
    if (given.pages.rank == 2) CHECK(given.pages.strides[0] == wanted.pages.strides[0]);
    CHECK(attend_kv_cache_bytes(&given) == attend_kv_cache_bytes(&caches->sizes));
  }
  check_invalid(attend_kv_cache_get_config(nullptr, nullptr, &problem), "cache: null");
  check_invalid(attend_kv_cache_get_config(plain.cache, nullptr, &problem), "config: null");

  attend_kv_cache* none = nullptr;
  check_invalid(attend_kv_cache_make(nullptr, nullptr, 0, &none, &problem), "config: null");
  check_invalid(attend_kv_cache_make(&plain.sizes, nullptr, 0, nullptr, &problem), "cache: null");
  CHECK(attend_kv_cache_bytes(nullptr) == 0);
  const auto refused = [&](const attend_kv_cache_config& right, void (*change)(attend_kv_cache_config&), const char* message) {
    attend_kv_cache_config wrong = right;
    change(wrong);
    check_invalid(attend_kv_cache_make(&wrong, nullptr, 0, &none, &problem), message);
    CHECK(attend_kv_cache_bytes(&wrong) == 0);
  };
  refused(plain.sizes, [](attend_kv_cache_config& c) { c.size = 0; }, "config.size: 0, expected sizeof (attend_kv_cache_config)");
  refused(plain.sizes, [](attend_kv_cache_config& c) { c.batch = -1; }, "batch: -1, expected 1 to ");
  refused(plain.sizes, [](attend_kv_cache_config& c) { c.num_kv_heads = 0; }, "num_kv_heads: 0");
  refused(plain.sizes, [](attend_kv_cache_config& c) { c.head_dim = 577; }, "head_dim: 577");
  refused(plain.sizes, [](attend_kv_cache_config& c) { c.value_dim = 577; }, "value_dim: 577");
  refused(plain.sizes, [](attend_kv_cache_config& c) { c.capacity = 0; }, "capacity: 0");
  refused(paged.sizes, [](attend_kv_cache_config& c) { c.ring = 1; }, "ring: ");
  refused(paged.sizes, [](attend_kv_cache_config& c) { c.page_rows = -1; }, "page_rows: -1");
  refused(paged.sizes, [](attend_kv_cache_config& c) { c.page_count = 0; }, "page_count: 0");
  refused(paged.sizes, [](attend_kv_cache_config& c) { c.pages.data = nullptr; }, "pages: data is null");
  CHECK(none == nullptr);

  refused(plain.sizes, [](attend_kv_cache_config& c) { c.type = 4; }, "type: 4 is none that there is");
  refused(plain.sizes, [](attend_kv_cache_config& c) { c.type = ATTEND_CACHE_INT8; }, "low_precision: null, but type is int8, expected low_precision()");

  // From the heap, with what is not given filled in.
  attend_kv_cache_config sizes = plain.sizes;
  sizes.batch = 0;
  require_done(attend_kv_cache_make(&sizes, nullptr, 0, &none, &problem));
  require_done(attend_kv_cache_get_config(none, &sizes, &problem));
  CHECK(sizes.batch == 1);
  attend_kv_cache_destroy(none);
  none = nullptr;
  sizes = paged.sizes;
  sizes.capacity = 0;
  require_done(attend_kv_cache_make(&sizes, nullptr, 0, &none, &problem));
  require_done(attend_kv_cache_get_config(none, &sizes, &problem));
  CHECK(sizes.capacity == 6);
  attend_kv_cache_destroy(none);
  none = nullptr;

  // A cache of low precision is what C++ makes.
  for (const auto& [type, same] : {std::pair{ATTEND_CACHE_BFLOAT16, CacheType::bfloat16}, {ATTEND_CACHE_FLOAT16, CacheType::float16}, {ATTEND_CACHE_INT8, CacheType::int8}}) {
    sizes = plain.sizes;
    sizes.type = type;
    sizes.low_precision = reinterpret_cast<const attend_low_precision*>(low_precision());
    KeyValueCacheConfig wanted = plain.config;
    wanted.type = same;
    wanted.low_precision = low_precision();
    CHECK(attend_kv_cache_bytes(&sizes) - attend_kv_cache_bytes(&plain.sizes) == KeyValueCache::bytes(wanted) - KeyValueCache::bytes(plain.config));
    require_done(attend_kv_cache_make(&sizes, nullptr, 0, &none, &problem));
    attend_kv_cache_config made = {};
    made.size = sizeof made;
    require_done(attend_kv_cache_get_config(none, &made, &problem));
    CHECK(made.type == type);
    CHECK(made.low_precision == sizes.low_precision);
    attend_kv_cache_destroy(none);
    none = nullptr;
  }

  // Where the heap has nothing, memory of the caller's does.
  std::vector<unsigned char> memory(attend_kv_cache_bytes(&plain.sizes));
  attend::allocator = [](std::size_t, std::size_t) -> void* { return nullptr; };
  const attend_code without_memory = attend_kv_cache_make(&plain.sizes, nullptr, 0, &none, &problem);
  const attend_code with_memory = attend_kv_cache_make(&plain.sizes, memory.data(), memory.size(), &none, nullptr);
  attend::allocator = aligned_alloc;
  check_refused(without_memory, ATTEND_OUT_OF_MEMORY, "memory: null, and the heap has no attend_kv_cache_bytes(config) = ");
  CHECK(with_memory == ATTEND_OK);
  attend_kv_cache_destroy(none);
}
