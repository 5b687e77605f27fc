// Tests of attention(): random options against the reference, packed sequences, merging, bits, errors.

#include "engine_test.h"

#include "../tools/checks/checks.h"

using namespace engine_test;

namespace {

struct Operands {
  Tensor q, k, v;
  Operands(std::int64_t B, std::int64_t H, std::int64_t G, std::int64_t L, std::int64_t S, std::int64_t D, std::int64_t Dv, Random& random)
      : q({B, H, L, D}), k({B, G, S, D}), v({B, G, S, Dv}) {
    q.fill(random, 2.0f);
    k.fill(random, 2.0f);
    v.fill(random);
  }
  Tensor output() const { return Tensor({q.view.sizes[0], q.view.sizes[1], q.view.sizes[2], v.view.sizes[3]}); }
};

// Options that differ by head, query and key.
struct Rich {
  Tensor slopes, sinks, table;
  AttentionOptions options;
  Rich(std::int64_t heads, Random& random) : slopes({heads}), sinks({heads}), table({8, heads}) {
    options.causal = true;
    options.window_left = 30;
    options.softcap = 7.0f;
    options.alibi_slopes = slopes.fill(random, 0.1f).view;
    options.sinks = sinks.fill(random).view;
    options.relative_position_bias.table = table.fill(random).view;
  }
};

}  // namespace

TEST_CASE("attention: random combinations of all options, against the reference") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const checks::Result result = checks::check_cores(isa, 91, share_of(2000));
    CHECK_MESSAGE(result.ok, result.message);
  }
}

TEST_CASE("attention: packed sequences give the bits of each on its own") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(92);
    const std::int64_t query_starts[] = {0, 5, 5, 45, 46}, key_starts[] = {0, 9, 19, 120, 120}, H = 4, G = 2, D = 20, Dv = 9;
    const Operands all(1, H, G, 46, 120, D, Dv, random);
    Rich rich(H, random);
    AttentionOptions packed = rich.options;
    packed.query_starts = IndexView(query_starts, 5);
    packed.key_starts = IndexView(key_starts, 5);
    Tensor output = all.output(), lse({1, H, 46});
    packed.lse = lse.view;
    Workspace workspace;
    REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, output.view, workspace, on(isa, packed)));
    for (int b = 0; b < 4; ++b) {
      CAPTURE(b);
      const std::int64_t first = query_starts[b], count = query_starts[b + 1] - first, keys = key_starts[b + 1] - key_starts[b];
      Tensor alone({1, H, count, Dv}), alone_lse({1, H, count});
      AttentionOptions one = rich.options;
      one.lse = alone_lse.view;
      REQUIRE_OK(attention(part_of(all.q.view, 2, first, count), part_of(all.k.view, 2, key_starts[b], keys),
                           part_of(all.v.view, 2, key_starts[b], keys), {}, alone.view, workspace, on(isa, one)));
      std::int64_t differing = 0;
      for (std::int64_t h = 0; h < H; ++h) {
        for (std::int64_t i = 0; i < count; ++i) {
          differing += std::memcmp(&alone_lse.at(0, h, i), &lse.at(0, h, first + i), sizeof(float)) != 0;
          for (std::int64_t c = 0; c < Dv; ++c) differing += std::memcmp(&alone.at(0, h, i, c), &output.at(0, h, first + i, c), sizeof(float)) != 0;
        }
      }
      CHECK(differing == 0);
    }
  }
}

TEST_CASE("attention: bits are those of any thread count, strides, batch and chunks of queries") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(93);
    const std::int64_t B = 2, H = 6, G = 3, L = 90, S = 130, D = 33, Dv = 17;
    const Operands all(B, H, G, L, S, D, Dv, random);
    Rich rich(H, random);
    rich.options.offset = S - L;
    Workspace workspace;
    Tensor expected = all.output();
    REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, expected.view, workspace, on(isa, rich.options)));
    for (int threads : {2, 3}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      AttentionOptions options = rich.options;
      options.threads = pool.threads();
      Tensor output = all.output();
      REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, output.view, workspace, on(isa, options)));
      CHECK_SAME_BITS(output, expected);
    }
    {
      Tensor q(all.q.shape(), random), k(all.k.shape(), random), v(all.v.shape(), random), output(expected.shape(), random);
      REQUIRE_OK(attention(q.copy(all.q).view, k.copy(all.k).view, v.copy(all.v).view, {}, output.view, workspace, on(isa, rich.options)));
      CHECK_SAME_BITS(output, expected);
    }
    // Entry by entry, and the queries of each in chunks that take the same tiles.
    Tensor output = all.output();
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t first = 0; first < L; first += 40) {
        const std::int64_t count = first + 40 < L ? 40 : L - first;
        AttentionOptions options = rich.options;
        options.offset += first;
        REQUIRE_OK(attention(part_of(part_of(all.q.view, 0, b, 1), 2, first, count), part_of(all.k.view, 0, b, 1), part_of(all.v.view, 0, b, 1),
                             {}, part_of(part_of(output.view, 0, b, 1), 2, first, count), workspace, on(isa, options)));
      }
    }
    CHECK_SAME_BITS(output, expected);
  }
}

