// Tests of a layer over a KV cache: prefill and decode, cross-attention, equal bits, memory, errors.

#include "engine_test.h"

#include <algorithm>

#include "base/memory.h"

using namespace engine_test;

namespace {

constexpr std::int64_t B = 2, H = 4, G = 2, D = 12, E = 40, O = 28, T = 70;

enum class Kind { plain, ring, paged };

/// Grouped heads, norms, rotation, biases: all that depends on where a row stands or goes.
Layer rich_layer(Isa isa, Random& random, const Tensor& frequencies) {
  MultiHeadAttentionConfig config = Layer::square(E, H, isa, true);
  config.num_kv_heads = G;
  config.head_dim = D;
  config.output_size = O;
  config.qk_norm = true;
  config.rotary.inverse_frequencies = frequencies.view;
  return Layer(config, random);
}

Tensor frequencies_of(Random& random) {
  Tensor frequencies({5});
  for (std::int64_t n = 0; n < 5; ++n) frequencies[n] = 0.1f + 0.4f * std::fabs(random.number());
  return frequencies;
}

struct Cache {
  KeyValueCache cache;
  std::vector<std::int64_t> pages;
  std::vector<float> memory;  // NaN where it was never written

  Cache(Kind kind, std::int64_t capacity, std::int64_t batch = B) {
    KeyValueCacheConfig config;
    config.batch = batch;
    config.num_kv_heads = G;
    config.head_dim = D;
    config.capacity = capacity;
    config.ring = kind == Kind::ring;
    if (kind == Kind::paged) {
      config.page_rows = 7;
      const std::int64_t columns = (capacity + 6) / 7;
      config.page_count = batch * columns;
      for (std::int64_t p = 0; p < config.page_count; ++p) pages.push_back(config.page_count - 1 - p);
      config.pages = IndexView(pages.data(), batch, columns);
    }
    const std::size_t bytes = KeyValueCache::bytes(config);
    memory.assign((bytes + 3) / sizeof(float), not_a_number);
    REQUIRE_OK(KeyValueCache::make(config, &cache, memory.data(), bytes));
  }
};

AttentionOptions causal(std::int64_t window_left = -1) {
  AttentionOptions options;
  options.causal = true;
  options.window_left = window_left;
  return options;
}

/// All tokens of x, in chunks.
Tensor in_chunks(const Layer& layer, KeyValueCache& cache, const Tensor& x, const std::vector<std::int64_t>& chunks, const AttentionOptions& options) {
  Tensor output({x.view.sizes[0], x.view.sizes[1], O});
  Workspace workspace;
  std::int64_t first = 0;
  for (std::size_t n = 0; first < x.view.sizes[1]; ++n) {
    const std::int64_t count = std::min(chunks[n % chunks.size()], x.view.sizes[1] - first);
    const TensorView rows = part_of(x.view, 1, first, count);
    REQUIRE_OK(layer.attention.forward_cached(rows, rows, rows, {}, &cache, part_of(output.view, 1, first, count), workspace, options));
    first += count;
  }
  return output;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  double worst = 0.0;
  for (std::int64_t n = 0; n < a.count(); ++n) {
    const double difference = std::fabs(static_cast<double>(a[n]) - static_cast<double>(b[n]));
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

}  // namespace

// So many that without a cache values would be projected or copied into panels, and no sequence decodes.
TEST_CASE("cached layer: many heads that share keys of a long cache give the bits of a forward without one") {
  constexpr std::int64_t heads = 16, depth = 32, width = 24, tokens = 1100;
  for (Isa isa : usable_isas()) {
    for (std::int64_t groups : {1, 2}) {
      CAPTURE(name_of(isa));
      CAPTURE(groups);
      Random random(311);
      MultiHeadAttentionConfig config = Layer::square(width, heads, isa, true);
      config.head_dim = depth;
      config.num_kv_heads = groups;
      const Layer layer(config, random);
      Tensor x({1, tokens, width}), expected({1, tokens, width}), output({1, tokens, width});
      x.fill(random);
      AttentionOptions options = causal();
      if (groups == 2) options.empty_rows = EmptyRows::uniform;
      REQUIRE_OK(layer.forward(x, x, x, {}, expected, options));
      KeyValueCacheConfig of_cache;
      of_cache.num_kv_heads = groups;
      of_cache.head_dim = depth;
      of_cache.capacity = tokens;
      KeyValueCache cache;
      REQUIRE_OK(KeyValueCache::make(of_cache, &cache));
      Workspace workspace;
      for (std::int64_t first = 0; first < tokens; first += 550) {
        const TensorView rows = part_of(x.view, 1, first, 550);
        REQUIRE_OK(layer.attention.forward_cached(rows, rows, rows, {}, &cache, part_of(output.view, 1, first, 550), workspace, options));
      }
      CHECK_SAME_BITS(output, expected);
    }
  }
}

TEST_CASE("cached layer: a prefill in chunks gives the bits of one causal forward, single tokens all but the last ones") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(301);
    const Tensor frequencies = frequencies_of(random);
    const Layer layer = rich_layer(isa, random, frequencies);
    Tensor x({B, T, E}), expected({B, T, O}), windowed({B, T, O});
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, expected, causal()));
    REQUIRE_OK(layer.forward(x, x, x, {}, windowed, causal(20)));
    for (const std::vector<std::int64_t>& chunks : {std::vector<std::int64_t>{T}, {2}, {3, 30, 4}, {33, 37}}) {
      CAPTURE(text_of(chunks));
      for (Kind kind : {Kind::plain, Kind::paged}) {
        Cache made(kind, T);
        CHECK_SAME_BITS(in_chunks(layer, made.cache, x, chunks, causal()), expected);
        made.cache.clear();
        CHECK_SAME_BITS(in_chunks(layer, made.cache, x, chunks, causal(20)), windowed);
      }
      Cache ring(Kind::ring, std::min(T, 20 + *std::max_element(chunks.begin(), chunks.end())));
      CHECK_SAME_BITS(in_chunks(layer, ring.cache, x, chunks, causal(20)), windowed);
    }
    Cache plain(Kind::plain, T), ring(Kind::ring, 30), paged(Kind::paged, T);
    const std::vector<std::int64_t> decode = {10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const Tensor tokens = in_chunks(layer, plain.cache, x, decode, causal(20));
    CHECK(largest_difference(tokens, windowed) <= 1e-5);
    CHECK_SAME_BITS(in_chunks(layer, ring.cache, x, decode, causal(20)), tokens);
    CHECK_SAME_BITS(in_chunks(layer, paged.cache, x, decode, causal(20)), tokens);
    for (int threads : {2, 3}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      AttentionOptions options = causal(20);
      options.threads = pool.threads();
      paged.cache.clear();
      CHECK_SAME_BITS(in_chunks(layer, paged.cache, x, decode, options), tokens);
    }
  }
}

