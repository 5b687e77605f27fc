// Tests of the C API: the bits of the C++ one, and errors that leave everything as it was.

#include "engine_test.h"

#include <algorithm>

#include "attend/attend.h"
#include "base/memory.h"

using namespace engine_test;

namespace {

/// A layer's twin in C.
struct CLayer {
  attend_mha* layer = nullptr;

  explicit CLayer(const Layer& twin) {
    const MultiHeadAttentionConfig& config = twin.config;
    const MultiHeadAttentionWeights& w = twin.weights;
    attend_mha_config sizes = {};
    // 0 where that says the same.
    sizes.key_size = config.key_size == config.query_size ? 0 : config.key_size;
    sizes.query_size = config.query_size == config.num_hiddens ? 0 : config.query_size;
    sizes.value_size = config.value_size == config.query_size ? 0 : config.value_size;
    sizes.num_hiddens = config.num_hiddens;
    sizes.num_heads = config.num_heads;
    sizes.isa = static_cast<int>(config.isa);
    sizes.num_kv_heads = config.num_kv_heads;
    sizes.head_dim = config.head_dim;
    sizes.output_size = config.output_size;
    sizes.rotary_frequencies = config.rotary.inverse_frequencies.data;
    sizes.num_rotary_frequencies = config.rotary.inverse_frequencies.sizes[0];
    sizes.rotary_attention_factor = config.rotary.attention_factor;
    sizes.rotary_interleaved = config.rotary.interleaved;
    sizes.qk_norm = config.qk_norm;
    sizes.norm_epsilon = config.norm_epsilon;
    const attend_mha_weights weights = {w.query.data,    w.key.data,        w.value.data,       w.output.data,     w.query_bias.data,
                                        w.key_bias.data, w.value_bias.data, w.output_bias.data, w.query_norm.data, w.key_norm.data};
    attend_error error = {};
    REQUIRE_MESSAGE(attend_mha_make(&sizes, &weights, nullptr, 0, &layer, &error) == ATTEND_OK, std::string(error.message));
  }
  ~CLayer() { attend_mha_destroy(layer); }
  CLayer(const CLayer&) = delete;
  CLayer& operator=(const CLayer&) = delete;
};

/// Grouped heads, norms, rotation, biases: all that depends on where a row stands.
MultiHeadAttentionConfig rich_config(Isa isa, const Tensor& frequencies) {
  MultiHeadAttentionConfig config = Layer::square(20, 4, isa, true);
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.output_size = 9;
  config.rotary.inverse_frequencies = frequencies.view;
  config.rotary.attention_factor = 1.5f;
  config.rotary.interleaved = true;
  config.qk_norm = true;
  config.norm_epsilon = 0.25f;
  return config;
}

attend_error problem;  // of the call that a check is about

void require_done(attend_code code) { REQUIRE_MESSAGE(code == ATTEND_OK, std::string(problem.message)); }

/// Refused, with such a code and a message that begins so.
void check_refused(attend_code code, attend_code expected, const std::string& start) {
  const std::string message = problem.message;
  problem = attend_error();
  CHECK_MESSAGE(code == expected, start);
  CHECK_MESSAGE(message.compare(0, start.size(), start) == 0, message, ", expected ", start);
}

/// Calls with a workspace of exactly so many bytes; of one fewer they are refused.
template <class Call, class Run>
void run_in(std::size_t bytes, Call& call, const Run& run) {
  REQUIRE(bytes > 0);
  std::vector<unsigned char> memory(bytes);
  call.workspace = memory.data();
  call.workspace_bytes = bytes - 64;  // any alignment counts on 63 more
  check_refused(run(&call), ATTEND_OUT_OF_MEMORY, "workspace: ");
  call.workspace_bytes = bytes;
  require_done(run(&call));
  call.workspace = nullptr;
}

}  // namespace

