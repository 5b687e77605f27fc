// Tests of the KV cache: what it holds, attention over it, equal bits of all kinds, errors.

#include "engine_test.h"

#include <algorithm>
#include <thread>

using namespace engine_test;

namespace {

constexpr std::int64_t B = 3, H = 4, G = 2, D = 20, Dv = 9, T = 150;

enum class Kind { plain, ring, paged };

/// A cache in memory of the test's, which is NaN where it was never written, and its page table.
struct Cache {
  KeyValueCache cache;
  KeyValueCacheConfig config;
  std::vector<std::int64_t> pages;
  std::vector<float> memory;

  Cache(Kind kind, std::int64_t capacity, Random& random, std::int64_t batch = B) {
    config.batch = batch;
    config.num_kv_heads = G;
    config.head_dim = D;
    config.value_dim = Dv;
    config.capacity = capacity;
    config.ring = kind == Kind::ring;
    if (kind == Kind::paged) {
      config.page_rows = random.between(1, 40);
      const std::int64_t columns = (capacity + config.page_rows - 1) / config.page_rows;
      config.page_count = batch * columns + 2;
      pages.reserve(16384);  // room behind the table, for outputs that are put over it by mistake
      for (std::int64_t p = 0; p < config.page_count; ++p) pages.push_back(p);
      for (std::int64_t p = config.page_count - 1; p > 0; --p) std::swap(pages[static_cast<std::size_t>(p)], pages[static_cast<std::size_t>(random.between(0, p))]);
      config.pages = IndexView(pages.data(), batch, columns);
    }
    const std::size_t bytes = KeyValueCache::bytes(config);
    REQUIRE(bytes > 0);
    memory.assign((bytes + 3) / sizeof(float), not_a_number);
    REQUIRE_OK(KeyValueCache::make(config, &cache, memory.data(), bytes));
    CHECK(KeyValueCache::make(config, &cache, memory.data(), bytes - 1).code() == StatusCode::out_of_memory);
  }
};

/// T tokens of each entry, and queries for each.
struct Tokens {
  Tensor q, k, v, slopes, sinks, table;
  AttentionOptions options;  // causal, and what differs by head, query and key

  explicit Tokens(Random& random)
      : q({B, H, T, D}), k({B, G, T, D}), v({B, G, T, Dv}), slopes({H}), sinks({H}), table({8, H}) {
    q.fill(random, 2.0f);
    k.fill(random, 2.0f);
    v.fill(random);
    options.causal = true;
    options.softcap = 7.0f;
    options.alibi_slopes = slopes.fill(random, 0.1f).view;
    options.sinks = sinks.fill(random).view;
    options.relative_position_bias.table = table.fill(random).view;
  }
};

Status append(KeyValueCache& cache, const Tokens& tokens, std::int64_t first, std::int64_t count, const IndexView& counts = {}, Isa isa = Isa::best) {
  OperationOptions options;
  options.isa = isa;
  return cache.append(part_of(tokens.k.view, 2, first, count), part_of(tokens.v.view, 2, first, count), counts, options);
}

bool same(const float* a, const float* b, std::int64_t count) { return std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(float)) == 0; }

/// Attention of all tokens in one call without a cache, entry by entry the first lengths[b] of them.
Tensor without_cache(const Tokens& tokens, const AttentionOptions& options, Isa isa, const std::vector<std::int64_t>& lengths = {T, T, T}) {
  Tensor output({B, H, T, Dv});
  output.fill(0.0f);
  Workspace workspace;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t length = lengths[static_cast<std::size_t>(b)];
    const auto part = [&](const Tensor& tensor) { return part_of(part_of(tensor.view, 0, b, 1), 2, 0, length); };
    REQUIRE_OK(attention(part(tokens.q), part(tokens.k), part(tokens.v), {}, part(output), workspace, on(isa, options)));
  }
  return output;
}

/// The same through a cache, in chunks: an append, then its queries.
Tensor through_cache(KeyValueCache& cache, const Tokens& tokens, const std::vector<std::int64_t>& chunks, const AttentionOptions& options, Isa isa) {
  Tensor output({B, H, T, Dv});
  Workspace workspace;
  std::int64_t first = 0;
  for (std::size_t n = 0; first < T; ++n) {
    const std::int64_t count = std::min(chunks[n % chunks.size()], T - first);
    REQUIRE_OK(append(cache, tokens, first, count, {}, isa));
    REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, first, count), cache, {}, part_of(output.view, 2, first, count), workspace, on(isa, options)));
    first += count;
  }
  return output;
}

}  // namespace

