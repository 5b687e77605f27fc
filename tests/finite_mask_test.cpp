// Tests of finite biases, however low or high: masks as model code builds them, ALiBi, T5's table, alone and together.

#include <algorithm>
#include <cstdio>

#include "engine_test.h"
#include "reference_call.h"

using namespace engine_test;

namespace {

constexpr float lowest = std::numeric_limits<float>::lowest(), lowest_bfloat16 = -0x1.fep+127f;
constexpr double most_error = 2e-6;  // of the largest value

struct Shapes {
  std::int64_t B, H, G, L, S, D, Dv;
};

/// Queries, keys and values, and one call of them.
struct Case {
  Shapes shape;
  Tensor q, k, v, output, lse, weights;
  AttentionOptions options;

  Case(const Shapes& sizes, Random& random, float scale = 2.0f)
      : shape(sizes), q({sizes.B, sizes.H, sizes.L, sizes.D}), k({sizes.B, sizes.G, sizes.S, sizes.D}), v({sizes.B, sizes.G, sizes.S, sizes.Dv}),
        output({sizes.B, sizes.H, sizes.L, sizes.Dv}), lse({sizes.B, sizes.H, sizes.L}), weights({sizes.B, sizes.H, sizes.L, sizes.S}) {
    q.fill(random, scale);
    k.fill(random, scale);
    v.fill(random);
  }

  /// The worst error of outputs, weights and LSE against `right`, the last relative to 1 + |LSE|; infinite where one is NaN.
  double error(Isa isa, const reference::AttentionResult& right, Workspace& workspace, bool with_weights = true) {
    options.lse = lse.view;
    if (with_weights) options.attention_weights = weights.view;
    REQUIRE_OK(attention(q.view, k.view, v.view, {}, output.view, workspace, on(isa, options)));
    double worst = 0.0;
    const auto compare = [&worst](double actual, double expected, double unit) {
      if (actual == expected) return;
      const double off = std::abs(actual - expected) / unit;
      worst = off <= 1e30 ? std::max(worst, off) : 1e30;
    };
    for (std::int64_t n = 0; n < output.count(); ++n) compare(output[n], right.output.values[static_cast<std::size_t>(n)], 1.0);
    for (std::int64_t n = 0; n < weights.count() && with_weights; ++n) compare(weights[n], right.weights.values[static_cast<std::size_t>(n)], 1.0);
    for (std::int64_t n = 0; n < lse.count(); ++n) {
      const double expected = right.lse.values[static_cast<std::size_t>(n)];
      compare(lse[n], expected, 1.0 + std::abs(expected));
    }
    return worst;
  }
  reference::AttentionResult right() const { return reference_attention(q.view, k.view, v.view, {}, options); }
};

enum class Pattern { left_padding, window, documents, right_padding, all, some };
const char* const pattern_names[] = {"left padding", "window", "documents", "right padding", "all", "some keys"};

/// Whether the mask has its value, not 0, for query i of L and key j of S.
bool marked(Pattern pattern, std::int64_t i, std::int64_t j, std::int64_t L, std::int64_t S) {
  const std::int64_t position = S - L + i;
  switch (pattern) {
    case Pattern::left_padding: return j < S - S / 4;
    case Pattern::window: return j > position || j < position - 30;
    case Pattern::documents: return (position < S / 2) != (j < S / 2);
    case Pattern::right_padding: return j >= S / 4;
    case Pattern::all: return true;
    case Pattern::some: return j % 7 == 3;
  }
  return false;
}

/// A mask (B, 1 or H, L, S).
Tensor mask_of(Pattern pattern, float value, const Shapes& shape, std::int64_t heads) {
  Tensor mask({shape.B, heads, shape.L, shape.S});
  for (std::int64_t n = 0; n < mask.count(); ++n) {
    mask[n] = marked(pattern, n / shape.S % shape.L, n % shape.S, shape.L, shape.S) ? value : 0.0f;
  }
  return mask;
}

}  // namespace

TEST_CASE("finite masks: the smallest input, by hand") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (float low : {-1e4f, -1e9f, lowest, lowest_bfloat16}) {
      CAPTURE(low);
      for (std::int64_t L : {1, 2}) {
        Random random(1);
        Case one({1, 1, 1, L, 128, 8, 4}, random);
        Tensor mask({128});
        for (std::int64_t j = 0; j < 128; ++j) mask[j] = j < 100 ? low : 0.0f;
        one.options.additive_mask = mask.view;
        // The softmax over keys 100 to 127 alone.
        const reference::AttentionResult right = reference::attention(
            reference::Array(one.q.view), reference::Array(part_of(one.k.view, 2, 100, 28)), reference::Array(part_of(one.v.view, 2, 100, 28)));
        Workspace workspace;
        REQUIRE_OK(attention(one.q.view, one.k.view, one.v.view, {}, one.output.view, workspace, on(isa, one.options)));
        for (std::int64_t n = 0; n < one.output.count(); ++n) {
          CHECK(std::abs(one.output[n] - right.output.values[static_cast<std::size_t>(n)]) <= most_error);
        }
      }
    }
  }
}