TEST_CASE("attention: it matters which keys are hidden, neither by what nor what they hold") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(95);
    const std::int64_t H = 2, L = 150, D = 33, Dv = 17;  // some blocks of keys
    const Operands all(1, H, H, L, L, D, Dv, random);
    Workspace workspace;
    struct Results {
      Tensor output, lse, weights;
      Results(const Operands& operands, std::int64_t heads, std::int64_t count)
          : output(operands.output()), lse({1, heads, count}), weights({1, heads, count, count}) {}
    };
    const auto run = [&](const Operands& operands, AttentionOptions options) {
      Results results(all, H, L);
      options.lse = results.lse.view;
      options.attention_weights = results.weights.view;
      REQUIRE_OK(attention(operands.q.view, operands.k.view, operands.v.view, {}, results.output.view, workspace, on(isa, options)));
      return results;
    };
    const auto check_same = [](const Results& results, const Results& expected) {
      CHECK_SAME_BITS(results.output, expected.output);
      CHECK_SAME_BITS(results.lse, expected.lse);
      CHECK_SAME_BITS(results.weights, expected.weights);
    };
    std::vector<std::uint8_t> shown(static_cast<std::size_t>(L * L)), holes(shown.size());
    Tensor additive({L, L});
    std::vector<std::int64_t> parents;
    for (std::int64_t i = 0; i < L; ++i) {
      parents.push_back(i - 1);
      for (std::int64_t j = 0; j < L; ++j) {
        const std::size_t at = static_cast<std::size_t>(i * L + j);
        shown[at] = j <= i;
        additive.at(i, j) = j <= i ? 0.0f : -infinite;
        // Nobody sees keys 3 and 70, only every third query sees 10 and 80, and query 5 sees nothing.
        holes[at] = random.one_in(2) && i != 5 && j % 67 != 3 && (j % 70 != 10 || i % 3 == 0);
      }
    }
    AttentionOptions ranges, masked, added, tree;
    ranges.causal = true;
    masked.mask = BoolMaskView(shown.data(), L, L);
    added.additive_mask = additive.view;
    tree.tree_parents = IndexView(parents.data(), L);
    const Results expected = run(all, ranges);
    for (const AttentionOptions& options : {masked, added, tree}) check_same(run(all, options), expected);

    AttentionOptions options;
    options.mask = BoolMaskView(holes.data(), L, L);
    Results sound = run(all, options);
    for (const float odd : {not_a_number, infinite, -infinite, 3e38f}) {
      CAPTURE(odd);
      Operands other(1, H, H, L, L, D, Dv, random);
      other.q.copy(all.q);
      other.k.copy(all.k);
      other.v.copy(all.v);
      for (std::int64_t h = 0; h < H; ++h) {
        for (const std::int64_t j : {3, 70}) {
          for (std::int64_t d = 0; d < D; ++d) other.k.at(0, h, j, d) = odd;
          for (std::int64_t d = 0; d < Dv; ++d) other.v.at(0, h, j, d) = odd;
        }
      }
      check_same(run(other, options), sound);
      for (std::int64_t h = 0; h < H; ++h) {
        for (const std::int64_t j : {10, 80}) {
          for (std::int64_t d = 0; d < D; ++d) other.k.at(0, h, j, d) = odd;
          for (std::int64_t d = 0; d < Dv; ++d) other.v.at(0, h, j, d) = odd;
        }
      }
      Results some = run(other, options);
      std::int64_t differing = 0;
      for (std::int64_t h = 0; h < H; ++h) {
        for (std::int64_t i = 0; i < L; ++i) {
          if (i % 3 == 0) continue;
          for (std::int64_t c = 0; c < Dv; ++c) differing += std::memcmp(&some.output.at(0, h, i, c), &sound.output.at(0, h, i, c), sizeof(float)) != 0;
          for (std::int64_t j = 0; j < L; ++j) differing += std::memcmp(&some.weights.at(0, h, i, j), &sound.weights.at(0, h, i, j), sizeof(float)) != 0;
        }
      }
      CHECK(differing == 0);
    }
  }
}