TEST_CASE("cache: holds what was appended, whatever was taken back, and writes nothing else") {
  Random random(201);
  for (int round = 0; round < share_of(60); ++round) {
    const Kind kind = random.one_of({Kind::plain, Kind::ring, Kind::paged});
    const std::int64_t capacity = random.between(1, 90);
    Cache made(kind, capacity, random);
    KeyValueCache& cache = made.cache;
    // What each entry should hold: which token of the source each of its own is; and what is gone.
    std::vector<std::vector<std::int64_t>> model(B);
    std::vector<std::int64_t> firsts(B, 0), most(B, 0);
    Tensor k({B, G, T, D}, random), v({B, G, T, Dv}, random);
    k.fill(random);
    v.fill(random);
    ThreadPool pool;
    REQUIRE_OK(ThreadPool::make(2, &pool));
    OperationOptions options;
    if (random.one_in(2)) options.threads = pool.threads();
    for (int step = 0; step < 12; ++step) {
      const std::int64_t first = random.between(0, T), count = random.between(0, std::min<std::int64_t>(T - first, random.one_in(4) ? T : 12));
      std::vector<std::int64_t> counts(2 * B);
      const bool ragged = random.one_in(2);
      bool fits = true;
      for (std::size_t b = 0; b < B; ++b) {
        counts[2 * b] = ragged ? random.between(0, count) : count;
        fits = fits && (kind == Kind::ring || static_cast<std::int64_t>(model[b].size()) + counts[2 * b] <= capacity);
      }
      IndexView view(counts.data(), B);
      view.strides[0] = 2;
      const Status status = cache.append(part_of(k.view, 2, first, count), part_of(v.view, 2, first, count), ragged ? view : IndexView(), options);
      CHECK(status.ok() == fits);
      for (std::size_t b = 0; b < B && fits; ++b) {
        for (std::int64_t n = 0; n < counts[2 * b]; ++n) model[b].push_back(first + n);
        const std::int64_t length = static_cast<std::int64_t>(model[b].size());
        firsts[b] = std::max(firsts[b], length - capacity);
        most[b] = std::max(most[b], length);
      }
      if (random.one_in(3)) {
        const std::size_t b = static_cast<std::size_t>(random.between(0, B - 1));
        const std::int64_t length = static_cast<std::int64_t>(model[b].size()), back = random.one_in(4) ? 0 : random.between(firsts[b], length);
        REQUIRE_OK(cache.truncate(static_cast<std::int64_t>(b), back));
        model[b].resize(static_cast<std::size_t>(back));
        if (back == 0) firsts[b] = 0;
      }
      std::int64_t wrong = 0;
      for (std::int64_t b = 0; b < B; ++b) {
        const std::vector<std::int64_t>& held = model[static_cast<std::size_t>(b)];
        const std::int64_t length = static_cast<std::int64_t>(held.size()), gone = firsts[static_cast<std::size_t>(b)];
        CHECK(cache.length(b) == length);
        CHECK(cache.first(b) == gone);
        for (std::int64_t g = 0; g < G; ++g) {
          wrong += cache.key(b, g, gone - 1) != nullptr || cache.value(b, g, length) != nullptr;
          for (std::int64_t j = gone; j < length; ++j) {
            const float *key = cache.key(b, g, j), *value = cache.value(b, g, j);
            for (std::int64_t d = 0; d < D; ++d) wrong += key[d] != k.at(b, g, held[static_cast<std::size_t>(j)], d);
            for (std::int64_t d = 0; d < Dv; ++d) wrong += value[d] != v.at(b, g, held[static_cast<std::size_t>(j)], d);
          }
        }
      }
      CHECK(wrong == 0);
      if (wrong > 0) return;
    }
    // As many floats were written as rows were: each row that ever was, once.
    std::int64_t rows = 0, written = 0;
    for (std::size_t b = 0; b < B; ++b) rows += std::min(most[b], capacity);
    const float* const begin = static_cast<const float*>(cache.state() == nullptr ? nullptr : made.memory.data());
    for (std::size_t n = 0; n < made.memory.size(); ++n) written += !std::isnan(begin[n]);
    const std::int64_t state = KeyValueCache::bytes(made.config) / sizeof(float);
    CHECK(written >= rows * G * (D + Dv));
    CHECK(written <= rows * G * (D + Dv) + std::min<std::int64_t>(state, 200));  // its numbers stand before the rows
    cache.clear();
    for (std::int64_t b = 0; b < B; ++b) CHECK(cache.length(b) + cache.first(b) == 0);
  }
}

TEST_CASE("cache: a prefill in chunks gives the bits of one pass, of every kind") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(202);
    const Tokens tokens(random);
    const Tensor expected = without_cache(tokens, tokens.options, isa);
    AttentionOptions window = tokens.options;
    window.window_left = 30;
    const Tensor expected_window = without_cache(tokens, window, isa);
    for (const std::vector<std::int64_t>& chunks : {std::vector<std::int64_t>{T}, {2}, {5, 40, 4}, {64}, {33, 2}}) {
      CAPTURE(text_of(chunks));
      if (T % chunks[0] == 1) continue;  // no chunk of a single row
      for (Kind kind : {Kind::plain, Kind::paged}) {
        Cache made(kind, T, random);
        CHECK_SAME_BITS(through_cache(made.cache, tokens, chunks, tokens.options, isa), expected);
        made.cache.clear();
        CHECK_SAME_BITS(through_cache(made.cache, tokens, chunks, window, isa), expected_window);
      }
      // A ring has room for a window and a chunk.
      Cache ring(Kind::ring, std::min(T, 30 + *std::max_element(chunks.begin(), chunks.end())), random);
      CHECK_SAME_BITS(through_cache(ring.cache, tokens, chunks, window, isa), expected_window);
    }
    // Token by token, to the last bits.
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      Cache made(kind, kind == Kind::ring ? 31 : T, random);
      const Tensor output = through_cache(made.cache, tokens, {1}, window, isa);
      double worst = 0.0;
      for (std::int64_t n = 0; n < output.count(); ++n) worst = std::max(worst, std::fabs(static_cast<double>(output[n]) - static_cast<double>(expected_window[n])));
      CHECK(worst <= 4e-6);
    }
  }
}

TEST_CASE("cache: ring, pages and any number of threads give the bits of a plain cache, one token at a time too") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(203);
    const Tokens tokens(random);
    AttentionOptions options = tokens.options;
    options.window_left = 40;
    Cache plain(Kind::plain, T, random), ring(Kind::ring, 44, random), paged(Kind::paged, T, random);
    const Tensor expected = through_cache(plain.cache, tokens, {1, 1, 4, 1}, options, isa);
    CHECK_SAME_BITS(through_cache(ring.cache, tokens, {1, 1, 4, 1}, options, isa), expected);
    CHECK_SAME_BITS(through_cache(paged.cache, tokens, {1, 1, 4, 1}, options, isa), expected);
    for (int threads : {2, 3}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      options.threads = pool.threads();
      plain.cache.clear();
      CHECK_SAME_BITS(through_cache(plain.cache, tokens, {1, 1, 4, 1}, options, isa), expected);
    }
  }
}