// Prints a line for each mask and pattern where ATTEND_PRINT_TABLE is set.
TEST_CASE("finite masks: every size, pattern, number of queries and of heads a key head") {
  const bool print = std::getenv("ATTEND_PRINT_TABLE") != nullptr;
  for (float value : {-1e4f, -1e9f, lowest, lowest_bfloat16, -infinite, 1e9f}) {
    for (Pattern pattern : {Pattern::left_padding, Pattern::window, Pattern::documents, Pattern::right_padding, Pattern::all, Pattern::some}) {
      std::vector<std::pair<Isa, double>> worst;
      for (Isa isa : usable_isas()) worst.emplace_back(isa, 0.0);
      for (std::int64_t L : {1, 2, 9, 400}) {
        for (std::int64_t shared : {1, 4, 12}) {
          if (L == 400 && shared > 1 && std::getenv("ATTEND_TEST_SHARE") != nullptr) continue;  // emulators
          Random random(static_cast<std::uint64_t>(L * 100 + shared));
          const Shapes shape = {1, shared, 1, L, 416, 16, 8};
          Case one(shape, random);
          const Tensor mask = mask_of(pattern, value, shape, 1);
          one.options.additive_mask = mask.view;
          const reference::AttentionResult right = one.right();
          Workspace workspace;
          for (std::pair<Isa, double>& of_isa : worst) {
            const double off = one.error(of_isa.first, right, workspace, L < 400);
            of_isa.second = std::max(of_isa.second, off);
            CHECK_MESSAGE(off <= most_error, name_of(of_isa.first) << ": a mask of " << value << ", " << pattern_names[static_cast<int>(pattern)]
                                                          << ", L = " << L << ", H/G = " << shared << ": off by " << off);
          }
        }
      }
      if (!print) continue;
      std::printf("%-12g %-14s", static_cast<double>(value), pattern_names[static_cast<int>(pattern)]);
      for (const std::pair<Isa, double>& of_isa : worst) std::printf("  %s %.1e", isa_name(of_isa.first), of_isa.second);
      std::printf("\n");
    }
  }
}

TEST_CASE("finite masks: with what else gives and takes keys") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    for (int times = 0; times < share_of(300); ++times) {
      CAPTURE(times);
      Random random(static_cast<std::uint64_t>(900 + times));
      const std::int64_t G = random.between(1, 2), L = random.one_of<std::int64_t>({1, 1, 2, 5, 70}), S = random.between(1, 330);
      const Shapes shape = {random.between(1, 2), G * random.between(1, 3), G, L, S, random.between(1, 40), random.between(1, 40)};
      Case one(shape, random, random.one_of({0.5f, 2.0f}));
      AttentionOptions& options = one.options;
      const float value = random.one_of({-1e4f, -1e9f, lowest, lowest_bfloat16, 1e9f, -100.0f, -17.0f, 30.0f});
      const Tensor mask = mask_of(static_cast<Pattern>(random.between(0, 5)), value, shape, random.one_in(2) ? 1 : shape.H);
      options.additive_mask = mask.view;
      if (random.one_in(3)) options.additive_mask = ConstTensorView(mask.view.data, shape.S);  // of the first query
      Tensor slopes({shape.H}), sinks({shape.H});
      if (random.one_in(3)) options.alibi_slopes = slopes.fill(random, random.one_of({0.01f, 1.0f, 8.0f})).view;
      if (random.one_in(3)) options.sinks = sinks.fill(random, random.one_of({3.0f, 40.0f})).view;
      if (random.one_in(4)) options.softcap = 3.0f;
      if (random.one_in(3)) options.causal = true;
      if (random.one_in(4)) options.window_left = random.between(0, 200);
      options.offset = random.one_in(2) ? S - L : 0;
      const reference::AttentionResult right = one.right();
      const double off = one.error(isa, right, workspace);
      // Sinks of 40 and slopes of 8 are differences that count, and so do roundings of their size: 64 of 2^-24.
      CHECK_MESSAGE(off <= 6e-6, "off by " << off << ": a mask of " << value << ", L = " << L << ", S = " << S);
    }
  }
}

