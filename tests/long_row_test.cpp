// Tests of rows with many keys: sums keep their digits up to 2^20 keys, whatever path they take.

#include <algorithm>

#include "engine_test.h"

using namespace engine_test;

namespace {

constexpr double most_error = 4e-6;

/// Keys that are all alike, so that roundings of a sum all go one way: the output is the mean of the values, which are constant,
/// and the LSE the score plus ln S. Returns the worst relative error of both.
/// `D`: columns of keys, those beyond the fourth 0.
double error_of(Isa isa, std::int64_t L, std::int64_t S, float key, const std::vector<float>& values, std::int64_t window = -1, std::int64_t D = 4) {
  const std::int64_t Dv = static_cast<std::int64_t>(values.size());
  Tensor q({1, 1, L, D}), output({1, 1, L, Dv}), lse({1, 1, L});
  q.fill(1.0f);
  std::vector<float> k(static_cast<std::size_t>(D), 0.0f);
  std::fill_n(k.begin(), 4, key);
  // One row of memory for all keys, and one for all values.
  ConstTensorView keys(k.data(), 1, 1, S, D), rows(values.data(), 1, 1, S, Dv);
  keys.strides[2] = rows.strides[2] = 0;
  AttentionOptions options;
  options.scale = 1.0f;
  options.lse = lse.view;
  options.window_left = window;
  options.offset = window < 0 ? 0 : S - L;
  Workspace workspace;
  REQUIRE_OK(attention(q.view, keys, rows, {}, output.view, workspace, on(isa, options)));
  double worst = 0.0;
  for (std::int64_t i = 0; i < L; ++i) {
    for (std::int64_t c = 0; c < Dv; ++c) {
      const double value = values[static_cast<std::size_t>(c)];
      worst = std::max(worst, std::abs(output.at(0, 0, i, c) - value) / std::abs(value));
    }
    // Row i of a window sees the keys from S - L + i - window on.
    const double seen = static_cast<double>(window < 0 ? S : std::min(S, L - i + window));
    const double expected = 4.0 * static_cast<double>(key) + std::log(seen);
    worst = std::max(worst, std::abs(lse.at(0, 0, i) - expected) / (1.0 + std::abs(expected)));
  }
  return worst;
}

}  // namespace

TEST_CASE("long rows: identical keys lose less than 4e-6 up to 2^20 of them") {
  Random random(11);
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    double worst = 0.0;
    for (std::int64_t S : {1024, 2048, 2049, 3072, 3073, 32768, 131072, 1 << 20}) {
      if (S > 32768 && std::getenv("ATTEND_TEST_SHARE") != nullptr) continue;  // emulators
      for (std::int64_t L : {1, 2, 9}) {
        if (S == 1 << 20 && L == 9) continue;
        for (int times = 0; times < (S > 32768 ? 2 : 12); ++times) {
          const std::vector<float> values = {1.0f + random.number() * 0.49f, 3.3f, 0.1f, 1.0f, 1.0f + 0x1p-20f, 2.0f + random.number()};
          const double off = error_of(isa, L, S, 0.3f * random.number(), values);
          worst = std::max(worst, off);
          CHECK_MESSAGE(off < most_error, "L = " << L << ", S = " << S << ": off by " << off);
        }
      }
    }
    CHECK(error_of(isa, 3, 40000, 0.21f, {1.7f, -0.3f}, 20000) < most_error);  // from within a span to its end
    CHECK(error_of(isa, 1, 40000, 0.21f, {1.7f, -0.3f}, 20000) < most_error);
    MESSAGE(name_of(isa) << ": worst relative error " << worst);
  }
}

