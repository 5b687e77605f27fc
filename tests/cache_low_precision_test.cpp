// Tests of KV caches that store bfloat16, float16 or int8: against the reference, and against caches of float32 that hold the same numbers.

#include "engine_test.h"

#include <algorithm>
#include <cfloat>

#include "reference_call.h"

using namespace engine_test;

namespace {

constexpr std::int64_t B = 2, T = 170;

constexpr CacheType types[] = {CacheType::bfloat16, CacheType::float16, CacheType::int8};

std::string name_of(CacheType type) { return type == CacheType::bfloat16 ? "bfloat16" : type == CacheType::float16 ? "float16" : type == CacheType::int8 ? "int8" : "float32"; }

enum class Kind { plain, ring, paged };

struct Sizes {
  std::int64_t heads, groups, depth, value_depth;
};

/// A cache in memory that is NaN where it was never written.
struct Cache {
  KeyValueCache cache;
  std::vector<std::int64_t> pages;
  std::vector<float> memory;

  Cache(const Sizes& sizes, CacheType type, Kind kind, std::int64_t capacity, std::int64_t batch = B, std::int64_t page_rows = 7) {
    KeyValueCacheConfig config;
    config.batch = batch;
    config.num_kv_heads = sizes.groups;
    config.head_dim = sizes.depth;
    config.value_dim = sizes.value_depth;
    config.capacity = capacity;
    config.ring = kind == Kind::ring;
    config.type = type;
    if (type != CacheType::float32) config.low_precision = low_precision();
    if (kind == Kind::paged) {
      config.page_rows = page_rows;
      const std::int64_t columns = (capacity + page_rows - 1) / page_rows;
      config.page_count = batch * columns;
      for (std::int64_t p = 0; p < config.page_count; ++p) pages.push_back(config.page_count - 1 - p);
      config.pages = IndexView(pages.data(), batch, columns);
    }
    const std::size_t bytes = KeyValueCache::bytes(config);
    memory.assign((bytes + 3) / sizeof(float), not_a_number);
    REQUIRE_OK(KeyValueCache::make(config, &cache, memory.data(), bytes));
  }
};

/// T tokens of each entry, and queries for each.
struct Tokens {
  Sizes sizes;
  unsigned seed;
  Tensor q, k, v, slopes, sinks;
  AttentionOptions options;

  Tokens(const Sizes& sizes, unsigned seed)
      : sizes(sizes), seed(seed), q({B, sizes.heads, T, sizes.depth}), k({B, sizes.groups, T, sizes.depth}), v({B, sizes.groups, T, sizes.value_depth}),
        slopes({sizes.heads}), sinks({sizes.heads}) {
    Random random(seed);
    q.fill(random, 2.0f);
    k.fill(random, 2.0f);
    v.fill(random);
    options.causal = true;
    options.softcap = 7.0f;
    options.alibi_slopes = slopes.fill(random, 0.1f).view;
    options.sinks = sinks.fill(random).view;
  }
};

Tensor stored(const Tensor& x, CacheType type) {
  Shape shape(x.view.sizes, x.view.sizes + x.view.rank);
  const reference::Array rounded = reference::stored(x.view, type);
  Tensor result(shape);
  for (std::int64_t n = 0; n < result.count(); ++n) result[n] = static_cast<float>(rounded.values[static_cast<std::size_t>(n)]);
  return result;
}

/// The tokens as a cache of the type holds them.
Tokens stored(const Tokens& tokens, CacheType type) {
  Tokens same(tokens.sizes, tokens.seed);
  same.k = stored(tokens.k, type);
  same.v = stored(tokens.v, type);
  return same;
}

Status append(KeyValueCache& cache, const Tokens& tokens, std::int64_t first, std::int64_t count, const IndexView& counts = {}, Isa isa = Isa::best) {
  OperationOptions options;
  options.isa = isa;
  return cache.append(part_of(tokens.k.view, 2, first, count), part_of(tokens.v.view, 2, first, count), counts, options);
}

/// In chunks: an append, then its queries; with every second chunk, drafts are appended and taken back.
Tensor through_cache(KeyValueCache& cache, const Tokens& tokens, const std::vector<std::int64_t>& chunks, const AttentionOptions& options, Isa isa) {
  Tensor output({B, tokens.sizes.heads, T, tokens.sizes.value_depth});
  Workspace workspace;
  std::int64_t first = 0;
  for (std::size_t n = 0; first < T; ++n) {
    const std::int64_t count = std::min(chunks[n % chunks.size()], T - first);
    if (n % 2 == 1) {
      REQUIRE_OK(append(cache, tokens, 0, 1, {}, isa));
      for (std::int64_t b = 0; b < B; ++b) REQUIRE_OK(cache.truncate(b, first));
    }
    REQUIRE_OK(append(cache, tokens, first, count, {}, isa));
    REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, first, count), cache, {}, part_of(output.view, 2, first, count), workspace, on(isa, options)));
    first += count;
  }
  return output;
}