TEST_CASE("C API: a layer with every option gives the bits of the C++ one, and so does the core") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(41);
    Tensor frequencies({3});
    const Layer layer(rich_config(isa, frequencies.fill(random)), random);
    const std::int64_t B = 2, L = 5, S = 7, H = 4;
    Tensor queries({B, L, 20}), keys({B, S, 20}), expected({B, L, 9}), expected_lse({B, H, L}), output({B, L, 9}), lse({B, H, L});
    Tensor additive({B, 1, L, S});
    queries.fill(random);
    keys.fill(random);
    additive.fill(random);
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(H * L * S));
    for (std::uint8_t& shown : mask) shown = !random.one_in(4);
    const std::int64_t lengths[] = {7, 5};
    AttentionOptions options;
    options.causal = true;
    options.offset = 2;
    options.window_left = 3;
    options.mask = BoolMaskView(mask.data(), 1, H, L, S);
    options.additive_mask = additive.view;
    options.scale = -0.5f;
    options.softcap = 3.0f;
    options.empty_rows = EmptyRows::uniform;
    options.lse = expected_lse.view;
    REQUIRE_OK(layer.forward(queries, keys, keys, LengthsView(lengths, B), expected, options));

    const CLayer made(layer);
    attend_error error = {};
    attend_options given = {};
    given.causal = 1;
    given.offset = 2;
    given.windowed = 1;
    given.window_left = 3;
    given.window_right = -1;
    given.mask = mask.data();
    given.mask_by_head = 1;
    given.additive_mask = additive.view.data;
    given.additive_mask_by_entry = 1;
    given.scale = -0.5f;
    given.softcap = 3.0f;
    given.lse = lse.view.data;
    attend_mha_call call = {};
    call.batch = B;
    call.num_queries = L;
    call.num_keys = S;
    call.queries = queries.view.data;
    call.keys = call.values = keys.view.data;
    call.valid_lens = lengths;
    call.empty_rows = ATTEND_EMPTY_UNIFORM;
    call.output = output.view.data;
    call.options = given;
    REQUIRE_MESSAGE(attend_mha_forward(made.layer, &call, &error) == ATTEND_OK, std::string(error.message));
    CHECK_SAME_BITS(output, expected);
    CHECK_SAME_BITS(lse, expected_lse);
    // All zero: no option at all.
    call.options = attend_options();
    call.valid_lens = nullptr;
    call.empty_rows = 0;
    REQUIRE(attend_mha_forward(made.layer, &call, &error) == ATTEND_OK);
    REQUIRE_OK(layer.forward(queries, keys, keys, {}, expected));
    CHECK_SAME_BITS(output, expected);

    const std::int64_t D = 576, Dv = 512;
    Tensor q({B, H, L, D}), k({B, 2, S, D}), v({B, 2, S, Dv}), core({B, H, L, Dv}), expected_core({B, H, L, Dv});
    q.fill(random);
    k.fill(random);
    v.fill(random);
    Workspace workspace;
    REQUIRE_OK(attention(q.view, k.view, v.view, LengthsView(lengths, B), expected_core.view, workspace, on(isa, options)));
    attend_attention_call core_call = {};
    core_call.batch = B;
    core_call.num_heads = H;
    core_call.num_kv_heads = 2;
    core_call.num_queries = L;
    core_call.num_keys = S;
    core_call.head_dim = D;
    core_call.value_dim = Dv;
    core_call.valid_lens = lengths;
    core_call.empty_rows = ATTEND_EMPTY_UNIFORM;
    core_call.isa = static_cast<int>(isa);
    core_call.options = given;
    const std::size_t bytes = attend_attention_workspace_bytes(&core_call);
    CHECK(bytes == attention_workspace_bytes(q.view, k.view, v.view, on(isa, options)));
    core_call.q = q.view.data;
    core_call.k = k.view.data;
    core_call.v = v.view.data;
    core_call.output = core.view.data;
    REQUIRE_MESSAGE(attend_attention(&core_call, &error) == ATTEND_OK, std::string(error.message));
    CHECK_SAME_BITS(core, expected_core);
    CHECK_SAME_BITS(lse, expected_lse);
    core.fill(0.0f);
    std::vector<unsigned char> memory(bytes);
    core_call.workspace = memory.data();
    core_call.workspace_bytes = bytes;
    REQUIRE(attend_attention(&core_call, &error) == ATTEND_OK);
    CHECK_SAME_BITS(core, expected_core);
    core_call.workspace_bytes = 1;
    CHECK(attend_attention(&core_call, &error) == ATTEND_OUT_OF_MEMORY);
    core_call.options.softcap = -1.0f;
    CHECK(attend_attention(&core_call, &error) == ATTEND_INVALID_ARGUMENT);
    CHECK(std::string(error.message).find("softcap: -1") == 0);
    CHECK(attend_attention(nullptr, &error) == ATTEND_INVALID_ARGUMENT);
    CHECK(attend_attention_workspace_bytes(nullptr) == 0);
  }
}