TEST_CASE("attention: a sink far below all scores is as none, one far above them takes all, one beside them counts") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(97);
    for (float score : {0.0f, -2000.0f}) {
      Operands all(1, 2, 1, 3, 200, 16, 5, random);
      if (score != 0.0f) {
        all.q.fill(10.0f);
        all.k.fill(score / 40.0f);
      }
      Tensor expected = all.output(), output = all.output(), sinks({2}), lse({1, 2, 3}), without({1, 2, 3});
      Workspace workspace;
      AttentionOptions options;
      options.lse = without.view;
      REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, expected.view, workspace, on(isa, options)));
      options.lse = lse.view;
      for (float sink : {score - 100.0f, -1e6f, -1e9f, -3e38f}) {
        CAPTURE(sink);
        sinks.fill(sink);
        options.sinks = sinks.view;
        REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, output.view, workspace, on(isa, options)));
        CHECK_SAME_BITS(output, expected);
        CHECK_SAME_BITS(lse, without);
      }
      // As heavy as all keys together, and much heavier.
      for (std::int64_t h = 0; h < 2; ++h) sinks[h] = without.at(0, h, 0);
      REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, output.view, workspace, on(isa, options)));
      CHECK(output.at(0, 1, 0, 2) == doctest::Approx(expected.at(0, 1, 0, 2) / 2.0f).epsilon(1e-3));
      for (std::int64_t h = 0; h < 2; ++h) sinks[h] = score + 500.0f;
      REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, output.view, workspace, on(isa, options)));
      CHECK(output.at(0, 1, 0, 2) == 0.0f);
      CHECK(lse.at(0, 1, 0) == doctest::Approx(score + 500.0f));
    }
  }
}

TEST_CASE("merge: parts over disjoint keys become the whole, and two that saw nothing stay") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(94);
    const Operands all(2, 4, 2, 9, 70, 16, 11, random);
    OperationOptions operation;
    operation.isa = isa;
    Workspace workspace;
    Tensor whole = all.output(), whole_lse({2, 4, 9}), output = all.output(), lse({2, 4, 9}), other = all.output(), other_lse({2, 4, 9});
    AttentionOptions options;
    options.lse = whole_lse.view;
    REQUIRE_OK(attention(all.q.view, all.k.view, all.v.view, {}, whole.view, workspace, on(isa, options)));
    options.lse = lse.view;
    REQUIRE_OK(attention(all.q.view, part_of(all.k.view, 2, 0, 33), part_of(all.v.view, 2, 0, 33), {}, output.view, workspace, on(isa, options)));
    options.lse = other_lse.view;
    REQUIRE_OK(attention(all.q.view, part_of(all.k.view, 2, 33, 37), part_of(all.v.view, 2, 33, 37), {}, other.view, workspace, on(isa, options)));
    REQUIRE_OK(merge(other.view, other_lse.view, output.view, lse.view, operation));
    for (std::int64_t n = 0; n < whole.count(); ++n) CHECK(std::fabs(output[n] - whole[n]) <= 2e-6f);
    for (std::int64_t n = 0; n < lse.count(); ++n) CHECK(std::fabs(lse[n] - whole_lse[n]) <= 2e-6f);
    Tensor before(output.shape());
    before.copy(output);
    other.fill(not_a_number);
    other_lse.fill(-infinite);
    for (std::int64_t n = 0; n < other.count(); ++n) other[n] = 0.0f;
    REQUIRE_OK(merge(other.view, other_lse.view, output.view, lse.view, operation));
    for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == before[n]);
    output.fill(0.0f);
    lse.fill(-infinite);
    REQUIRE_OK(merge(other.view, other_lse.view, output.view, lse.view, operation));
    for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == 0.0f);
    for (std::int64_t n = 0; n < lse.count(); ++n) CHECK(lse[n] == -infinite);
    CHECK(merge(output.view, other_lse.view, output.view, lse.view, operation).code() == StatusCode::invalid_argument);
  }
}