constexpr Sizes all_sizes[] = {{4, 2, 20, 9}, {6, 1, 64, 64}, {3, 3, 33, 130}, {9, 1, 16, 48}};
const std::vector<std::int64_t> all_chunks[] = {{T}, {60, 1, 2}, {1, 1, 4, 40}};

}  // namespace

TEST_CASE("cache of low precision: bfloat16 and float16 give the bits of a float32 cache that holds the rounded values") {
  for (Isa isa : usable_isas()) {
    Random random(701);
    for (const Sizes& sizes : all_sizes) {
      const Tokens tokens(sizes, 711);
      for (CacheType type : {CacheType::bfloat16, CacheType::float16}) {
        const Tokens rounded = stored(tokens, type);
        for (const std::vector<std::int64_t>& chunks : all_chunks) {
          CAPTURE(name_of(isa));
          CAPTURE(name_of(type));
          CAPTURE(text_of({sizes.heads, sizes.groups, sizes.depth, sizes.value_depth}));
          CAPTURE(text_of(chunks));
          AttentionOptions options = random.one_in(2) ? tokens.options : AttentionOptions();
          options.causal = true;
          if (random.one_in(2)) options.window_left = 40;
          Cache expected(sizes, CacheType::float32, Kind::plain, T), plain(sizes, type, Kind::plain, T), paged(sizes, type, Kind::paged, T, B, random.one_of({1, 7, 70}));
          const Tensor bits = through_cache(expected.cache, rounded, chunks, options, isa);
          CHECK_SAME_BITS(through_cache(plain.cache, tokens, chunks, options, isa), bits);
          CHECK_SAME_BITS(through_cache(paged.cache, tokens, chunks, options, isa), bits);
          if (options.window_left < 0) continue;
          Cache ring(sizes, type, Kind::ring, std::min<std::int64_t>(T, 40 + 1 + *std::max_element(chunks.begin(), chunks.end())));
          CHECK_SAME_BITS(through_cache(ring.cache, tokens, chunks, options, isa), bits);
        }
      }
    }
  }
}