TEST_CASE("cached layer: entries of different lengths give the bits of each alone, and padding W_o's bias") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(302);
    const Tensor frequencies = frequencies_of(random);
    const Layer layer = rich_layer(isa, random, frequencies);
    Tensor x({B, T, E});
    x.fill(random);
    for (Kind kind : {Kind::plain, Kind::paged}) {
      Cache made(kind, T), first(kind, T, 1), second(kind, T, 1);
      KeyValueCache* const alone[] = {&first.cache, &second.cache};
      Workspace workspace;
      for (const std::vector<std::int64_t>& counts : {std::vector<std::int64_t>{30, 7}, {0, 9}, {5, 5}, {2, 0}}) {
        CAPTURE(text_of(counts));
        const std::int64_t L = std::max(counts[0], counts[1]);
        Tensor rows({B, L, E}), output({B, L, O});
        rows.fill(not_a_number);
        for (std::int64_t b = 0; b < B; ++b) {
          for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(b)]; ++i) {
            for (std::int64_t e = 0; e < E; ++e) rows.at(b, i, e) = x.at(b, made.cache.length(b) + i, e);
          }
        }
        AttentionOptions options = causal();
        options.empty_rows = EmptyRows::uniform;
        REQUIRE_OK(layer.attention.forward_cached(rows.view, rows.view, rows.view, IndexView(counts.data(), B), &made.cache, output.view, workspace, options));
        std::int64_t wrong = 0;
        for (std::int64_t b = 0; b < B; ++b) {
          const std::int64_t count = counts[static_cast<std::size_t>(b)];
          Tensor one({1, count, O});
          const TensorView part = part_of(part_of(rows.view, 0, b, 1), 1, 0, count);
          REQUIRE_OK(layer.attention.forward_cached(part, part, part, {}, alone[b], one.view, workspace, options));
          CHECK(made.cache.length(b) == alone[b]->length(0));
          for (std::int64_t i = 0; i < L; ++i) {
            for (std::int64_t o = 0; o < O; ++o) {
              wrong += output.at(b, i, o) != (i < count ? one.at(0, i, o) : layer.tensors[7].at(o));
            }
          }
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("cached layer: what was taken back was never there") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(303);
    const Tensor frequencies = frequencies_of(random);
    const Layer layer = rich_layer(isa, random, frequencies);
    Tensor x({B, T, E}), drafts({B, 6, E}), rejected({B, 6, O}), expected({B, T, O}), output({B, T, O});
    x.fill(random);
    drafts.fill(not_a_number);
    REQUIRE_OK(layer.forward(x, x, x, {}, expected, causal(15)));
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      Cache made(kind, T + 6);
      Workspace workspace;
      for (std::int64_t first = 0; first < T; first += 10) {
        REQUIRE_OK(layer.attention.forward_cached(drafts.view, drafts.view, drafts.view, {}, &made.cache, rejected.view, workspace, causal(15)));
        for (std::int64_t b = 0; b < B; ++b) REQUIRE_OK(made.cache.truncate(b, first));
        const TensorView rows = part_of(x.view, 1, first, 10);
        REQUIRE_OK(layer.attention.forward_cached(rows, rows, rows, {}, &made.cache, part_of(output.view, 1, first, 10), workspace, causal(15)));
      }
      CHECK_SAME_BITS(output, expected);
    }
  }
}