// Many queries, so that without a cache values would be copied once for all: a cache is read in place, and a ring's tokens are
// numbered beyond what it holds.
TEST_CASE("cache: many queries over long caches and over a ring that came round give the bits of attention without a cache") {
  constexpr std::int64_t queries = 270, depth = 32, window = 300;
  // A span of key blocks, 2048 or 3072 keys, ends within the ring's tokens.
  for (std::int64_t tokens : {2600, 3510}) for (Isa isa : usable_isas()) {
    CAPTURE(tokens);
    CAPTURE(name_of(isa));
    Random random(204);
    Tensor q({1, 2, queries, depth}), k({1, 1, tokens, depth}), v({1, 1, tokens, depth}), expected({1, 2, queries, depth});
    q.fill(random);
    k.fill(random);
    v.fill(random);
    AttentionOptions options;
    options.causal = true;
    options.window_left = window;
    options.offset = tokens - queries;
    Workspace workspace;
    REQUIRE_OK(attention(q.view, k.view, v.view, {}, expected.view, workspace, on(isa, options)));
    options.offset = 0;  // a cache's queries are its last tokens
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      CAPTURE(static_cast<int>(kind));
      std::vector<std::int64_t> pages;
      KeyValueCacheConfig config;
      config.num_kv_heads = 1;
      config.head_dim = depth;
      config.capacity = kind == Kind::ring ? queries + window : tokens;
      config.ring = kind == Kind::ring;
      if (kind == Kind::paged) {
        config.page_rows = 130;
        config.page_count = tokens / 130;
        for (std::int64_t p = config.page_count; p > 0; --p) pages.push_back(p - 1);
        config.pages = IndexView(pages.data(), 1, config.page_count);
      }
      KeyValueCache cache;
      REQUIRE_OK(KeyValueCache::make(config, &cache));
      OperationOptions of_isa;
      of_isa.isa = isa;
      for (std::int64_t first = 0; first < tokens; first += 130) {
        REQUIRE_OK(cache.append(part_of(k.view, 2, first, 130), part_of(v.view, 2, first, 130), {}, of_isa));
      }
      std::vector<float> memory(attention_workspace_bytes(q.view, cache, on(isa, options)) / sizeof(float) + 1);
      Workspace enough(memory.data(), memory.size() * sizeof(float));
      CHECK(memory.size() < 64 * 1024);  // nothing is copied
      Tensor output({1, 2, queries, depth});
      REQUIRE_OK(attention_cached(q.view, cache, {}, output.view, enough, on(isa, options)));
      CHECK_SAME_BITS(output, expected);
    }
  }
}

TEST_CASE("cache: entries of different lengths give the bits of each alone") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(204);
    const Tokens tokens(random);
    for (Kind kind : {Kind::plain, Kind::paged}) {
      Cache made(kind, T, random);
      const std::vector<std::int64_t> before = {70, 0, 131}, counts = {11, 5, 1};
      const std::int64_t L = 11;
      REQUIRE_OK(append(made.cache, tokens, 0, 131, IndexView(before.data(), B), isa));
      // The tokens that follow in each entry, side by side.
      Tensor q({B, H, L, D}), k({B, G, L, D}), v({B, G, L, Dv}), output({B, H, L, Dv}), lse({B, H, L}), weights({B, H, L, 132});
      q.fill(not_a_number);
      k.fill(not_a_number);
      v.fill(not_a_number);
      for (std::int64_t b = 0; b < B; ++b) {
        const std::int64_t from = before[static_cast<std::size_t>(b)];
        for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(b)]; ++i) {
          for (std::int64_t h = 0; h < H; ++h) std::copy_n(&tokens.q.view.data[((b * H + h) * T + from + i) * D], D, &q.at(b, h, i, 0));
          for (std::int64_t g = 0; g < G; ++g) std::copy_n(&tokens.k.view.data[((b * G + g) * T + from + i) * D], D, &k.at(b, g, i, 0));
          for (std::int64_t g = 0; g < G; ++g) std::copy_n(&tokens.v.view.data[((b * G + g) * T + from + i) * Dv], Dv, &v.at(b, g, i, 0));
        }
      }
      const IndexView view(counts.data(), B);
      OperationOptions operation;
      operation.isa = isa;
      REQUIRE_OK(made.cache.append(k.view, v.view, view, operation));
      AttentionOptions options = tokens.options;
      options.lse = lse.view;
      options.attention_weights = weights.view;
      for (EmptyRows empty_rows : {EmptyRows::zero, EmptyRows::uniform}) {
        options.empty_rows = empty_rows;
        Workspace workspace;
        REQUIRE_OK(attention_cached(q.view, made.cache, view, output.view, workspace, on(isa, options)));
        std::int64_t wrong = 0;
        for (std::int64_t b = 0; b < B; ++b) {
          const std::int64_t count = counts[static_cast<std::size_t>(b)], length = before[static_cast<std::size_t>(b)] + count;
          Tensor alone({1, H, count, Dv}), alone_lse({1, H, count}), alone_weights({1, H, count, length});
          AttentionOptions one = options;
          one.offset = length - count;
          one.lse = alone_lse.view;
          one.attention_weights = alone_weights.view;
          REQUIRE_OK(attention(part_of(part_of(tokens.q.view, 0, b, 1), 2, length - count, count), part_of(part_of(tokens.k.view, 0, b, 1), 2, 0, length),
                               part_of(part_of(tokens.v.view, 0, b, 1), 2, 0, length), {}, alone.view, workspace, on(isa, one)));
          for (std::int64_t h = 0; h < H; ++h) {
            for (std::int64_t i = 0; i < L; ++i) {
              if (i < count) {
                wrong += !same(&alone.at(0, h, i, 0), &output.at(b, h, i, 0), Dv);
                wrong += !same(&alone_lse.at(0, h, i), &lse.at(b, h, i), 1);
                wrong += !same(&alone_weights.at(0, h, i, 0), &weights.at(b, h, i, 0), length);
              } else {  // padding
                for (std::int64_t c = 0; c < Dv; ++c) wrong += output.at(b, h, i, c) != 0.0f;
                wrong += lse.at(b, h, i) != tokens.sinks.at(h);
              }
              for (std::int64_t j = i < count ? length : 0; j < 132; ++j) wrong += weights.at(b, h, i, j) != 0.0f;
            }
          }
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("cache: what was taken back was never there") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(205);
    const Tokens tokens(random);
    AttentionOptions options = tokens.options;
    options.window_left = 20;
    const Tensor expected = without_cache(tokens, options, isa);
    for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
      Cache made(kind, T, random);
      Tensor output({B, H, T, Dv});
      Workspace workspace;
      for (std::int64_t first = 0; first < T; first += 10) {
        // Drafts that are not accepted: NaN, which would show.
        Tensor k({B, G, 7, D}), v({B, G, 7, Dv});
        k.fill(not_a_number);
        v.fill(not_a_number);
        if (first + 7 <= T) {
          REQUIRE_OK(made.cache.append(k.view, v.view));
          for (std::int64_t b = 0; b < B; ++b) REQUIRE_OK(made.cache.truncate(b, first));
        }
        REQUIRE_OK(append(made.cache, tokens, first, 10, {}, isa));
        REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, first, 10), made.cache, {}, part_of(output.view, 2, first, 10), workspace, on(isa, options)));
      }
      CHECK_SAME_BITS(output, expected);
    }
  }
}