TEST_CASE("cache of low precision: int8 gives what the reference gives on the rounded values, the same bits in any kind of cache") {
  for (Isa isa : usable_isas()) {
    Random random(702);
    for (const Sizes& sizes : all_sizes) {
      const Tokens tokens(sizes, 712), rounded = stored(tokens, CacheType::int8);
      reference::AttentionResult expected[B];
      for (std::int64_t b = 0; b < B; ++b) {
        expected[b] = reference::attention(entry_of(ConstTensorView(tokens.q.view), b), entry_of(ConstTensorView(rounded.k.view), b),
                                           entry_of(ConstTensorView(rounded.v.view), b), reference_options(tokens.options, {}, b));
      }
      // An element that is scaled before it is multiplied is rounded once more.
      const std::int64_t D = static_cast<std::int64_t>(std::pow(std::sqrt(static_cast<double>(sizes.depth)) + 2.0, 2.0));
      for (const std::vector<std::int64_t>& chunks : all_chunks) {
        CAPTURE(name_of(isa));
        CAPTURE(text_of({sizes.heads, sizes.groups, sizes.depth, sizes.value_depth}));
        CAPTURE(text_of(chunks));
        Cache plain(sizes, CacheType::int8, Kind::plain, T), paged(sizes, CacheType::int8, Kind::paged, T, B, random.one_of({1, 7, 70}));
        const Tensor output = through_cache(plain.cache, tokens, chunks, tokens.options, isa);
        for (std::int64_t b = 0; b < B; ++b) {
          CHECK_CLOSE(part_of(output.view, 0, b, 1), expected[b].output, reference::core_bounds(expected[b], D, reference::Data::random));
        }
        CHECK_SAME_BITS(through_cache(paged.cache, tokens, chunks, tokens.options, isa), output);
        AttentionOptions options = tokens.options;
        options.window_left = 30;
        Cache ring(sizes, CacheType::int8, Kind::ring, std::min<std::int64_t>(T, 31 + *std::max_element(chunks.begin(), chunks.end())));
        plain.cache.clear();
        CHECK_SAME_BITS(through_cache(ring.cache, tokens, chunks, options, isa), through_cache(plain.cache, tokens, chunks, options, isa));
        ThreadPool pool;
        REQUIRE_OK(ThreadPool::make(2, &pool));
        options = tokens.options;
        options.threads = pool.threads();
        plain.cache.clear();
        CHECK_SAME_BITS(through_cache(plain.cache, tokens, chunks, options, isa), output);
      }
    }
  }
}