TEST_CASE("cached layer: cross-attention to what was projected once") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(304);
    const Tensor frequencies = frequencies_of(random);
    const Layer layer = rich_layer(isa, random, frequencies);
    const std::int64_t S = 45, L = 6;
    Tensor encoder({B, S, E}), queries({B, L, E}), expected({B, L, O}), output({B, L, O}), weights({B, H, L, S}), lse({B, H, L}), expected_weights({B, H, L, S}), expected_lse({B, H, L});
    encoder.fill(random);
    queries.fill(random);
    const std::int64_t lengths[] = {45, 31}, positions[] = {3, 1, 4, 1, 5, 9};
    AttentionOptions options;
    options.query_positions = IndexView(positions, L);
    options.attention_weights = expected_weights.view;
    options.lse = expected_lse.view;
    REQUIRE_OK(layer.forward(queries, encoder, encoder, LengthsView(lengths, B), expected, options));
    for (std::int64_t i = 31; i < S; ++i) {
      for (std::int64_t e = 0; e < E; ++e) encoder.at(1, i, e) = not_a_number;
    }
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      Cache made(kind, S);
      Workspace workspace;
      REQUIRE_OK(layer.attention.project(encoder.view, encoder.view, IndexView(lengths, B), &made.cache, workspace));
      options.attention_weights = weights.view;
      options.lse = lse.view;
      for (int again = 0; again < 2; ++again) {
        output.fill(not_a_number);
        REQUIRE_OK(layer.attention.forward_cached(queries.view, {}, {}, {}, &made.cache, output.view, workspace, options));
        CHECK_SAME_BITS(output, expected);
        CHECK_SAME_BITS(weights, expected_weights);
        CHECK_SAME_BITS(lse, expected_lse);
        CHECK(made.cache.length(1) == 31);
      }
    }
    // Reading leaves the lengths alone, whatever the last append made of them.
    Cache shortened(Kind::paged, S);
    Workspace own;
    REQUIRE_OK(layer.attention.project(encoder.view, encoder.view, IndexView(lengths, B), &shortened.cache, own));
    REQUIRE_OK(shortened.cache.truncate(0, 40));
    REQUIRE_OK(layer.attention.forward_cached(queries.view, {}, {}, {}, &shortened.cache, output.view, own, causal()));
    CHECK(shortened.cache.length(0) == 40);
    // Keys at positions that are given.
    std::vector<std::int64_t> key_positions(static_cast<std::size_t>(B * S));
    for (std::int64_t& position : key_positions) position = random.between(-20, 90);
    options.key_positions = IndexView(key_positions.data(), B, S);
    REQUIRE_OK(layer.forward(queries, encoder, encoder, LengthsView(lengths, B), expected, options));
    Cache made(Kind::paged, S);
    Workspace workspace;
    AttentionOptions projecting;
    projecting.key_positions = options.key_positions;
    REQUIRE_OK(layer.attention.project(encoder.view, encoder.view, IndexView(lengths, B), &made.cache, workspace, projecting));
    options.key_positions = IndexView();
    REQUIRE_OK(layer.attention.forward_cached(queries.view, {}, {}, {}, &made.cache, output.view, workspace, options));
    CHECK_SAME_BITS(output, expected);
  }
}