TEST_CASE("C API: packed sequences give the bits of the C++ API, in the memory that is asked for") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(43);
    Tensor frequencies({3});
    const Layer layer(rich_config(isa, frequencies.fill(random)), random);
    const CLayer made(layer);
    const std::int64_t N = 4, L = 9, S = 16, H = 4, query_starts[] = {0, 3, 3, 4, 9}, key_starts[] = {0, 4, 6, 11, 16}, lengths[] = {4, 1, 9, 3};
    Tensor queries({1, L, 20}), keys({1, S, 20}), expected({1, L, 9}), expected_lse({1, H, L}), output({1, L, 9}), lse({1, H, L});
    queries.fill(random);
    keys.fill(random);
    AttentionOptions options;
    options.causal = true;
    options.offset = 1;
    options.lse = expected_lse.view;
    options.query_starts = IndexView(query_starts, N + 1);
    options.key_starts = IndexView(key_starts, N + 1);
    REQUIRE_OK(layer.forward(queries, keys, keys, LengthsView(lengths, N), expected, options));

    attend_mha_call call = {};
    call.batch = 1;
    call.num_queries = L;
    call.num_keys = S;
    call.options.causal = 1;
    call.options.offset = 1;
    call.options.num_sequences = N;
    call.options.query_starts = query_starts;
    call.options.key_starts = key_starts;
    const std::size_t bytes = attend_mha_call_workspace_bytes(made.layer, &call);
    CHECK(bytes == layer.attention.workspace_bytes({1, L, S}, options));
    CHECK(attend_mha_call_workspace_bytes(nullptr, &call) + attend_mha_call_workspace_bytes(made.layer, nullptr) == 0);
    call.queries = queries.view.data;
    call.keys = call.values = keys.view.data;
    call.valid_lens = lengths;
    call.output = output.view.data;
    call.options.lse = lse.view.data;
    run_in(bytes, call, [&](const attend_mha_call* c) { return attend_mha_forward(made.layer, c, &problem); });
    CHECK_SAME_BITS(output, expected);
    CHECK_SAME_BITS(lse, expected_lse);

    Tensor q({1, H, L, 6}), k({1, 2, S, 6}), v({1, 2, S, 4}), core({1, H, L, 4}), expected_core({1, H, L, 4});
    q.fill(random);
    k.fill(random);
    v.fill(random);
    Workspace workspace;
    REQUIRE_OK(attention(q.view, k.view, v.view, LengthsView(lengths, N), expected_core.view, workspace, on(isa, options)));
    attend_attention_call core_call = {};
    core_call.batch = 1;
    core_call.num_heads = H;
    core_call.num_kv_heads = 2;
    core_call.num_queries = L;
    core_call.num_keys = S;
    core_call.head_dim = 6;
    core_call.value_dim = 4;
    core_call.isa = static_cast<int>(isa);
    core_call.options = call.options;
    const std::size_t core_bytes = attend_attention_workspace_bytes(&core_call);
    core_call.q = q.view.data;
    core_call.k = k.view.data;
    core_call.v = v.view.data;
    core_call.valid_lens = lengths;
    core_call.output = core.view.data;
    run_in(core_bytes, core_call, [](const attend_attention_call* c) { return attend_attention(c, &problem); });
    CHECK_SAME_BITS(core, expected_core);
    CHECK_SAME_BITS(lse, expected_lse);

    // What is not right is refused by name, and nothing is written.
    const auto refused = [&](const attend_options& wrong, const char* message) {
      call.options = core_call.options = wrong;
      check_refused(attend_mha_forward(made.layer, &call, &problem), ATTEND_INVALID_ARGUMENT, message);
      check_refused(attend_attention(&core_call, &problem), ATTEND_INVALID_ARGUMENT, message);
      CHECK_SAME_BITS(output, expected);
      CHECK_SAME_BITS(core, expected_core);
    };
    const attend_options right = call.options;
    attend_options wrong = right;
    wrong.key_starts = nullptr;
    refused(wrong, "key_starts: data is null, but its shape is (5)");
    wrong.key_starts = query_starts;
    refused(wrong, "key_starts: ends at 9, expected the rows of k");
    CHECK(attend_mha_call_workspace_bytes(made.layer, &call) == 0);
    wrong = right;
    wrong.num_sequences = N - 1;
    refused(wrong, "query_starts: ends at 4, expected the rows of q");
    for (const std::int64_t absurd : {std::int64_t{-1}, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
      wrong.num_sequences = absurd;
      refused(wrong, "query_starts: ");
    }
    wrong = right;
    const std::uint8_t shown[L * S] = {1};
    wrong.mask = shown;
    refused(wrong, "query_starts: cannot go with mask");
    // A single query whose row may be uniform takes more than one that decodes.
    attend_mha_call one = {};
    one.batch = one.num_queries = 1;
    one.num_keys = S;
    one.queries = queries.view.data;
    one.keys = one.values = keys.view.data;
    one.empty_rows = ATTEND_EMPTY_UNIFORM;
    one.output = output.view.data;
    run_in(attend_mha_call_workspace_bytes(made.layer, &one), one,
           [&](const attend_mha_call* c) { return attend_mha_forward(made.layer, c, &problem); });
  }
}