// Attention to one token gives its value, whatever the query: so this is what the cache holds.
TEST_CASE("cache of low precision: rows are rounded as the reference says, the same on every ISA") {
  Random random(703);
  const std::int64_t rows = 40;
  for (std::int64_t width : {1, 15, 16, 17, 100, 576}) {
    Tensor k({1, rows, 1, 4}), v({1, rows, 1, width}), q({1, rows, 1, 4});
    k.fill(0.0f);  // so that its weight is 1
    q.fill(random);
    v.fill(random);
    for (std::int64_t r = 0; r < rows; ++r) {
      const float size = random.one_of({0.0f, 1e-45f, 3e-43f, 1e-40f, 1.1754943e-38f, 1e-20f, 6e-8f, 1e-5f, 1.0f, 40000.0f, 70000.0f, 1e30f, FLT_MAX / 8});
      for (std::int64_t c = 0; c < width; ++c) v.at(0, r, 0, c) *= size;
      if (r % 10 == 8) v.at(0, r, 0, random.between(0, width - 1)) = random.one_of({not_a_number, infinite, -infinite});
    }
    for (CacheType type : types) {
      const Tensor expected = stored(v, type);
      for (Isa isa : usable_isas()) {
        CAPTURE(name_of(isa));
        CAPTURE(name_of(type));
        CAPTURE(width);
        Cache made({rows, rows, 4, width}, type, Kind::plain, 3, 1);
        OperationOptions options;
        options.isa = isa;
        REQUIRE_OK(made.cache.append(k.view, v.view, {}, options));
        CHECK(made.cache.key(0, 0, 0) == nullptr);  // it holds no floats
        Tensor output({1, rows, 1, width});
        Workspace workspace;
        REQUIRE_OK(attention_cached(q.view, made.cache, {}, output.view, workspace, on(isa)));
        std::int64_t wrong = 0;
        for (std::int64_t r = 0; r < rows; ++r) {
          bool finite = true;  // beside infinity, 0 times it and what is added to it are NaN
          for (std::int64_t c = 0; c < width; ++c) finite = finite && std::isfinite(expected.at(0, r, 0, c));
          for (std::int64_t c = 0; c < width; ++c) {
            const float x = output.at(0, r, 0, c), y = expected.at(0, r, 0, c);
            wrong += finite ? x != y : std::isfinite(x) != std::isfinite(y);
          }
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("cache of low precision: a token that is not finite reaches the rows that see it, and no others") {
  for (Isa isa : usable_isas()) {
    for (CacheType type : types) {
      for (bool of_keys : {true, false}) {
        for (std::int64_t chunk : {T, std::int64_t{3}, std::int64_t{1}}) {
          CAPTURE(name_of(isa));
          CAPTURE(name_of(type));
          CAPTURE(of_keys);
          CAPTURE(chunk);
          Random random(704);
          Tokens tokens({4, 2, 20, 24}, 714);
          Tensor before = [&] {
            Cache made(tokens.sizes, type, Kind::plain, T);
            return through_cache(made.cache, tokens, {chunk}, tokens.options, isa);
          }();
          const std::int64_t bad = 71;
          (of_keys ? tokens.k : tokens.v).at(0, 1, bad, 5) = random.one_of({not_a_number, infinite});
          if (of_keys) tokens.k.at(0, 1, bad, 5) = not_a_number;
          Cache made(tokens.sizes, type, Kind::paged, T);
          Tensor output = through_cache(made.cache, tokens, {chunk}, tokens.options, isa);
          std::int64_t wrong = 0;
          for (std::int64_t b = 0; b < B; ++b) {
            for (std::int64_t h = 0; h < 4; ++h) {
              for (std::int64_t i = 0; i < T; ++i) {
                const bool sees = b == 0 && h >= 2 && i >= bad;
                const float *now = &output.at(b, h, i, 0), *then = &before.at(b, h, i, 0);
                wrong += sees ? std::isfinite(now[5]) : std::memcmp(now, then, 24 * sizeof(float)) != 0;
              }
            }
          }
          CHECK(wrong == 0);
        }
      }
    }
  }
}

TEST_CASE("cache of low precision: trees, masks, ragged counts, weights and lse as over a float32 cache of the rounded values") {
  for (Isa isa : usable_isas()) {
    for (CacheType type : types) {
      for (std::int64_t queries : {1, 2, 5, 30}) {
        CAPTURE(name_of(isa));
        CAPTURE(name_of(type));
        CAPTURE(queries);
        Random random(705);
        const Sizes sizes = {4, 2, 32, 24};
        const Tokens tokens(sizes, 715), rounded = stored(tokens, type);
        const std::int64_t counts[] = {T, 90};
        std::vector<std::int64_t> parents(static_cast<std::size_t>(queries));
        for (std::int64_t i = 0; i < queries; ++i) parents[static_cast<std::size_t>(i)] = i == 0 ? -1 : random.between(0, i - 1);
        std::vector<std::uint8_t> shown(T);
        for (std::uint8_t& byte : shown) byte = !random.one_in(3);
        AttentionOptions options;
        const bool tree = random.one_in(2);
        if (tree) options.tree_parents = IndexView(parents.data(), queries);
        else options.mask = BoolMaskView(shown.data(), T);
        Tensor results[2][3] = {{Tensor({B, 4, queries, 24}), Tensor({B, 4, queries, T}), Tensor({B, 4, queries})},
                                {Tensor({B, 4, queries, 24}), Tensor({B, 4, queries, T}), Tensor({B, 4, queries})}};
        for (int which : {0, 1}) {
          Cache made(sizes, which == 0 ? CacheType::float32 : type, which == 0 ? Kind::plain : Kind::paged, T);
          REQUIRE_OK(append(made.cache, which == 0 ? rounded : tokens, 0, T, IndexView(counts, B), isa));
          options.attention_weights = results[which][1].view;
          options.lse = results[which][2].view;
          Workspace workspace;
          REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, queries), made.cache, {}, results[which][0].view, workspace, on(isa, options)));
        }
        if (type != CacheType::int8) {
          for (int n = 0; n < 3; ++n) CHECK_SAME_BITS(results[1][n], results[0][n]);
          continue;
        }
        double worst = 0.0;
        for (int n = 0; n < 3; ++n) {
          for (std::int64_t i = 0; i < results[0][n].count(); ++i) {
            const double difference = std::fabs(static_cast<double>(results[1][n][i]) - static_cast<double>(results[0][n][i]));
            if (!(difference <= worst)) worst = difference;
          }
        }
        CHECK(worst < 2e-5);
      }
    }
  }
}

TEST_CASE("cache of low precision: a layer stores its projected rows as append would, normed and rotated in float32") {
  constexpr std::int64_t E = 40, H = 4, G = 2, D = 24;
  for (Isa isa : usable_isas()) {
    Random random(706);
    Tensor frequencies({5});
    for (std::int64_t n = 0; n < 5; ++n) frequencies[n] = 0.1f + 0.4f * std::fabs(random.number());
    MultiHeadAttentionConfig config = Layer::square(E, H, isa, true);
    config.num_kv_heads = G;
    config.head_dim = D;
    config.qk_norm = true;
    config.rotary.inverse_frequencies = frequencies.view;
    const Layer layer(config, random);
    Tensor x({B, T, E});
    x.fill(random);
    const Sizes sizes = {H, G, D, D};
    Cache floats(sizes, CacheType::float32, Kind::plain, T);
    Workspace workspace;
    REQUIRE_OK(layer.attention.project(x.view, x.view, {}, &floats.cache, workspace));
    Tensor k({B, G, T, D}), v({B, G, T, D});
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t g = 0; g < G; ++g) {
        for (std::int64_t j = 0; j < T; ++j) {
          std::copy_n(floats.cache.key(b, g, j), D, &k.at(b, g, j, 0));
          std::copy_n(floats.cache.value(b, g, j), D, &v.at(b, g, j, 0));
        }
      }
    }
    for (CacheType type : types) {
      for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
        for (std::int64_t last : {1, 3, 60}) {
          CAPTURE(name_of(isa));
          CAPTURE(name_of(type));
          CAPTURE(last);
          AttentionOptions options;
          options.causal = true;
          if (kind == Kind::ring) options.window_left = 50;
          const std::int64_t capacity = kind == Kind::ring ? 50 + last : T;
          Cache appended(sizes, type, kind, capacity), projected(sizes, type, kind, capacity);
          OperationOptions plain;
          plain.isa = isa;
          REQUIRE_OK(appended.cache.append(k.view, v.view, {}, plain));
          const TensorView before = part_of(x.view, 1, 0, T - last), rows = part_of(x.view, 1, T - last, last);
          Tensor expected({B, last, E}), output({B, last, E});
          REQUIRE_OK(layer.attention.forward_cached(rows, {}, {}, {}, &appended.cache, expected.view, workspace, options));
          REQUIRE_OK(layer.attention.project(before, before, {}, &projected.cache, workspace));
          const std::size_t bytes = layer.attention.workspace_bytes({B, last, last}, projected.cache, options);
          std::vector<char> memory(bytes);
          Workspace enough(memory.data(), bytes);
          REQUIRE_OK(layer.attention.forward_cached(rows, rows, rows, {}, &projected.cache, output.view, enough, options));
          CHECK_SAME_BITS(output, expected);
        }
      }
    }
  }
}

TEST_CASE("cache of low precision: sizes, and configs that are refused") {
  KeyValueCacheConfig config;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.capacity = 1000;
  const std::size_t floats = KeyValueCache::bytes(config);
  KeyValueCache cache;
  for (CacheType type : types) {
    config.type = type;
    config.low_precision = nullptr;
    CHECK(KeyValueCache::bytes(config) == 0);
    Status status = KeyValueCache::make(config, &cache);
    CHECK(status.code() == StatusCode::invalid_argument);
    CHECK(std::string(status.message()) == "low_precision: null, but type is " + name_of(type) + ", expected low_precision(), which links its kernels");
    config.low_precision = low_precision();
    const std::size_t rows = 2 * 8 * 128 * 1000, bytes = KeyValueCache::bytes(config);
    CHECK(bytes <= (type == CacheType::int8 ? rows + rows * 5 / 100 : 2 * rows) + 4096);
    CHECK(bytes < floats);
    CHECK(cache.state() == nullptr);
  }
  config.type = static_cast<CacheType>(4);
  CHECK(std::string(KeyValueCache::make(config, &cache).message()) == "type: 4 is none that there is");
}