TEST_CASE("cache: a single query without a window sees what a ring holds, as a window would") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(206);
    const Tokens tokens(random);
    AttentionOptions window = tokens.options;
    window.window_left = 24;
    Cache ring(Kind::ring, 25, random), plain(Kind::plain, T, random);
    CHECK_SAME_BITS(through_cache(ring.cache, tokens, {1}, tokens.options, isa), through_cache(plain.cache, tokens, {1}, window, isa));
    // Of uniform rows the mean is that of what it holds.
    const std::vector<std::uint8_t> nothing(1, 0);
    AttentionOptions uniform;
    uniform.mask = BoolMaskView(nothing.data(), 1);
    uniform.empty_rows = EmptyRows::uniform;
    Tensor output({B, H, 1, Dv}), weights({B, H, 1, T});
    uniform.attention_weights = weights.view;
    Workspace workspace;
    REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, 1), ring.cache, {}, output.view, workspace, on(isa, uniform)));
    std::int64_t wrong = 0;
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t c = 0; c < Dv; ++c) {
        double mean = 0.0;
        for (std::int64_t j = T - 25; j < T; ++j) mean += static_cast<double>(tokens.v.at(1, h / 2, j, c)) / 25.0;
        wrong += !(std::fabs(mean - static_cast<double>(output.at(1, h, 0, c))) <= 1e-6);
      }
      for (std::int64_t j = 0; j < T; ++j) wrong += std::fabs(weights.at(1, h, 0, j) - (j < T - 25 ? 0.0f : 0.04f)) > 1e-8f;
    }
    CHECK(wrong == 0);
    // Taken back to its first token, it holds nothing, and a row sees nothing.
    REQUIRE_OK(ring.cache.truncate(1, T - 25));
    REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, 1), ring.cache, {}, output.view, workspace, on(isa, uniform)));
    for (std::int64_t c = 0; c < Dv; ++c) CHECK(output.at(1, 2, 0, c) == 0.0f);
  }
}

TEST_CASE("cache: pages may change hands between calls, and be shared where nobody writes") {
  Random random(207);
  const Tokens tokens(random);
  Tensor expected({B, H, 2, Dv}), output({B, H, 2, Dv});
  Workspace workspace;
  Cache plain(Kind::plain, T, random), paged(Kind::paged, T, random);
  for (KeyValueCache* cache : {&plain.cache, &paged.cache}) REQUIRE_OK(append(*cache, tokens, 0, T));
  REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, 2), plain.cache, {}, expected.view, workspace));
  // The page of tokens p.. of entries 0 and 1 change places, with what is in them.
  const std::int64_t columns = paged.config.pages.sizes[1];
  std::swap_ranges(paged.pages.begin(), paged.pages.begin() + columns, paged.pages.begin() + columns);
  const auto entry = [](const TensorView& view, std::int64_t b) { return part_of(view, 0, b, 1); };
  REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, 2), paged.cache, {}, output.view, workspace));
  Tensor exchanged({B, H, 2, Dv});
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t other = b < 2 ? 1 - b : b;
    REQUIRE_OK(attention(part_of(entry(tokens.q.view, b), 2, 0, 2), entry(tokens.k.view, other), entry(tokens.v.view, other), {}, entry(exchanged.view, b), workspace));
  }
  CHECK_SAME_BITS(output, exchanged);
  // Entry 1 reads the pages of entry 0.
  std::copy_n(paged.pages.begin() + columns, columns, paged.pages.begin());
  REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, 2), paged.cache, {}, output.view, workspace));
  REQUIRE_OK(attention(part_of(entry(tokens.q.view, 0), 2, 0, 2), entry(tokens.k.view, 0), entry(tokens.v.view, 0), {}, entry(exchanged.view, 0), workspace));
  CHECK_SAME_BITS(output, exchanged);
}