namespace {

enum class Kind { plain, ring, paged };

/// The same empty cache twice: in C, in memory of exactly the bytes that it asks for, one byte off a cache line,
/// and in C++.
struct TwinCaches {
  static constexpr std::int64_t B = 2, G = 2;
  std::vector<std::int64_t> pages;
  std::vector<unsigned char> memory;
  attend_kv_cache_config sizes = {};
  attend_kv_cache* cache = nullptr;
  KeyValueCache twin;

  TwinCaches(Kind kind, std::int64_t capacity, std::int64_t head_dim, std::int64_t value_dim) {
    KeyValueCacheConfig config;
    config.batch = sizes.batch = B;
    config.num_kv_heads = sizes.num_kv_heads = G;
    config.head_dim = sizes.head_dim = head_dim;
    config.value_dim = sizes.value_dim = value_dim;
    config.capacity = sizes.capacity = capacity;
    config.ring = kind == Kind::ring;
    sizes.ring = config.ring;
    if (kind == Kind::paged) {
      const std::int64_t columns = (capacity + 2) / 3;
      config.page_rows = sizes.page_rows = 3;
      config.page_count = sizes.page_count = B * columns;
      for (std::int64_t p = 0; p < config.page_count; ++p) pages.push_back(config.page_count - 1 - p);
      config.pages = IndexView(pages.data(), B, columns);
      sizes.pages = pages.data();
      sizes.pages_per_entry = columns;
    }
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
    const KeyValueCacheConfig config = twin.config();
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
      TwinCaches caches(kind, kind == Kind::ring ? 10 : 20, 6, 6);
      Workspace workspace;
      // A prefill, entries of different counts, single tokens, several; once taken back between.
      for (const std::vector<std::int64_t>& step : {std::vector<std::int64_t>{6}, {3, 2, 3}, {1}, {1}, {1, 0, 1}, {4}, {1}}) {
        CAPTURE(text_of(step));
        const std::int64_t n = step[0];
        const std::int64_t* const counts = step.size() > 1 ? step.data() + 1 : nullptr;
        const IndexView new_counts = counts != nullptr ? IndexView(counts, B) : IndexView();
        std::int64_t S = 0;
        for (std::int64_t b = 0; b < B; ++b) S = std::max(S, caches.twin.length(b) + (counts != nullptr ? counts[b] : n));
        Tensor x({B, n, 20}), y({B, n, 20}), expected({B, n, 9}), output({B, n, 9}), expected_lse({B, H, n}), lse({B, H, n});
        Tensor expected_weights({B, H, n, S}), weights({B, H, n, S}), additive({1, H, n, S});
        x.fill(random);
        y.fill(random);
        additive.fill(random);
        AttentionOptions options;
        options.causal = true;
        options.window_left = 6;
        options.additive_mask = additive.view;
        options.lse = expected_lse.view;
        options.attention_weights = expected_weights.view;

        attend_mha_cached_call call = {};
        call.num_queries = call.num_new = n;
        call.num_keys = S;
        call.options.causal = 1;
        call.options.windowed = 1;
        call.options.window_left = 6;
        call.options.window_right = -1;
        const std::size_t bytes = attend_mha_cached_workspace_bytes(made.layer, caches.cache, &call);
        CHECK(bytes == layer.attention.workspace_bytes({B, n, n}, caches.twin, options));
        call.queries = x.view.data;
        call.keys = call.values = y.view.data;
        call.new_counts = counts;
        call.output = output.view.data;
        call.attention_weights = weights.view.data;
        call.options.additive_mask = additive.view.data;
        call.options.additive_mask_by_head = 1;
        call.options.lse = lse.view.data;
        // A mask of another width is refused, and everything is as it was.
        call.num_keys = S + 1;
        check_refused(attend_mha_cached_forward(made.layer, caches.cache, &call, &problem), ATTEND_INVALID_ARGUMENT, "additive_mask: shape ");
        CHECK(caches.same());
        call.num_keys = S;
        const auto forward = [&](const attend_mha_cached_call* c) {
          CHECK(caches.same());  // also after the call that lacked memory
          return attend_mha_cached_forward(made.layer, caches.cache, c, &problem);
        };
        run_in(bytes, call, forward);
        REQUIRE_OK(layer.attention.forward_cached(x.view, y.view, y.view, new_counts, &caches.twin, expected.view, workspace, options));
        CHECK(caches.same());
        CHECK_SAME_BITS(output, expected);
        CHECK_SAME_BITS(lse, expected_lse);
        CHECK_SAME_BITS(weights, expected_weights);
        if (n == 4) {
          for (std::int64_t b = 0; b < B; ++b) {
            require_done(attend_kv_cache_truncate(caches.cache, b, caches.twin.length(b) - 2, &problem));
            REQUIRE_OK(caches.twin.truncate(b, caches.twin.length(b) - 2));
          }
          CHECK(caches.same());
        }
      }
      // Queries alone read what is there, in the layer's own workspace.
      Tensor x({B, 3, 20}), expected({B, 3, 9}), output({B, 3, 9});
      x.fill(random);
      const std::int64_t counts[] = {1, 1};
      attend_mha_cached_call call = {};
      call.num_queries = 3;
      call.queries = x.view.data;
      call.new_counts = counts;
      call.output = output.view.data;
      require_done(attend_mha_cached_forward(made.layer, caches.cache, &call, &problem));
      REQUIRE_OK(layer.attention.forward_cached(x.view, {}, {}, IndexView(counts, B), &caches.twin, expected.view, workspace));
      CHECK_SAME_BITS(output, expected);
      CHECK(caches.same());
      // An encoder's output, once.
      attend_kv_cache_clear(caches.cache);
      caches.twin.clear();
      attend_mha_cached_call rows = {};
      rows.num_new = 3;
      rows.keys = rows.values = x.view.data;
      const auto project = [&](const attend_mha_cached_call* c) { return attend_mha_project(made.layer, caches.cache, c, &problem); };
      run_in(attend_mha_cached_workspace_bytes(made.layer, caches.cache, &rows), rows, project);
      rows.new_counts = counts;
      require_done(project(&rows));
      REQUIRE_OK(layer.attention.project(x.view, x.view, {}, &caches.twin, workspace));
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
      for (const std::vector<std::int64_t>& step : {std::vector<std::int64_t>{5}, {1}, {3, 3, 0}, {1}}) {
        CAPTURE(text_of(step));
        const std::int64_t n = step[0];
        const std::int64_t* const counts = step.size() > 1 ? step.data() + 1 : nullptr;
        const IndexView new_counts = counts != nullptr ? IndexView(counts, B) : IndexView();
        Tensor q({B, H, n, D}), k({B, G, n, D}), v({B, G, n, Dv}), expected({B, H, n, Dv}), output({B, H, n, Dv});
        q.fill(random);
        k.fill(random);
        v.fill(random);
        require_done(attend_kv_cache_append(caches.cache, n, k.view.data, v.view.data, counts, &problem));
        REQUIRE_OK(caches.twin.append(k.view, v.view, new_counts));
        CHECK(caches.same());
        AttentionOptions options;
        options.causal = true;
        options.softcap = 4.0f;
        REQUIRE_OK(attention_cached(q.view, caches.twin, new_counts, expected.view, workspace, on(isa, options)));
        attend_cached_attention_call call = {};
        call.num_heads = H;
        call.num_queries = n;
        call.isa = static_cast<int>(isa);
        call.options.causal = 1;
        call.options.softcap = 4.0f;
        const std::size_t bytes = attend_cached_attention_workspace_bytes(caches.cache, &call);
        CHECK(bytes == attention_workspace_bytes(q.view, caches.twin, on(isa, options)));
        call.q = q.view.data;
        call.query_counts = counts;
        call.output = output.view.data;
        require_done(attend_cached_attention(caches.cache, &call, &problem));
        CHECK_SAME_BITS(output, expected);
        output.fill(0.0f);
        std::vector<unsigned char> memory(bytes);
        call.workspace = memory.data();
        call.workspace_bytes = bytes;
        require_done(attend_cached_attention(caches.cache, &call, &problem));
        CHECK_SAME_BITS(output, expected);
        call.workspace_bytes = 1;
        check_refused(attend_cached_attention(caches.cache, &call, &problem), ATTEND_OUT_OF_MEMORY, "workspace: ");
        CHECK_SAME_BITS(output, expected);
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
  require_done(attend_kv_cache_append(caches.cache, 3, k.view.data, k.view.data, counts, &problem));
  REQUIRE_OK(caches.twin.append(k.view, k.view, IndexView(counts, B)));

  attend_mha_cached_call call = {};
  call.num_queries = call.num_new = 3;
  call.queries = call.keys = call.values = rows.view.data;
  call.output = output.view.data;
  attend_cached_attention_call core_call = {};
  core_call.num_heads = 4;
  core_call.num_queries = 3;
  core_call.q = q.view.data;
  core_call.output = core.view.data;
  const attend_code invalid = ATTEND_INVALID_ARGUMENT, full = ATTEND_OUT_OF_MEMORY;

  check_refused(attend_kv_cache_append(caches.cache, 3, k.view.data, k.view.data, nullptr, &problem), full, "cache: entry 0 holds 3 of 4 tokens, no room for 3 more");
  check_refused(attend_mha_cached_forward(made.layer, caches.cache, &call, &problem), full, "cache: entry 0 holds 3 of 4 tokens, no room for 3 more");
  check_refused(attend_mha_project(made.layer, caches.cache, &call, &problem), full, "cache: entry 0 holds 3 of 4 tokens, no room for 3 more");
  check_refused(attend_kv_cache_append(caches.cache, 3, k.view.data, k.view.data, wrong_counts, &problem), invalid, "counts: [1] is 4, expected 0 to 3");
  check_refused(attend_kv_cache_append(caches.cache, 3, nullptr, k.view.data, nullptr, &problem), invalid, "k: data is null");
  check_refused(attend_kv_cache_append(caches.cache, 3, k.view.data, nullptr, nullptr, &problem), invalid, "v: data is null");
  check_refused(attend_kv_cache_append(caches.cache, -1, k.view.data, k.view.data, nullptr, &problem), invalid, "k: ");
  check_refused(attend_kv_cache_truncate(caches.cache, 0, 4, &problem), invalid, "length: 4, expected 0 or 0 to 3, what entry 0 holds");
  check_refused(attend_kv_cache_truncate(caches.cache, 2, 0, &problem), invalid, "b: 2, expected 0 to 1");

  check_refused(attend_kv_cache_append(nullptr, 3, k.view.data, k.view.data, nullptr, &problem), invalid, "cache: null");
  check_refused(attend_kv_cache_truncate(nullptr, 0, 0, &problem), invalid, "cache: null");
  check_refused(attend_mha_cached_forward(nullptr, caches.cache, &call, &problem), invalid, "layer: null");
  check_refused(attend_mha_cached_forward(made.layer, nullptr, &call, &problem), invalid, "cache: null");
  check_refused(attend_mha_cached_forward(made.layer, caches.cache, nullptr, &problem), invalid, "call: null");
  check_refused(attend_mha_project(nullptr, caches.cache, &call, &problem), invalid, "layer: null");
  check_refused(attend_mha_project(made.layer, nullptr, &call, &problem), invalid, "cache: null");
  check_refused(attend_mha_project(made.layer, caches.cache, nullptr, &problem), invalid, "call: null");
  check_refused(attend_cached_attention(nullptr, &core_call, &problem), invalid, "cache: null");
  check_refused(attend_cached_attention(caches.cache, nullptr, &problem), invalid, "call: null");
  CHECK(attend_kv_cache_append(nullptr, 3, k.view.data, k.view.data, nullptr, nullptr) == invalid);
  CHECK(attend_mha_cached_workspace_bytes(nullptr, caches.cache, &call) == 0);
  CHECK(attend_mha_cached_workspace_bytes(made.layer, nullptr, &call) == 0);
  CHECK(attend_mha_cached_workspace_bytes(made.layer, caches.cache, nullptr) == 0);
  CHECK(attend_cached_attention_workspace_bytes(nullptr, &core_call) == 0);
  CHECK(attend_cached_attention_workspace_bytes(caches.cache, nullptr) == 0);
  CHECK(attend_kv_cache_length(nullptr, 0) == 0);
  CHECK(attend_kv_cache_first(nullptr, 0) == 0);
  CHECK(attend_kv_cache_key(nullptr, 0, 0, 0) == nullptr);
  CHECK(attend_kv_cache_value(nullptr, 0, 0, 0) == nullptr);
  CHECK(attend_kv_cache_length(caches.cache, B) == 0);
  CHECK(attend_kv_cache_key(caches.cache, 0, 2, 0) == nullptr);
  attend_kv_cache_clear(nullptr);
  attend_kv_cache_destroy(nullptr);

  // Half of the new rows, and none where some are counted.
  attend_mha_cached_call wrong = call;
  wrong.values = nullptr;
  check_refused(attend_mha_cached_forward(made.layer, caches.cache, &wrong, &problem), invalid, "values: data is null");
  wrong.keys = nullptr;
  check_refused(attend_mha_cached_forward(made.layer, caches.cache, &wrong, &problem), invalid, "keys: data is null");
  check_refused(attend_mha_project(made.layer, caches.cache, &wrong, &problem), invalid, "keys: data is null");
  // Packed sequences have no cache, heads have to be divided, and a layer's cache is of its heads.
  const std::int64_t starts[] = {0, 3};
  core_call.options.num_sequences = 1;
  core_call.options.query_starts = core_call.options.key_starts = starts;
  check_refused(attend_cached_attention(caches.cache, &core_call, &problem), invalid, "query_starts: given, but attention over a cache has no use for it");
  core_call.options = attend_options();
  core_call.num_heads = 3;
  check_refused(attend_cached_attention(caches.cache, &core_call, &problem), invalid, "cache: 2 heads do not divide those of q, 3");
  CHECK(attend_cached_attention_workspace_bytes(caches.cache, &core_call) == 0);
  const TwinCaches other(Kind::plain, 20, 5, 6);
  check_refused(attend_mha_cached_forward(made.layer, other.cache, &call, &problem), invalid, "cache: 2 heads of 5 and 6, expected 2 of 6 and 6");
  CHECK(attend_mha_cached_workspace_bytes(made.layer, other.cache, &call) == 0);
  CHECK(caches.same());
  CHECK(attend_kv_cache_length(other.cache, 0) == 0);
  for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == 3.0f);
  for (std::int64_t n = 0; n < core.count(); ++n) CHECK(core[n] == 3.0f);

  // A page that is not in the pool; a ring that has let go what a window would see.
  TwinCaches paged(Kind::paged, 5, 6, 6), ring(Kind::ring, 3, 6, 6);
  paged.pages[1] = 99;
  require_done(attend_kv_cache_append(paged.cache, 3, k.view.data, k.view.data, nullptr, &problem));
  check_refused(attend_kv_cache_append(paged.cache, 1, k.view.data, k.view.data, nullptr, &problem), invalid, "pages: [0, 1] is 99, expected 0 to 3");
  CHECK(attend_kv_cache_length(paged.cache, 0) == 3);
  require_done(attend_mha_project(made.layer, ring.cache, &call, &problem));
  call.options.windowed = 1;
  call.options.window_left = 2;
  call.options.window_right = -1;
  check_refused(attend_mha_project(made.layer, ring.cache, &call, &problem), invalid, "window_left: given, but project has no use for it");
  check_refused(attend_mha_cached_forward(made.layer, ring.cache, &call, &problem), invalid, "cache: query 0 of entry 0 sees tokens from 1 on");
  CHECK(attend_kv_cache_length(ring.cache, 1) == 3);

  // Of configs.
  attend_kv_cache* none = nullptr;
  attend_kv_cache_config sizes = caches.sizes;
  check_refused(attend_kv_cache_make(nullptr, nullptr, 0, &none, &problem), invalid, "config: null");
  check_refused(attend_kv_cache_make(&sizes, nullptr, 0, nullptr, &problem), invalid, "cache: null");
  sizes.batch = 0;
  check_refused(attend_kv_cache_make(&sizes, nullptr, 0, &none, &problem), invalid, "batch: 0, expected 1 to ");
  CHECK(attend_kv_cache_bytes(&sizes) == 0);
  CHECK(attend_kv_cache_bytes(nullptr) == 0);
  sizes = paged.sizes;
  sizes.pages = nullptr;
  check_refused(attend_kv_cache_make(&sizes, nullptr, 0, &none, &problem), invalid, "pages: data is null");
  CHECK(none == nullptr);
  // From the heap, with what is not given filled in.
  sizes = paged.sizes;
  sizes.capacity = sizes.value_dim = 0;
  require_done(attend_kv_cache_make(&sizes, nullptr, 0, &none, &problem));
  paged.pages[1] = 0;
  check_refused(attend_kv_cache_append(paged.cache, 3, k.view.data, k.view.data, nullptr, &problem), full, "cache: entry 0 holds 3 of 5 tokens, no room for 3 more");
  require_done(attend_kv_cache_append(none, 3, k.view.data, k.view.data, nullptr, &problem));
  require_done(attend_kv_cache_append(none, 3, k.view.data, k.view.data, nullptr, &problem));
  check_refused(attend_kv_cache_append(none, 1, k.view.data, k.view.data, nullptr, &problem), full, "cache: entry 0 holds 6 of 6 tokens");
  attend_kv_cache_destroy(none);
  none = nullptr;
  // Where the heap has nothing, memory of the caller's does.
  attend::allocator = [](std::size_t, std::size_t) -> void* { return nullptr; };
  const attend_code without_memory = attend_kv_cache_make(&sizes, nullptr, 0, &none, &problem);
  std::vector<unsigned char> memory(attend_kv_cache_bytes(&caches.sizes)), workspace;
  const attend_code with_memory = attend_kv_cache_make(&caches.sizes, memory.data(), memory.size(), &none, nullptr);
  call.options = attend_options();
  workspace.resize(attend_mha_cached_workspace_bytes(made.layer, none, &call));
  call.workspace = workspace.data();
  call.workspace_bytes = workspace.size();
  const attend_code forward = attend_mha_cached_forward(made.layer, none, &call, nullptr);
  attend::allocator = aligned_alloc;
  check_refused(without_memory, full, "memory: null, and the heap has no attend_kv_cache_bytes(config) = ");
  CHECK(with_memory == ATTEND_OK);
  CHECK(forward == ATTEND_OK);
  attend_kv_cache_destroy(none);
}