TEST_CASE("attention: bad options are refused by name, and nothing is written") {
  Random random(95);
  const Operands all(2, 4, 2, 5, 7, 8, 3, random);
  const std::int64_t numbers[] = {0, 3, 2, 5, 7, 9}, roots[] = {-1, 0, 1, 3, 9};
  Tensor floats({3, 4, 5, 7});
  floats.fill(1.0f);
  const std::vector<std::uint8_t> bytes(1000, 1);
  const struct {
    const char* message;
    void (*spoil)(AttentionOptions&, const std::int64_t*, const std::int64_t*, Tensor&, const std::uint8_t*);
  } cases[] = {
      {"scale: inf, expected a finite number", [](auto& o, auto, auto, auto&, auto) { o.scale = infinite; }},
      {"softcap: -1, expected", [](auto& o, auto, auto, auto&, auto) { o.softcap = -1.0f; }},
      {"softcap: nan, expected", [](auto& o, auto, auto, auto&, auto) { o.softcap = not_a_number; }},
      {"window_left: -2, expected", [](auto& o, auto, auto, auto&, auto) { o.window_left = -2; }},
      {"window_right: -9, expected", [](auto& o, auto, auto, auto&, auto) { o.window_right = -9; }},
      {"offset: ", [](auto& o, auto, auto, auto&, auto) { o.offset = INT64_MAX; }},
      {"offsets: shape (3,)", [](auto& o, auto n, auto, auto&, auto) { o.offsets = IndexView(n, 3); }},
      {"mask: shape (3, 7) does not broadcast to (B, H, L, S) = (2, 4, 5, 7)", [](auto& o, auto, auto, auto&, auto b) { o.mask = BoolMaskView(b, 3, 7); }},
      {"additive_mask: shape (3, 4, 5, 7) does not", [](auto& o, auto, auto, auto& f, auto) { o.additive_mask = f.view; }},
      {"tree_parents: that of query 3 is 3, expected -1 to 2", [](auto& o, auto, auto r, auto&, auto) { o.tree_parents = IndexView(r, 5); }},
      {"tree_parents: cannot go with window_left", [](auto& o, auto, auto r, auto&, auto) { o.tree_parents = IndexView(r, 5); o.window_left = 1; }},
      {"alibi_slopes: shape (3,)", [](auto& o, auto, auto, auto& f, auto) { o.alibi_slopes = ConstTensorView(f.view.data, 3); }},
      {"sinks: shape (5,)", [](auto& o, auto, auto, auto& f, auto) { o.sinks = ConstTensorView(f.view.data, 5); }},
      {"relative_position_bias.table: 2 buckets, expected 4", [](auto& o, auto, auto, auto& f, auto) { o.relative_position_bias.table = ConstTensorView(f.view.data, 2, 4); }},
      {"relative_position_bias.max_distance: 2, expected 3", [](auto& o, auto, auto, auto& f, auto) { o.relative_position_bias = {ConstTensorView(f.view.data, 8, 4), true, 2}; }},
      {"query_starts: cannot go with no key_starts", [](auto& o, auto n, auto, auto&, auto) { o.query_starts = IndexView(n, 3); }},
      {"query_starts: shape (2,) with a batch of 2", [](auto& o, auto n, auto, auto&, auto) { o.query_starts = o.key_starts = IndexView(n, 2); }},
      {"query_starts: cannot go with mask", [](auto& o, auto n, auto, auto&, auto b) { o.query_starts = o.key_starts = IndexView(n, 2); o.mask = BoolMaskView(b, 7); }},
      {"lse: shape (2, 4, 7)", [](auto& o, auto, auto, auto& f, auto) { o.lse = TensorView(f.view.data, 2, 4, 7); }},
      {"attention_weights: shape (2, 4, 5, 6)", [](auto& o, auto, auto, auto& f, auto) { o.attention_weights = TensorView(f.view.data, 2, 4, 5, 6); }},
      {"lse: its memory meets that of attention_weights", [](auto& o, auto, auto, auto& f, auto) { o.attention_weights = TensorView(f.view.data, 2, 4, 5, 7); o.lse = TensorView(f.view.data, 2, 4, 5); }},
      {"lse: its memory meets that of sinks", [](auto& o, auto, auto, auto& f, auto) { o.lse = TensorView(f.view.data, 2, 4, 5); o.sinks = ConstTensorView(f.view.data, 4); }},
  };
  for (const auto& each : cases) {
    CAPTURE(each.message);
    AttentionOptions options;
    each.spoil(options, numbers, roots, floats, bytes.data());
    Tensor output = all.output();
    Workspace workspace;
    const Status status = attention(all.q.view, all.k.view, all.v.view, {}, output.view, workspace, options);
    CHECK(status.code() == StatusCode::invalid_argument);
    CHECK_MESSAGE(std::string(status.message()).find(each.message) == 0, std::string(status.message()));
    CHECK(output.untouched());
    for (std::int64_t n = 0; n < floats.count(); ++n) REQUIRE(floats[n] == 1.0f);
  }
  // Starts that decrease, or end elsewhere.
  const Operands one(1, 4, 2, 5, 7, 8, 3, random);
  const std::int64_t down[] = {0, 4, 3, 5}, shorter[] = {0, 2, 3, 4}, late[] = {1, 2, 3, 5}, keys[] = {0, 3, 5, 7};
  const struct {
    const std::int64_t* starts;
    const char* message;
  } starts[] = {{down, "query_starts: [2] is 3, less than the one before, 4"},
                {shorter, "query_starts: ends at 4, expected the rows of q, 5"},
                {late, "query_starts: [0] is 1, expected 0"}};
  for (const auto& each : starts) {
    AttentionOptions options;
    options.query_starts = IndexView(each.starts, 4);
    options.key_starts = IndexView(keys, 4);
    Tensor output = one.output();
    Workspace workspace;
    const Status status = attention(one.q.view, one.k.view, one.v.view, {}, output.view, workspace, options);
    CHECK_MESSAGE(std::string(status.message()) == each.message, std::string(status.message()));
    CHECK(output.untouched());
    CHECK(attention_workspace_bytes(one.q.view, one.k.view, one.v.view, options) == 0);
    options.query_starts = {};
    CHECK(attention_workspace_bytes(one.q.view, one.k.view, one.v.view, options) == 0);
  }
  Tensor k({2, 3, 7, 8}), output = all.output();
  k.fill(0.0f);
  Workspace workspace;
  const Status status = attention(all.q.view, k.view, k.view, {}, output.view, workspace);
  CHECK(std::string(status.message()) == "k: 3 heads, axis 1 of (batch, heads, rows, width), do not divide those of q, 4");
}