TEST_CASE("finite masks: on all keys alike they change nothing but the LSE") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (float value : {-1e4f, -1e9f, lowest, lowest_bfloat16, 1e9f}) {
      CAPTURE(value);
      for (std::int64_t L : {1, 3, 50}) {
        Random random(4);
        Case one({1, 2, 2, L, 300, 24, 16}, random);
        Tensor slopes({2}), table({8, 2});
        one.options.alibi_slopes = slopes.fill({0.5f, 0.03f}).view;
        one.options.relative_position_bias.table = table.fill(random).view;
        Tensor without(one.output.shape());
        Workspace workspace;
        REQUIRE_OK(attention(one.q.view, one.k.view, one.v.view, {}, without.view, workspace, on(isa, one.options)));
        Tensor mask({300});
        one.options.additive_mask = mask.fill(value).view;
        REQUIRE_OK(attention(one.q.view, one.k.view, one.v.view, {}, one.output.view, workspace, on(isa, one.options)));
        double off = 0.0;
        for (std::int64_t n = 0; n < without.count(); ++n) off = std::max(off, std::abs(static_cast<double>(one.output[n]) - without[n]));
        CHECK(off <= most_error);
      }
    }
  }
}

TEST_CASE("finite biases: ALiBi over long rows and from far away") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    Random random(5);
    Tensor slopes({8});
    REQUIRE_OK(default_alibi_slopes(8, slopes.view));
    struct Place {
      std::int64_t L, S, offset;
    };
    for (const Place& place : {Place{256, 256, 0}, {40, 4096, 4056}, {1, 4096, 4095}, {5, 2005, -40000000000}}) {
      CAPTURE(place.S);
      CAPTURE(place.offset);
      Case one({1, 8, 1, place.L, place.S, 16, 8}, random, 0.5f);
      one.options.alibi_slopes = slopes.view;
      one.options.causal = place.offset >= 0;
      one.options.offset = place.offset;
      CHECK(one.error(isa, one.right(), workspace) <= most_error);
    }
  }
}

// The maximum of the first block is where the chains of the blocks after it begin.
TEST_CASE("finite biases: a first block far below the others, without any mask") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    for (float below : {0.0f, 10.0f, 24.0f, 100.0f, 3000.0f, 1e9f}) {
      CAPTURE(below);
      Random random(6);
      Case one({1, 1, 1, 8, 300, 64, 8}, random);
      one.options.scale = 1.0f / 8.0f;
      for (std::int64_t j = 0; j < 300; ++j) one.k.at(0, 0, j, 0) = j < 128 ? -below : 0.0f;
      for (std::int64_t i = 0; i < 8; ++i) one.q.at(0, 0, i, 0) = 8.0f;
      CHECK(one.error(isa, one.right(), workspace) <= most_error);
    }
  }
}

// Left padding of 130 of 220 tokens, and causal: what sees a key must not change when low numbers stand for a bool mask.
TEST_CASE("finite masks: a layer, alone and over caches of every kind, gives what bools give") {
  constexpr std::int64_t tokens = 220, padding = 130, width = 24, H = 4, G = 2, D = 12, window = 50;
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(7);
    MultiHeadAttentionConfig config = Layer::square(width, H, isa, true);
    config.num_kv_heads = G;
    config.head_dim = D;
    const Layer layer(config, random);
    Tensor x({1, tokens, width}), expected({1, tokens, width}), output({1, tokens, width}), mask({tokens, tokens});
    x.fill(random);
    std::vector<std::uint8_t> shown(tokens, 1);
    std::fill_n(shown.begin(), padding, std::uint8_t{0});
    AttentionOptions options;
    options.causal = true;
    const auto worst = [&] {
      double off = 0.0, largest = 0.0;
      for (std::int64_t n = padding * width; n < tokens * width; ++n) {
        const double difference = std::abs(static_cast<double>(output[n]) - expected[n]);
        off = difference <= 1e30 ? std::max(off, difference) : 1e30;
        largest = std::max(largest, std::abs(static_cast<double>(expected[n])));
      }
      return off / largest;
    };
    for (int kind : {0, 1, 2}) {  // plain, a ring, pages
      CAPTURE(kind);
      std::vector<std::int64_t> pages;
      KeyValueCacheConfig of_cache;
      of_cache.num_kv_heads = G;
      of_cache.head_dim = D;
      of_cache.capacity = kind == 1 ? window + 100 : tokens;
      of_cache.ring = kind == 1;
      if (kind == 2) {
        of_cache.page_rows = 20;
        of_cache.page_count = tokens / 20;
        for (std::int64_t p = of_cache.page_count; p > 0; --p) pages.push_back(p - 1);
        of_cache.pages = IndexView(pages.data(), 1, of_cache.page_count);
      }
      options.window_left = kind == 1 ? window : -1;
      options.additive_mask = ConstTensorView();
      options.mask = BoolMaskView(shown.data(), tokens);
      REQUIRE_OK(layer.forward(x, x, x, {}, expected, options));
      options.mask = BoolMaskView();
      for (float low : {-1e4f, -1e9f, lowest, lowest_bfloat16}) {
        CAPTURE(low);
        for (std::int64_t n = 0; n < mask.count(); ++n) mask[n] = n % tokens < padding ? low : 0.0f;
        options.additive_mask = mask.view;
        REQUIRE_OK(layer.forward(x, x, x, {}, output, options));
        CHECK(worst() <= most_error);
        KeyValueCache cache;
        REQUIRE_OK(KeyValueCache::make(of_cache, &cache));
        Workspace workspace;
        output.fill(0.0f);
        for (std::int64_t first = 0, count; first < tokens; first += count) {
          count = first < 200 ? 100 : 1;  // two prefills, then token by token
          const TensorView rows = part_of(x.view, 1, first, count);
          options.additive_mask = part_of(part_of(mask.view, 0, first, count), 1, 0, first + count);
          REQUIRE_OK(layer.attention.forward_cached(rows, rows, rows, {}, &cache, part_of(output.view, 1, first, count), workspace, options));
        }
        CHECK(worst() <= most_error);
      }
    }
  }
}