TEST_CASE("cache: a mask is aligned to the longest entry, a tree to the tokens before it") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(208);
    const Tokens tokens(random);
    Cache made(Kind::paged, T, random);
    const std::int64_t counts[] = {60, 77, 9}, parents[] = {-1, 0, 0, 2};
    REQUIRE_OK(append(made.cache, tokens, 0, 77, IndexView(counts, B), isa));
    std::vector<std::uint8_t> shown(77);
    for (std::uint8_t& byte : shown) byte = random.one_in(2);
    AttentionOptions options;
    options.mask = BoolMaskView(shown.data(), 77);
    options.tree_parents = IndexView(parents, 4);
    Tensor output({B, H, 4, Dv}), alone({1, H, 4, Dv});
    Workspace workspace;
    REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, 4), made.cache, {}, output.view, workspace, on(isa, options)));
    std::int64_t wrong = 0;
    for (std::int64_t b = 0; b < B; ++b) {
      const auto part = [&](const Tensor& tensor, std::int64_t count) { return part_of(part_of(tensor.view, 0, b, 1), 2, 0, count); };
      options.offset = counts[b] - 4;
      options.mask = BoolMaskView(shown.data(), counts[b]);
      REQUIRE_OK(attention(part(tokens.q, 4), part(tokens.k, counts[b]), part(tokens.v, counts[b]), {}, alone.view, workspace, on(isa, options)));
      wrong += !same(&alone.at(0, 0, 0, 0), &output.at(b, 0, 0, 0), H * 4 * Dv);
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("cache: many may read it at once") {
  Random random(209);
  const Tokens tokens(random);
  Cache made(Kind::paged, T, random);
  REQUIRE_OK(append(made.cache, tokens, 0, T));
  Tensor expected({B, H, T, Dv});
  Workspace workspace;
  REQUIRE_OK(attention_cached(tokens.q.view, made.cache, {}, expected.view, workspace, tokens.options));
  std::vector<Tensor> outputs;
  std::vector<std::thread> threads;
  for (int n = 0; n < 3; ++n) outputs.emplace_back(Shape{B, H, T, Dv});
  for (Tensor& output : outputs) {
    threads.emplace_back([&] {
      Workspace own;
      if (!attention_cached(tokens.q.view, made.cache, {}, output.view, own, tokens.options).ok()) output.fill(0.0f);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (Tensor& output : outputs) CHECK_SAME_BITS(output, expected);
}

TEST_CASE("cache: moved, made anew, never made") {
  Random random(210);
  const Tokens tokens(random);
  KeyValueCacheConfig config;
  config.batch = B;
  config.num_kv_heads = G;
  config.head_dim = D;
  config.value_dim = Dv;
  config.capacity = T;
  KeyValueCache cache, never;
  REQUIRE_OK(KeyValueCache::make(config, &cache));
  CHECK(reinterpret_cast<std::uintptr_t>(cache.state()) % 64 == 0);
  REQUIRE_OK(append(cache, tokens, 0, 5));
  KeyValueCache moved(static_cast<KeyValueCache&&>(cache));
  CHECK(moved.length(2) == 5);
  CHECK(cache.length(2) == 0);
  cache = static_cast<KeyValueCache&&>(moved);
  KeyValueCache& itself = cache;
  cache = static_cast<KeyValueCache&&>(itself);
  CHECK(same(cache.key(2, 1, 4), &tokens.k.view.data[((2 * G + 1) * T + 4) * D], D));
  CHECK(reinterpret_cast<std::uintptr_t>(cache.key(2, 1, 0)) % 64 == 0);
  CHECK(cache.config().capacity == T);
  for (const std::int64_t b : {std::int64_t{-1}, B, INT64_MAX}) CHECK(cache.length(b) + cache.first(b) == 0);
  CHECK(cache.key(0, G, 0) == nullptr);
  CHECK(cache.value(-1, 0, 0) == nullptr);
  KeyValueCacheConfig wrong = config;
  wrong.head_dim = 0;
  CHECK(!KeyValueCache::make(wrong, &cache).ok());
  CHECK(cache.length(0) == 5);
  REQUIRE_OK(KeyValueCache::make(config, &cache));
  CHECK(cache.length(0) == 0);

  Tensor output({B, H, 1, Dv});
  Workspace workspace;
  CHECK(std::string(append(never, tokens, 0, 1).message()) == "this KeyValueCache has not been made");
  CHECK(std::string(never.truncate(0, 0).message()) == "this KeyValueCache has not been made");
  CHECK(std::string(attention_cached(part_of(tokens.q.view, 2, 0, 1), never, {}, output.view, workspace).message()) == "cache: it has not been made");
  CHECK(attention_workspace_bytes(tokens.q.view, never) == 0);
  CHECK(never.key(0, 0, 0) == nullptr);
  CHECK(never.config().batch == 1);
  never.clear();
  CHECK(output.untouched());
  // An empty cache: rows that see no key.
  REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, 1), cache, {}, output.view, workspace));
  for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == 0.0f);
}