// From 1024 keys on values are copied into panels where enough queries read them: the bits are those of rows, nothing hidden
// is read, and the workspace's bytes are enough.
TEST_CASE("core: long sequences give the bits of few queries at a time, for any number of threads") {
  constexpr std::int64_t queries = 270, keys = 1100, groups = 2;
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(77);
    for (std::int64_t value_depth : {16, 48, 50}) {
      CAPTURE(value_depth);
      Tensor q({1, 4, queries, 20}), k({1, groups, keys, 20}), v({1, groups, keys, value_depth}), whole({1, 4, queries, value_depth}), parts({1, 4, queries, value_depth});
      q.fill(random);
      k.fill(random);
      v.fill(random);
      for (std::int64_t g = 0; g < groups; ++g) {
        for (std::int64_t c = 0; c < value_depth; ++c) v.at(0, g, 1090, c) = v.at(0, g, 3, c) = not_a_number;
      }
      const Lengths lengths({1080}, 1);
      AttentionOptions options;
      options.causal = true;
      options.offset = keys - queries;
      options.window_left = 800;
      Workspace workspace;
      for (std::int64_t first = 0; first < queries; first += 30) {
        AttentionOptions part = options;
        part.offset += first;
        REQUIRE_OK(attention(part_of(q.view, 2, first, 30), k.view, v.view, lengths.view, part_of(parts.view, 2, first, 30), workspace, on(isa, part)));
      }
      for (int threads : {1, 2, 3}) {
        ThreadPool pool;
        REQUIRE_OK(ThreadPool::make(threads, &pool));
        options.threads = pool.threads();
        std::vector<float> memory(attention_workspace_bytes(q.view, k.view, v.view, on(isa, options)) / sizeof(float) + 1, not_a_number);
        Workspace enough(memory.data(), memory.size() * sizeof(float));
        REQUIRE_OK(attention(q.view, k.view, v.view, lengths.view, whole.view, enough, on(isa, options)));
        CHECK_SAME_BITS(whole, parts);
      }
    }
  }
}