// A sink is the bias of a key whose score is 0: it shares with what a mask leaves, however low both are.
TEST_CASE("finite masks: beside sinks of every size") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    for (float value : {0.0f, -1e4f, -1e6f, -1e9f, -1e12f, lowest_bfloat16, lowest, 1e9f}) {
      CAPTURE(value);
      for (float sink : {3.0f, -5.0f, 50.0f, value, value - 8.0f, value - 70.0f, value + 20.0f, value + 130.0f, -1e9f, lowest_bfloat16, lowest, 3e38f}) {
        CAPTURE(sink);
        for (std::int64_t L : {1, 2, 9}) {
          CAPTURE(L);
          Random random(8);
          Case one({1, 2, 1, L, 300, 16, 8}, random);
          Tensor sinks({2});
          one.options.sinks = sinks.fill({sink, -infinite}).view;
          for (Pattern pattern : {Pattern::all, Pattern::left_padding}) {
            const Tensor mask = mask_of(pattern, value, one.shape, 1);
            if (value != 0.0f) one.options.additive_mask = mask.view;
            CHECK(one.error(isa, one.right(), workspace) <= most_error);
            for (std::int64_t n = 0; n < one.lse.count(); ++n) CHECK(std::isfinite(one.lse[n]));
          }
        }
      }
    }
  }
}

TEST_CASE("finite biases: what ALiBi takes and a mask gives back leaves T5's table whole") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    for (float slope : {0.5f, 1024.0f}) {
      CAPTURE(slope);
      for (std::int64_t L : {1, 2, 9}) {
        Random random(9);
        Case one({1, 1, 1, L, 200, 8, 4}, random);
        Tensor mask({200}), slopes({1}), table({32, 1}), alone(one.output.shape());
        one.options.relative_position_bias.table = table.fill(random, 2.0f).view;
        one.options.relative_position_bias.bidirectional = false;
        one.options.relative_position_bias.max_distance = 500;
        one.options.offset = 210;
        REQUIRE_OK(attention(one.q.view, one.k.view, one.v.view, {}, alone.view, workspace, on(isa, one.options)));
        for (std::int64_t j = 0; j < 200; ++j) mask[j] = -slope * static_cast<float>(j);
        one.options.additive_mask = mask.view;
        one.options.alibi_slopes = slopes.fill(slope).view;
        REQUIRE_OK(attention(one.q.view, one.k.view, one.v.view, {}, one.output.view, workspace, on(isa, one.options)));
        for (std::int64_t n = 0; n < alone.count(); ++n) CHECK(std::abs(one.output[n] - alone[n]) <= most_error);
      }
    }
  }
}

// tanh's error comes times the cap.
TEST_CASE("softcap: scores far below the cap keep their digits") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    for (float cap : {1.0f, 5.0f, 20.0f, 50.0f, 1000.0f}) {
      CAPTURE(cap);
      for (std::int64_t L : {1, 2, 40}) {
        Random random(10);
        Case one({1, 2, 1, L, 300, 64, 16}, random, 1.5f);
        one.options.softcap = cap;
        CHECK(one.error(isa, one.right(), workspace) <= most_error);
      }
    }
  }
}
