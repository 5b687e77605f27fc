// Heads about as wide as they may be, 576: where a tile's memory is full, key blocks shrink and queries come a few at a time.

#include "../tools/checks/checks.h"
#include "data/rows.h"
#include "engine_test.h"
#include "reference_call.h"

using namespace engine_test;

namespace {

constexpr std::int64_t near[] = {1, 511, 512, 513, 559, 560, 561, 575, 576};  // the limit and whole vectors, from both sides

struct Counts {
  std::int64_t heads, kv_heads, queries, keys;
};
/// One row and whole tiles of every ISA, a part of a key block and several, decoding, and queries whose heads share keys.
constexpr Counts counts[] = {{1, 1, 1, 1}, {8, 1, 1, 130}, {9, 1, 1, 97}, {2, 2, 3, 31}, {1, 1, 33, 49}, {16, 1, 2, 110}, {2, 1, 9, 200}};

}  // namespace

TEST_CASE("wide heads: random combinations of all options, with and without a cache, against the reference") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const checks::Result result = checks::check_cores(isa, 401, share_of(60), checks::Heads::wide);
    CHECK_MESSAGE(result.ok, result.message);
  }
}

TEST_CASE("wide heads: random layers with all options, against the reference") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const checks::Result result = checks::check_layers(isa, 402, share_of(12), checks::Heads::wide);
    CHECK_MESSAGE(result.ok, result.message);
  }
}

TEST_CASE("wide heads: every pair of widths about the limit, output, LSE and weights as the reference, in the memory that is asked for") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(403);
    std::size_t which = 0;
    for (std::int64_t D : near) {
      for (std::int64_t Dv : near) {
        const Counts& count = counts[which++ % (sizeof counts / sizeof counts[0])];
        CAPTURE(text_of({count.heads, count.kv_heads, count.queries, count.keys, D, Dv}));
        Tensor q({1, count.heads, count.queries, D}), k({1, count.kv_heads, count.keys, D}), v({1, count.kv_heads, count.keys, Dv});
        q.fill(random, 2.0f);
        k.fill(random, 2.0f);
        v.fill(random);
        Tensor output({1, count.heads, count.queries, Dv}), lse({1, count.heads, count.queries}), weights({1, count.heads, count.queries, count.keys});
        AttentionOptions options;
        options.causal = random.one_in(2);
        options.offset = count.keys - count.queries;
        if (random.one_in(3)) options.softcap = 20.0f;
        options.lse = lse.view;
        options.attention_weights = weights.view;
        options.isa = isa;
        const std::size_t bytes = attention_workspace_bytes(q.view, k.view, v.view, options);
        std::vector<char> memory(bytes);
        Workspace workspace(memory.data(), bytes);
        REQUIRE_OK(attention(q.view, k.view, v.view, {}, output.view, workspace, on(isa, options)));
        const reference::AttentionResult expected = reference::attention(q.view, k.view, v.view, reference_options(options, {}, 0));
        CHECK_CLOSE(output.view, expected.output, reference::core_bounds(expected, D, reference::Data::random));
        CHECK_CLOSE(lse.view, expected.lse, reference::lse_bounds(expected, D, reference::Data::random));
        CHECK_CLOSE(weights.view, expected.weights, reference::weight_bounds(expected, D, reference::Data::random));
        CHECK(output.gaps_untouched());
      }
    }
  }
}

// A tile's memory is laid out anew for each pair of widths: what one array writes beyond its end, the next one has.
TEST_CASE("wide heads: columns of values have the bits that they have among fewer, up to 512 and beyond") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(404);
    for (std::int64_t D : {64, 512, 560, 576}) {
      CAPTURE(D);
      const std::int64_t L = 37, S = 150;
      Tensor q({1, 1, L, D}), k({1, 1, S, D}), v({1, 1, S, largest_head}), mask({L, S});
      q.fill(random, 2.0f);
      k.fill(random, 2.0f);
      v.fill(random);
      for (std::int64_t n = 0; n < mask.count(); ++n) mask[n] = random.one_in(3) ? -infinite : random.number();
      AttentionOptions options;
      options.additive_mask = mask.view;
      Workspace workspace;
      const auto columns_of = [&](std::int64_t Dv) {
        Tensor output({1, 1, L, Dv});
        REQUIRE_OK(attention(q.view, k.view, part_of(ConstTensorView(v.view), 3, 0, Dv), {}, output.view, workspace, on(isa, options)));
        return output;
      };
      const auto agree = [&](const Tensor& few, const Tensor& many) {
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < L; ++i) {
          for (std::int64_t c = 0; c < few.view.sizes[3]; ++c) wrong += few.at(0, 0, i, c) != many.at(0, 0, i, c);
        }
        CHECK(wrong == 0);
      };
      const Tensor usual = columns_of(512), widest = columns_of(largest_head);
      agree(columns_of(1), usual);
      agree(columns_of(300), usual);
      agree(columns_of(513), widest);
      agree(columns_of(575), widest);
    }
  }
}

TEST_CASE("wide heads: a layer over a cache of any kind, in chunks, by any number of threads, gives the bits of one forward") {
  const std::int64_t H = 3, D = largest_head, E = 30, T = 75, chunk = 25;
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(405);
    Tensor frequencies({D / 2}), x({1, T, E}), expected({1, T, E});
    for (std::int64_t n = 0; n < frequencies.count(); ++n) frequencies[n] = std::fabs(random.number());
    MultiHeadAttentionConfig config = Layer::square(E, H, isa, true);
    config.num_kv_heads = 1;
    config.head_dim = D;
    config.qk_norm = true;
    config.rotary.inverse_frequencies = frequencies.view;
    const Layer layer(config, random);
    x.fill(random);
    AttentionOptions options;
    options.causal = true;
    REQUIRE_OK(layer.forward(x, x, x, {}, expected, options));
    for (int threads : {1, 2, 3}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      options.threads = pool.threads();
      for (int kind : {0, 1, 2}) {  // plain, a ring, pages
        CAPTURE(threads);
        CAPTURE(kind);
        const std::int64_t pages[] = {3, 0, 6, 1, 5, 2, 4};
        KeyValueCacheConfig of_cache;
        of_cache.num_kv_heads = 1;
        of_cache.head_dim = D;
        of_cache.capacity = T;
        of_cache.ring = kind == 1;
        if (kind == 2) {
          of_cache.page_rows = 11;
          of_cache.page_count = 7;
          of_cache.pages = IndexView(pages, 1, 7);
        }
        KeyValueCache cache;
        REQUIRE_OK(KeyValueCache::make(of_cache, &cache));
        Tensor output({1, T, E});
        Workspace workspace;
        for (std::int64_t first = 0; first < T; first += chunk) {
          const TensorView rows = part_of(x.view, 1, first, chunk);
          REQUIRE_OK(layer.attention.forward_cached(rows, rows, rows, {}, &cache, part_of(output.view, 1, first, chunk), workspace, options));
        }
        CHECK_SAME_BITS(output, expected);
      }
    }
  }
}