TEST_CASE("cache: the workspace's bytes are enough at any length, and appending takes none") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(211);
    const Tokens tokens(random);
    Cache made(Kind::plain, T, random);
    for (const std::int64_t count : {std::int64_t{1}, std::int64_t{30}}) {
      const ConstTensorView q = part_of(tokens.q.view, 2, 0, count);
      made.cache.clear();
      const std::size_t bytes = attention_workspace_bytes(q, made.cache, on(isa, tokens.options));
      CHECK(bytes > 0);
      std::vector<unsigned char> memory(bytes);
      Workspace workspace(memory.data(), bytes);
      Tensor output({B, H, count, Dv});
      for (std::int64_t length = count; length <= T; length += count) {
        REQUIRE_OK(append(made.cache, tokens, length - count, count, {}, isa));
        REQUIRE_OK(attention_cached(part_of(tokens.q.view, 2, 0, count), made.cache, {}, output.view, workspace, on(isa, tokens.options)));
      }
      Workspace less(memory.data(), bytes - 63 < 64 ? 0 : bytes - 127);
      // With counts of queries, any entry may have one alone: that takes all of it.
      const std::int64_t counts[B] = {count, count, count};
      CHECK(attention_cached(q, made.cache, IndexView(counts, B), output.view, less, on(isa, tokens.options)).code() == StatusCode::out_of_memory);
      Workspace exact(memory.data(), bytes);
      REQUIRE_OK(attention_cached(q, made.cache, IndexView(counts, B), output.view, exact, on(isa, tokens.options)));
    }
    CHECK(attention_workspace_bytes(part_of(tokens.q.view, 1, 0, 3), made.cache) == 0);
    AttentionOptions wrong;
    wrong.threads.count = 0;
    CHECK(attention_workspace_bytes(tokens.q.view, made.cache, wrong) == 0);
  }
}

TEST_CASE("cache: configs that are refused") {
  const std::int64_t table[] = {0, 1, 2, 3};
  KeyValueCacheConfig good;
  good.batch = 2;
  good.num_kv_heads = G;
  good.head_dim = D;
  good.capacity = 8;
  KeyValueCacheConfig paged = good;
  paged.page_rows = 4;
  paged.page_count = 4;
  paged.pages = IndexView(table, 2, 2);
  CHECK(KeyValueCache::bytes(good) > 0);
  CHECK(KeyValueCache::bytes(paged) > 0);
  const auto refuse = [](const KeyValueCacheConfig& config, const std::string& message) {
    KeyValueCache cache;
    const Status status = KeyValueCache::make(config, &cache);
    CHECK(status.code() == StatusCode::invalid_argument);
    CHECK(std::string(status.message()) == message);
    CHECK(cache.state() == nullptr);
    CHECK(KeyValueCache::bytes(config) == 0);
  };
  const auto with = [](KeyValueCacheConfig config, std::int64_t KeyValueCacheConfig::*member, std::int64_t value) {
    config.*member = value;
    return config;
  };
  refuse(with(good, &KeyValueCacheConfig::batch, 0), "batch: 0, expected 1 to 16777216");
  refuse(with(good, &KeyValueCacheConfig::num_kv_heads, -1), "num_kv_heads: -1, expected 1 to 16777216");
  refuse(with(good, &KeyValueCacheConfig::head_dim, 577), "head_dim: 577, expected 1 to 576");
  refuse(with(good, &KeyValueCacheConfig::value_dim, 577), "value_dim: 577, expected 0 to 576");
  refuse(with(good, &KeyValueCacheConfig::capacity, 0), "capacity: 0, expected 1 to 1099511627776");
  refuse(with(with(good, &KeyValueCacheConfig::capacity, std::int64_t{1} << 40), &KeyValueCacheConfig::batch, 1 << 24),
         "capacity: 1099511627776 is too large");
  refuse(with(good, &KeyValueCacheConfig::page_count, 1), "page_count: given, but page_rows is 0");
  refuse(with(paged, &KeyValueCacheConfig::page_rows, -1), "page_rows: -1, expected 1 to 16777216");
  refuse(with(paged, &KeyValueCacheConfig::page_count, 0), "page_count: 0, expected 1 to 1099511627776");
  refuse(with(with(paged, &KeyValueCacheConfig::page_count, std::int64_t{1} << 40), &KeyValueCacheConfig::page_rows, 1 << 24),
         "page_count: 1099511627776 is too large");
  refuse(with(paged, &KeyValueCacheConfig::capacity, 9),
         "pages: shape (2, 2), 4 tokens to a page, expected room for capacity = 9, at least 1 and at most 2^40");
  KeyValueCacheConfig config = good;
  config.pages = IndexView(table, 2, 2);
  refuse(config, "pages: given, but page_rows is 0");
  config = paged;
  config.ring = true;
  refuse(config, "ring: cannot go with page_rows");
  config = paged;
  config.pages = IndexView(table, 1, 4);
  refuse(config, "pages: shape (1, 4), expected (2, 4)");
  config.pages = IndexView(nullptr, 2, 2);
  refuse(config, "pages: data is null, but its shape is (2, 2)");
  config.pages = IndexView(table, 2, 0);
  refuse(config, "pages: shape (2, 0), 4 tokens to a page, expected room for capacity = 8, at least 1 and at most 2^40");
  CHECK(std::string(KeyValueCache::make(good, nullptr).message()) == "cache: null");
  // As many as can be counted, of a table that repeats: what room it would give is out of bounds.
  config = paged;
  config.capacity = 0;
  config.pages.sizes[1] = std::int64_t{1} << 50;
  config.pages.strides[0] = config.pages.strides[1] = 0;
  CHECK(KeyValueCache::bytes(config) == 0);
}