TEST_CASE("cached layer: fewer queries than new keys are the last ones; a ring keeps the last of what is projected") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(305);
    const Tensor frequencies = frequencies_of(random);
    const Layer layer = rich_layer(isa, random, frequencies);
    Tensor x({B, T, E}), expected({B, T, O}), last({B, 3, O});
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, expected, causal(15)));
    Workspace workspace;
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      Cache made(kind, kind == Kind::ring ? 18 : T);
      const TensorView before = part_of(x.view, 1, 0, 5), rows = part_of(x.view, 1, 5, T - 5);
      REQUIRE_OK(layer.attention.project(before, before, {}, &made.cache, workspace));
      REQUIRE_OK(layer.attention.forward_cached(part_of(x.view, 1, T - 3, 3), rows, rows, {}, &made.cache, last.view, workspace, causal(15)));
      CHECK(made.cache.length(0) == T);
      std::int64_t wrong = 0;
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t i = 0; i < 3; ++i) {
          for (std::int64_t o = 0; o < O; ++o) wrong += last.at(b, i, o) != expected.at(b, T - 3 + i, o);
        }
      }
      CHECK(wrong == 0);
    }
  }
}

namespace {

void* no_memory(std::size_t, std::size_t) { return nullptr; }

struct NoHeap {
  NoHeap() { attend::allocator = no_memory; }
  ~NoHeap() { attend::allocator = aligned_alloc; }
};

}  // namespace

TEST_CASE("cached layer: the workspace's bytes are enough at any length and not one too many; no heap") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(306);
    const Tensor frequencies = frequencies_of(random);
    const Layer layer = rich_layer(isa, random, frequencies);
    Tensor x({B, T, E}), output({B, 7, O});
    x.fill(random);
    Cache made(Kind::plain, T);
    const std::size_t bytes = layer.attention.workspace_bytes({B, 7, 7}, made.cache, causal());
    REQUIRE(bytes > 0);
    std::vector<unsigned char> memory(bytes + 64);
    unsigned char* const worst = memory.data() + (65 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;  // a byte past a line
    const NoHeap heap;
    Workspace workspace(worst, bytes);
    for (std::int64_t first = 0; first < T; first += 7) {
      const TensorView rows = part_of(x.view, 1, first, 7);
      REQUIRE_OK(layer.attention.forward_cached(rows, rows, rows, {}, &made.cache, output.view, workspace, causal()));
    }
    for (std::int64_t b = 0; b < B; ++b) REQUIRE_OK(made.cache.truncate(b, 7));
    const std::vector<float> before = made.memory;
    Workspace less(worst, bytes - 1);
    Tensor untouched({B, 7, O});
    const TensorView rows = part_of(x.view, 1, 0, 7);
    const Status status = layer.attention.forward_cached(rows, rows, rows, {}, &made.cache, untouched.view, less, causal());
    CHECK(status.code() == StatusCode::out_of_memory);
    CHECK(std::string(status.message()).find("workspace: holds ") == 0);
    CHECK(untouched.untouched());
    CHECK(made.cache.length(0) == 7);
    const std::size_t projecting = layer.attention.workspace_bytes({B, 0, 7}, made.cache);
    Workspace small(worst, projecting), smaller(worst, projecting - 1);
    CHECK(layer.attention.project(rows, rows, {}, &made.cache, smaller).code() == StatusCode::out_of_memory);
    CHECK(made.cache.length(0) == 7);
    REQUIRE_OK(layer.attention.project(rows, rows, {}, &made.cache, small));
    CHECK(layer.attention.workspace_bytes({B + 1, 1, 1}, made.cache) == 0);
    CHECK(layer.attention.workspace_bytes({B, -1, 1}, made.cache) == 0);
    CHECK(layer.attention.workspace_bytes({B, 1, 1}, KeyValueCache()) == 0);
    CHECK(MultiHeadAttention().workspace_bytes({B, 1, 1}, made.cache) == 0);
  }
}