// Key blocks are the smallest there, and so a span has the most of them.
TEST_CASE("long rows: identical keys of the widest heads lose less than 4e-6, too") {
  Random random(13);
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    double worst = 0.0;
    for (std::int64_t Dv : {512, 576}) {
      std::vector<float> values(static_cast<std::size_t>(Dv));
      for (std::int64_t S : {3072, 3073, 32768}) {
        if (S > 3073 && std::getenv("ATTEND_TEST_SHARE") != nullptr) continue;  // emulators
        for (std::int64_t L : {1, 2, 9}) {
          for (float& value : values) value = 1.0f + random.number() * 0.49f;
          worst = std::max(worst, error_of(isa, L, S, 0.3f * random.number(), values, -1, 576));
        }
      }
    }
    CHECK(worst < most_error);
    MESSAGE(name_of(isa) << ": worst relative error " << worst);
  }
}

TEST_CASE("long rows: masked_softmax sums as well") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (float score : {0.0f, 0.7f}) {
      const std::int64_t S = 1 << 20;
      Tensor x({1, 1, S}), y({1, 1, S});
      x.fill(score);
      OperationOptions options;
      options.isa = isa;
      REQUIRE_OK(masked_softmax(x.view, {}, y.view, options));
      double worst = 0.0;
      for (std::int64_t j = 0; j < S; ++j) worst = std::max(worst, std::abs(y[j] * static_cast<double>(S) - 1.0));
      CHECK(worst < most_error);
    }
  }
}

// A span of key blocks is 32 of them: the totals begin beyond. What rows see, and how it is split, changes no bit.
TEST_CASE("long rows: threads, chunks of queries and pages give the bits of one pass") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(12);
    const std::int64_t H = 2, L = 24, S = 3500;
    const struct {
      std::int64_t D, Dv;
    } widths[] = {{20, 20}, {20, 200}, {576, 512}, {576, 576}};
    for (const auto& [D, Dv] : widths) {
      Tensor q({1, H, L, D}), k({1, 1, S, D}), v({1, 1, S, Dv}), whole({1, H, L, Dv}), parts({1, H, L, Dv}), cached({1, H, L, Dv});
      q.fill(random, 3.0f);
      k.fill(random, 3.0f);
      v.fill(random);
      Tensor mask({L, S});
      for (std::int64_t n = 0; n < mask.count(); ++n) mask[n] = random.one_in(3) ? -1e9f : random.one_in(3) ? -infinite : 0.0f;
      AttentionOptions options;
      options.causal = true;
      options.offset = S - L;
      options.additive_mask = mask.view;
      Workspace workspace;
      REQUIRE_OK(attention(q.view, k.view, v.view, {}, whole.view, workspace, on(isa, options)));
      for (std::int64_t first = 0; first < L; first += 8) {
        AttentionOptions part = options;
        part.offset = S - L + first;
        part.additive_mask = part_of(ConstTensorView(mask.view), 0, first, 8);
        REQUIRE_OK(attention(part_of(ConstTensorView(q.view), 2, first, 8), k.view, v.view, {}, part_of(parts.view, 2, first, 8), workspace, on(isa, part)));
      }
      CHECK_SAME_BITS(parts, whole);
      for (std::int64_t page_rows : {16, 5}) {
        KeyValueCacheConfig config;
        config.batch = 1;
        config.num_kv_heads = 1;
        config.head_dim = D;
        config.value_dim = Dv;
        config.page_rows = page_rows;
        config.page_count = (S + page_rows - 1) / page_rows;
        std::vector<std::int64_t> pages(static_cast<std::size_t>(config.page_count));
        for (std::size_t p = 0; p < pages.size(); ++p) pages[p] = static_cast<std::int64_t>((p * 11 + 3) % pages.size());
        config.pages = IndexView(pages.data(), 1, config.page_count);
        KeyValueCache cache;
        REQUIRE_OK(KeyValueCache::make(config, &cache));
        REQUIRE_OK(cache.append(k.view, v.view));
        AttentionOptions over = options;
        over.offset = 0;
        REQUIRE_OK(attention_cached(q.view, cache, {}, cached.view, workspace, on(isa, over)));
        CHECK_SAME_BITS(cached, whole);
      }
    }
  }
}