namespace {

/// Everything of a cache: that an error leaves it as it was.
std::vector<float> bytes_of(const Cache& made) { return made.memory; }
bool unchanged(const Cache& made, const std::vector<float>& before) {
  return std::memcmp(made.memory.data(), before.data(), before.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("cache: bad calls are refused by name, and everything stays as it was") {
  Random random(212);
  const Tokens tokens(random);
  for (Kind kind : {Kind::plain, Kind::ring, Kind::paged}) {
    Cache made(kind, 60, random);
    KeyValueCache& cache = made.cache;
    const std::int64_t lengths[] = {50, 60, 7}, many[] = {1, -1, 5}, more[] = {1, 1, 6};
    REQUIRE_OK(append(cache, tokens, 0, 60, IndexView(lengths, B)));
    const std::vector<float> before = bytes_of(made);
    const ConstTensorView k = part_of(tokens.k.view, 2, 0, 5), v = part_of(tokens.v.view, 2, 0, 5), q = part_of(tokens.q.view, 2, 0, 5);
    const auto refuse = [&](const Status& status, const std::string& message, StatusCode code = StatusCode::invalid_argument) {
      CHECK(status.code() == code);
      CHECK(std::string(status.message()) == message);
      CHECK(unchanged(made, before));
    };
    refuse(cache.append(part_of(k, 0, 0, 2), v), "k: shape (2, 2, 5, 20), expected (3, 2, 5, 20)");
    refuse(cache.append(part_of(k, 3, 0, 19), v), "k: shape (3, 2, 5, 19), expected (3, 2, 5, 20)");
    refuse(cache.append(k, part_of(v, 2, 0, 4)), "v: shape (3, 2, 4, 9), expected (3, 2, 5, 9)");
    refuse(cache.append(k, part_of(v, 1, 0, 1)), "v: shape (3, 1, 5, 9), expected (3, 2, 5, 9)");
    refuse(cache.append(k, v, IndexView(many, 2)), "counts: shape (2,), expected (3,)");
    refuse(cache.append(k, v, IndexView(many, B)), "counts: [1] is -1, expected 0 to 5");
    refuse(cache.append(k, v, IndexView(more, B)), "counts: [2] is 6, expected 0 to 5");
    OperationOptions threads;
    threads.threads.count = 0;
    if (kind == Kind::ring) refuse(cache.append(k, v, {}, threads), "threads: count 0, expected 1 to 256");
    threads = OperationOptions();
    threads.isa = static_cast<Isa>(99);
    refuse(cache.append(k, v, {}, threads), "isa: 99 is none that there is");
    ConstTensorView inside = k;
    inside.data = cache.key(0, 0, 0);
    inside.strides[0] = inside.strides[1] = 0;
    refuse(cache.append(inside, v), "k: its memory meets that of the cache");
    ConstTensorView inside_values = v;
    inside_values.data = cache.value(0, 0, 0);
    inside_values.strides[0] = inside_values.strides[1] = 0;
    refuse(cache.append(k, inside_values), "v: its memory meets that of the cache");
    if (kind != Kind::ring) {
      refuse(cache.append(k, v), "cache: entry 1 holds 60 of 60 tokens, no room for 5 more", StatusCode::out_of_memory);
    } else {
      // More tokens than can be counted, of a view that repeats one.
      ConstTensorView endless_k = k, endless_v = v;
      endless_k.sizes[2] = endless_v.sizes[2] = std::int64_t{1} << 40;
      endless_k.strides[2] = endless_v.strides[2] = 0;
      refuse(cache.append(endless_k, endless_v), "cache: entry 0 holds 50 of 1099511627776 tokens, no room for 1099511627776 more",
             StatusCode::out_of_memory);
    }
    refuse(cache.truncate(-1, 0), "b: -1, expected 0 to 2");
    refuse(cache.truncate(3, 0), "b: 3, expected 0 to 2");
    refuse(cache.truncate(1, 61), "length: 61, expected 0 or 0 to 60, what entry 1 holds");
    refuse(cache.truncate(1, -1), "length: -1, expected 0 or 0 to 60, what entry 1 holds");

    Tensor output({B, H, 5, Dv}), weights({B, H, 5, 60}), lse({B, H, 5});
    Workspace workspace;
    const auto refuse_call = [&](const ConstTensorView& queries, const IndexView& counts, const TensorView& result, const AttentionOptions& options,
                                 const std::string& message) {
      refuse(attention_cached(queries, cache, counts, result, workspace, options), message);
      CHECK(output.untouched());
      CHECK(weights.untouched());
      CHECK(lse.untouched());
    };
    AttentionOptions options;
    options.attention_weights = weights.view;
    options.lse = lse.view;
    refuse_call(part_of(q, 0, 0, 2), {}, output.view, options, "q: shape (2, 4, 5, 20), expected (3, 4, 5, 20)");
    refuse_call(part_of(q, 3, 0, 19), {}, output.view, options, "q: shape (3, 4, 5, 19), expected (3, 4, 5, 20)");
    refuse_call(part_of(q, 1, 0, 3), {}, output.view, options, "cache: 2 heads do not divide those of q, 3");
    refuse_call(q, {}, part_of(output.view, 3, 0, 8), options, "output: shape (3, 4, 5, 8), expected (3, 4, 5, 9)");
    refuse_call(q, IndexView(many, B), output.view, options, "query_counts: [1] is -1, expected 0 to 5");
    refuse_call(q, IndexView(more, B), output.view, options, "query_counts: [2] is 6, expected 0 to 5");
    TensorView in_cache = output.view;
    in_cache.data = const_cast<float*>(cache.key(1, 0, 0));
    refuse_call(q, {}, in_cache, options, "output: its memory meets that of the cache");
    AttentionOptions wrong = options;
    wrong.lse.data = const_cast<float*>(cache.value(1, 0, 0));
    refuse_call(q, {}, output.view, wrong, "lse: its memory meets that of the cache");
    wrong = options;
    wrong.attention_weights = part_of(weights.view, 3, 0, 59);
    refuse_call(q, {}, output.view, wrong, "attention_weights: shape (3, 4, 5, 59), expected (3, 4, 5, 60)");
    wrong = options;
    const std::int64_t starts[] = {0, 5};
    wrong.query_starts = wrong.key_starts = IndexView(starts, 2);
    refuse_call(q, {}, output.view, wrong, "query_starts: given, but attention over a cache has no use for it");
    wrong = options;
    wrong.scale = infinite;
    refuse_call(q, {}, output.view, wrong, "scale: inf, expected a finite number");
    const std::vector<std::uint8_t> shown(61, 1);
    wrong = options;
    wrong.mask = BoolMaskView(shown.data(), 61);
    refuse_call(q, {}, output.view, wrong, "mask: shape (61,) does not broadcast to (B, H, L, S) = (3, 4, 5, 60)");
    std::int64_t numbers[600] = {};
    TensorView over_counts = output.view;
    over_counts.data = reinterpret_cast<float*>(numbers);
    refuse_call(q, IndexView(numbers, B), over_counts, options, "output: its memory meets that of query_counts");
    Workspace none(nullptr, 0);
    CHECK(attention_cached(q, cache, {}, output.view, none, options).code() == StatusCode::out_of_memory);
    CHECK(output.untouched());

    if (kind == Kind::paged) {
      const std::int64_t columns = made.config.pages.sizes[1], rows = made.config.page_rows, outside = made.config.page_count;
      const auto page = [&](std::int64_t b, std::int64_t p) -> std::int64_t& { return made.pages[static_cast<std::size_t>(b * columns + p)]; };
      const std::string most = std::to_string(outside - 1);
      const std::int64_t last = 59 / rows;
      for (const std::int64_t stray : {std::int64_t{-1}, outside, INT64_MIN, INT64_MAX}) {
        const std::int64_t good = page(1, last);
        page(1, last) = stray;
        const std::string message = "pages: [1, " + std::to_string(last) + "] is " + std::to_string(stray) + ", expected 0 to " + most;
        refuse_call(q, {}, output.view, options, message);
        CHECK(cache.key(1, 0, 59) == nullptr);
        const std::int64_t to_one[] = {0, 1, 0};
        REQUIRE_OK(cache.truncate(1, 59));
        const std::vector<float> shorter = bytes_of(made);
        const Status status = cache.append(k, v, IndexView(to_one, B));
        CHECK(std::string(status.message()) == message);
        CHECK(unchanged(made, shorter));
        page(1, last) = good;
        REQUIRE_OK(cache.append(part_of(tokens.k.view, 2, 59, 1), part_of(tokens.v.view, 2, 59, 1), IndexView(to_one, B)));
        CHECK(cache.length(1) == 60);
      }
      TensorView over_pages = output.view;
      over_pages.data = reinterpret_cast<float*>(made.pages.data());
      const Status over = attention_cached(q, cache, {}, over_pages, workspace, options);
      CHECK(over.code() == StatusCode::invalid_argument);
      CHECK(std::string(over.message()).find("output: its memory meets that of pages") == 0);
      CHECK(unchanged(made, before));
      // Pages that no query sees may lie anywhere.
      AttentionOptions window;
      window.window_left = 3;
      window.causal = true;
      for (std::int64_t p = 0; p < (60 - 5 - 3) / rows; ++p) page(1, p) = -1;
      Tensor seen({B, H, 5, Dv});
      REQUIRE_OK(attention_cached(q, cache, {}, seen.view, workspace, window));
    }
    if (kind == Kind::ring) {
      const std::int64_t counts[] = {0, 5, 0};
      REQUIRE_OK(append(cache, tokens, 0, 5, IndexView(counts, B)));
      CHECK(cache.first(1) == 5);
      const std::vector<float> later = bytes_of(made);
      AttentionOptions causal;
      causal.causal = true;
      const auto refuse_reach = [&](const AttentionOptions& asked, const std::string& message) {
        const Status status = attention_cached(q, cache, {}, output.view, workspace, asked);
        CHECK(std::string(status.message()) == message);
        CHECK(unchanged(made, later));
        CHECK(output.untouched());
      };
      refuse_reach(causal, "cache: query 0 of entry 1 sees tokens from 0 on, a ring of capacity 60 holds 5 to 64; it takes 65");
      AttentionOptions window = causal;
      window.window_left = 56;
      refuse_reach(window, "cache: query 0 of entry 1 sees tokens from 4 on, a ring of capacity 60 holds 5 to 64; it takes 61");
      CHECK(std::string(cache.truncate(1, 4).message()) == "length: 4, expected 0 or 5 to 65, what entry 1 holds");
      CHECK(unchanged(made, later));
      Tensor seen({B, H, 5, Dv});
      window.window_left = 55;
      REQUIRE_OK(attention_cached(q, cache, {}, seen.view, workspace, window));
      // A single query sees what is there; but if it asks for more by a window, that is an error, too.
      const std::int64_t single[] = {5, 1, 5};
      window.window_left = 60;
      Tensor untouched({B, H, 5, Dv});
      CHECK(std::string(attention_cached(q, cache, IndexView(single, B), untouched.view, workspace, window).message()) ==
            "cache: query 0 of entry 1 sees tokens from 4 on, a ring of capacity 60 holds 5 to 64; it takes 61");
      CHECK(untouched.untouched());
      REQUIRE_OK(attention_cached(q, cache, IndexView(single, B), seen.view, workspace, causal));
    }
  }
}