TEST_CASE("cached layer: bad calls are refused by name, and the cache stays as it was") {
  Random random(307);
  // Tables that end at position 20.
  Tensor cosines({20, 5}), sines({20, 5});
  cosines.fill(random);
  sines.fill(random);
  MultiHeadAttentionConfig config = Layer::square(E, H, Isa::best);
  config.num_kv_heads = G;
  config.head_dim = D;
  config.output_size = O;
  config.rotary.cosines = cosines.view;
  config.rotary.sines = sines.view;
  const Layer layer(config, random);
  Tensor x({B, 8, E}), output({B, 8, O});
  x.fill(random);
  Workspace workspace;
  for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
    Cache made(kind, kind == Kind::ring ? 10 : 18);
    REQUIRE_OK(layer.attention.project(x.view, x.view, {}, &made.cache, workspace));
    REQUIRE_OK(layer.attention.project(part_of(x.view, 1, 0, 6), part_of(x.view, 1, 0, 6), {}, &made.cache, workspace));
    const auto row = [&](std::int64_t token) {
      const float* key = made.cache.key(1, 1, token);
      return std::vector<float>(key, key + D);
    };
    std::vector<std::vector<float>> before;
    for (std::int64_t j = made.cache.first(1); j < 14; ++j) before.push_back(row(j));
    const auto refuse = [&](const Status& status, const std::string& message, StatusCode code = StatusCode::invalid_argument) {
      CHECK(std::string(status.message()) == message);
      CHECK(status.code() == code);
      CHECK(output.untouched());
      for (std::int64_t b = 0; b < B; ++b) CHECK(made.cache.length(b) == 14);
      for (std::int64_t j = made.cache.first(1); j < 14; ++j) CHECK(row(j) == before[static_cast<std::size_t>(j - made.cache.first(1))]);
    };
    const ConstTensorView rows = part_of(x.view, 1, 0, 3), eight = x.view;
    const TensorView three = part_of(output.view, 1, 0, 3);
    const auto forward = [&](const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values, const IndexView& counts,
                             const TensorView& result, const AttentionOptions& options = causal(4)) {
      return layer.attention.forward_cached(queries, keys, values, counts, &made.cache, result, workspace, options);
    };
    const std::int64_t negative[] = {1, -1}, many[] = {4, 0};
    refuse(layer.attention.forward_cached(rows, rows, rows, {}, nullptr, three, workspace), "cache: null");
    KeyValueCache never;
    refuse(layer.attention.forward_cached(rows, rows, rows, {}, &never, three, workspace), "cache: it has not been made");
    refuse(layer.attention.project(rows, rows, {}, &never, workspace), "cache: it has not been made");
    refuse(MultiHeadAttention().forward_cached(rows, rows, rows, {}, &made.cache, three, workspace), "this MultiHeadAttention has not been made");
    refuse(forward(part_of(rows, 2, 0, 39), rows, rows, {}, three), "queries: shape (2, 3, 39), expected (2, 3, 40)");
    refuse(forward(part_of(rows, 0, 0, 1), rows, rows, {}, three), "cache: a batch of 2, expected 1");
    refuse(forward(rows, part_of(rows, 0, 0, 1), rows, {}, three), "keys: shape (1, 3, 40), expected (2, 3, 40)");
    refuse(forward(rows, {}, rows, {}, three), "keys: shape () has 0 axes, expected 3");
    refuse(forward(rows, rows, {}, {}, three), "values: shape () has 0 axes, expected 3");
    refuse(forward(rows, rows, part_of(rows, 1, 0, 2), {}, three), "values: shape (2, 2, 40), expected (2, 3, 40)");
    refuse(forward(rows, rows, rows, IndexView(negative, B), three), "new_counts: [1] is -1, expected 0 to 3");
    refuse(forward(rows, rows, rows, IndexView(many, B), three), "new_counts: [0] is 4, expected 0 to 3");
    refuse(forward(rows, {}, {}, IndexView(many, B), three), "new_counts: [0] is 4, expected 0 to 3");
    const std::int64_t right[] = {1, 1};
    refuse(forward(part_of(rows, 1, 0, 2), rows, rows, IndexView(right, B), part_of(three, 1, 0, 2)),
           "new_counts: given, with 2 queries and 3 keys, expected as many");
    refuse(forward(rows, rows, rows, {}, part_of(three, 2, 0, 27)), "output: shape (2, 3, 27), expected (2, 3, 28)");
    AttentionOptions options = causal(4);
    const std::int64_t starts[] = {0, 3};
    options.query_starts = options.key_starts = IndexView(starts, 2);
    refuse(forward(rows, rows, rows, {}, three, options), "query_starts: given, but a forward over a cache has no use for it");
    options = causal(4);
    options.threads.count = 0;
    refuse(forward(rows, rows, rows, {}, three, options), "threads: count 0, expected 1 to 256");
    options = AttentionOptions();
    options.threads.count = 0;
    refuse(layer.attention.project(rows, rows, {}, &made.cache, workspace, options), "threads: count 0, expected 1 to 256");
    TensorView inside = three;
    inside.data = const_cast<float*>(made.cache.key(0, 0, 13));
    refuse(forward(rows, rows, rows, {}, inside), "output: its memory meets that of the cache");
    ConstTensorView read = rows;
    read.data = made.cache.key(0, 0, 13);
    refuse(forward(rows, read, rows, {}, three), "keys: its memory meets that of the cache");
    refuse(forward(rows, rows, read, {}, three), "values: its memory meets that of the cache");
    refuse(forward(read, rows, rows, {}, three), "queries: its memory meets that of the cache");
    if (kind == Kind::ring) {
      refuse(forward(eight, eight, eight, {}, output.view, causal(6)), "queries: row 7 of sequence 0 is at position 21, outside of the rotary tables' [0, 20)");
      refuse(layer.attention.project(eight, eight, {}, &made.cache, workspace),
             "keys: row 7 of sequence 0 is at position 21, outside of the rotary tables' [0, 20)");
      refuse(forward(rows, rows, rows, {}, three, causal()), "cache: query 0 of entry 0 sees tokens from 0 on, a ring of capacity 10 holds 7 to 16; it takes 17");
      refuse(forward(rows, rows, rows, {}, three, causal(8)), "cache: query 0 of entry 0 sees tokens from 6 on, a ring of capacity 10 holds 7 to 16; it takes 11");
    } else {
      refuse(forward(eight, eight, eight, {}, output.view), "cache: entry 0 holds 14 of 18 tokens, no room for 8 more", StatusCode::out_of_memory);
      refuse(layer.attention.project(eight, eight, {}, &made.cache, workspace), "cache: entry 0 holds 14 of 18 tokens, no room for 8 more",
             StatusCode::out_of_memory);
    }
    options = causal(4);
    options.offset = 5;
    refuse(forward(rows, rows, rows, {}, three, options), "queries: row 2 of sequence 0 is at position 21, outside of the rotary tables' [0, 20)");
    options.offset = 7;
    refuse(forward(rows, {}, {}, {}, three, options), "queries: row 2 of sequence 0 is at position 20, outside of the rotary tables' [0, 20)");
    if (kind == Kind::paged) {
      std::int64_t& page = made.pages[2];
      const std::int64_t good = page;
      page = 99;
      refuse(forward(rows, rows, rows, {}, three), "pages: [0, 2] is 99, expected 0 to 5");
      page = good;
    }
    Workspace none(nullptr, 0);
    CHECK(layer.attention.forward_cached(rows, rows, rows, {}, &made.cache, three, none, causal(4)).code() == StatusCode::out_of_memory);
    refuse(Status(), "", StatusCode::ok);
    Tensor result({B, 3, O});
    REQUIRE_OK(forward(rows, rows, rows, {}, result.view));
    CHECK(made.cache.length(0) == 17);
  }
  Layer other(Layer::square(E, H, Isa::best), random);
  Cache made(Kind::plain, 4);
  CHECK(std::string(other.attention.project(part_of(x.view, 1, 0, 1), part_of(x.view, 1, 0, 1), {}, &made.cache, workspace).message()) ==
        "cache: 2 heads of 12 and 12, expected 4 of 10 and 10");
}
