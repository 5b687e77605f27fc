// Tests of decoding: sequences of one query, or of few, whose keys are computed in chunks and merged.

#include "base/dispatch.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "call/describe.h"
#include "engine_test.h"
#include "plan/plan.h"
#include "reference_call.h"
#include "run/attention.h"

using namespace engine_test;

namespace {

struct Step {
  std::int64_t B, H, G, S, D, Dv, L;
  Tensor q, k, v;
  Step(std::int64_t B, std::int64_t H, std::int64_t G, std::int64_t S, std::int64_t D, std::int64_t Dv, Random& random, std::int64_t L = 1)
      : B(B), H(H), G(G), S(S), D(D), Dv(Dv), L(L), q({B, H, L, D}), k({B, G, S, D}), v({B, G, S, Dv}) {
    q.fill(random, 2.0f);
    k.fill(random, 2.0f);
    v.fill(random);
  }
  Tensor output() const { return Tensor({B, H, L, Dv}); }
  Tensor run(const AttentionOptions& options, Isa isa, const LengthsView& lengths = {}) const {
    Tensor result = output();
    Workspace workspace;
    REQUIRE_OK(attention(q.view, k.view, v.view, lengths, result.view, workspace, on(isa, options)));
    return result;
  }
};

std::vector<std::uint8_t> random_mask(std::int64_t count, int once_in, Random& random) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(count));
  for (std::uint8_t& byte : mask) byte = random.one_in(once_in) ? 0 : 1;
  return mask;
}

constexpr std::int64_t ends[] = {1, 2, 63, decode_block - 1, decode_block, decode_block + 1, decode_chunk - 1, decode_chunk,
                                 decode_chunk + 1, 2 * decode_chunk + 77, 5 * decode_chunk};

}  // namespace

TEST_CASE("decode: output, LSE and weights as the reference, over the ends of blocks and chunks, for every number of heads that share keys") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(201);
    for (int round = 0; round < share_of(66); ++round) {
      const std::int64_t L = random.one_in(2) ? 1 : random.between(2, 4), G = random.between(1, 2);
      const std::int64_t shared = random.between(1, L == 1 ? decode_rows + 1 : 3);
      const Step step(1, shared * G, G, ends[round % 11], random.one_of<std::int64_t>({1, 8, 20, 64, 67, 128, 576}),
                      random.one_of<std::int64_t>({1, 16, 24, 64, 80, 131}), random, L);
      CAPTURE(text_of({step.B, step.H, step.G, step.S, step.D, step.Dv, step.L}));
      Tensor slopes({step.H}), sinks({step.H}), lse({step.B, step.H, L}), weights({step.B, step.H, L, step.S}), mean({step.B, L, step.S});
      AttentionOptions options;
      if (random.one_in(3)) options.softcap = 5.0f;
      if (random.one_in(3)) options.alibi_slopes = slopes.fill(random, 0.01f).view;
      if (random.one_in(3)) options.sinks = sinks.fill(random, 20.0f).view;
      if (random.one_in(4)) options.scale = -0.3f;
      options.offset = step.S - 1 - random.between(0, 3);
      options.causal = random.one_in(2);
      if (random.one_in(3)) options.window_left = random.between(0, step.S);
      const std::vector<std::uint8_t> mask = random_mask(step.H * L * step.S, 3, random);
      if (random.one_in(3)) options.mask = BoolMaskView(mask.data(), step.H, L, step.S);
      Lengths lengths = Lengths::random(random, step.B, L, step.S);
      const reference::AttentionResult expected =
          reference::attention(step.q.view, step.k.view, step.v.view, reference_options(options, lengths.view, 0));
      const Tensor without = step.run(options, isa, lengths.view);
      options.lse = lse.view;
      options.attention_weights = weights.view;
      const Tensor output = step.run(options, isa, lengths.view);
      CHECK_SAME_BITS(output, without);
      CHECK_CLOSE(output.view, expected.output, reference::core_bounds(expected, step.D, reference::Data::random));
      CHECK_CLOSE(lse.view, expected.lse, reference::lse_bounds(expected, step.D, reference::Data::random));
      CHECK_CLOSE(weights.view, expected.weights, reference::weight_bounds(expected, step.D, reference::Data::random));

      options.attention_weights = mean.view;
      options.average_weights = true;
      CHECK_SAME_BITS(step.run(options, isa, lengths.view), without);
      double worst = 0.0;
      for (std::int64_t i = 0; i < L; ++i) {
        for (std::int64_t j = 0; j < step.S; ++j) {
          double sum = 0.0;
          for (std::int64_t h = 0; h < step.H; ++h) sum += static_cast<double>(weights.at(0, h, i, j));
          worst = std::max(worst, std::fabs(static_cast<double>(mean.at(0, i, j)) - sum / static_cast<double>(step.H)));
        }
      }
      CHECK(worst <= 4e-7);
    }
  }
}

TEST_CASE("decode: no key is dropped or counted twice: one that stands out gives its value") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(202);
    Step step(1, 3, 1, 2 * decode_chunk + 9, 16, 5, random);
    step.q.fill(0.0f);
    for (std::int64_t h = 0; h < step.H; ++h) step.q.at(0, h, 0, h) = 4.0f;  // a third of d each
    std::int64_t wrong = 0;
    for (std::int64_t j = 0; j < step.S; j += share_of(1) == 1 && j % 16 == 0 && j % decode_block > 32 && j % decode_block < 450 ? 16 : 1) {
      const float before = step.k.at(0, 0, j, 1);
      step.k.at(0, 0, j, 1) = 60.0f;  // a logit of 60 for head 1
      const Tensor output = step.run({}, isa);
      for (std::int64_t c = 0; c < step.Dv; ++c) wrong += !(std::fabs(output.at(0, 1, 0, c) - step.v.at(0, 0, j, c)) <= 1e-6f);
      step.k.at(0, 0, j, 1) = before;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("decode: structured data keeps its bounds") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(203);
    for (std::int64_t S : {decode_chunk, 3 * decode_chunk + 1, 20 * decode_chunk}) {
      Step step(1, 2, 1, S, 33, 7, random);
      for (int kind = 0; kind < 3; ++kind) {
        step.q.fill(0.37f);
        step.k.fill(kind == 1 ? -11.3f : 0.7f);
        step.v.fill(0.1f);
        if (kind == 2) {
          for (std::int64_t j = 0; j < S; j += 100) step.k.at(0, 0, j, 5) = 90.0f;
        }
        Tensor lse({1, 2, 1});
        AttentionOptions options;
        options.lse = lse.view;
        const Tensor output = step.run(options, isa);
        const reference::AttentionResult expected = reference::attention(step.q.view, step.k.view, step.v.view);
        CHECK_CLOSE(output.view, expected.output, reference::core_bounds(expected, step.D, reference::Data::structured));
        CHECK_CLOSE(lse.view, expected.lse, reference::lse_bounds(expected, step.D, reference::Data::structured));
      }
    }
  }
}

TEST_CASE("decode: bits are those of any thread count, strides, batch, and of heads with keys of their own") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(204);
    const Step step(3, 10, 2, 3 * decode_chunk + 5, 36, 44, random);
    Tensor sinks({step.H}), slopes({step.H});
    AttentionOptions options;
    options.sinks = sinks.fill(random).view;
    options.alibi_slopes = slopes.fill(random, 0.01f).view;
    options.offset = step.S - 1;
    const std::int64_t counts[] = {step.S, 0, 1500};
    const LengthsView lengths(counts, 3);
    const Tensor expected = step.run(options, isa, lengths);
    for (int threads : {2, 3}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      AttentionOptions threaded = options;
      threaded.threads = pool.threads();
      CHECK_SAME_BITS(step.run(threaded, isa, lengths), expected);
    }
    for (int round = 0; round < 3; ++round) {
      Tensor q(step.q.shape(), random), k(step.k.shape(), random), v(step.v.shape(), random), output(expected.shape(), random);
      Workspace workspace;
      REQUIRE_OK(attention(q.copy(step.q).view, k.copy(step.k).view, v.copy(step.v).view, lengths, output.view, workspace, on(isa, options)));
      CHECK_SAME_BITS(output, expected);
      CHECK(output.gaps_untouched());
    }
    Tensor alone = step.output(), repeated = step.output();
    Workspace workspace;
    for (std::int64_t b = 0; b < step.B; ++b) {
      TensorView row = alone.view;
      row.data += b * row.strides[0];
      row.sizes[0] = 1;
      REQUIRE_OK(attention(entry_of(step.q.view, b), entry_of(step.k.view, b), entry_of(step.v.view, b), LengthsView(counts + b, 1), row,
                           workspace, on(isa, options)));
    }
    CHECK_SAME_BITS(alone, expected);
    Tensor k({step.B, step.H, step.S, step.D}), v({step.B, step.H, step.S, step.Dv});
    const auto repeat = [&](const Tensor& from, Tensor& to) {
      for (std::int64_t b = 0; b < step.B; ++b) {
        for (std::int64_t h = 0; h < step.H; ++h) {
          for (std::int64_t j = 0; j < step.S; ++j) {
            for (std::int64_t d = 0; d < from.view.sizes[3]; ++d) to.at(b, h, j, d) = from.at(b, h / 5, j, d);
          }
        }
      }
    };
    repeat(step.k, k);
    repeat(step.v, v);
    REQUIRE_OK(attention(step.q.view, k.view, v.view, lengths, repeated.view, workspace, on(isa, options)));
    CHECK_SAME_BITS(repeated, expected);
  }
}

TEST_CASE("decode: few queries at once give the bits of one after another, whatever hidden values hold") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(211);
    const std::int64_t most = find_kernels(isa)->few_rows[0];
    for (int round = 0; round < share_of(60); ++round) {
      const std::int64_t L = random.between(2, most), shared = random.between(1, most / L), G = random.between(1, 2), H = shared * G;
      const std::int64_t S = random.one_of<std::int64_t>({16 * L * shared, 200, 511, 513, 1100, 2300});
      Step step(1, H, G, S, random.one_of<std::int64_t>({64, 72, 128}), random.one_of<std::int64_t>({64, 128, 131}), random, L);
      CAPTURE(text_of({L, H, G, S, step.D, step.Dv}));
      Tensor slopes({H}), lse({1, H, L}), weights({1, H, L, S}), one_lse({1, H, 1}), one_weights({1, H, 1, S});
      AttentionOptions options;
      if (random.one_in(3)) options.softcap = 5.0f;
      if (random.one_in(3)) options.alibi_slopes = slopes.fill(random, 0.01f).view;
      const int kind = random.between(0, 3);  // of what queries see: all, lengths of their own, what is before them, a window
      options.causal = kind >= 2;
      options.offset = S - L;
      if (kind == 3) options.window_left = random.between(16 * L * shared, S);
      const std::vector<std::uint8_t> mask = random_mask(H * L * S, 3, random);
      if (random.one_in(3)) options.mask = BoolMaskView(mask.data(), H, L, S);
      std::vector<std::int64_t> lengths(static_cast<std::size_t>(L), S);
      if (kind == 1) {
        for (std::int64_t& length : lengths) length = S - random.between(0, 40);
        lengths[0] = S;  // as many keys are seen as the few rows ask for
      }
      if (random.one_in(3)) {  // seen by some rows alone, or by none
        for (const std::int64_t j : {std::int64_t{0}, S / 3, S - 3, S - 1}) step.v.at(0, 0, j, 5) = random.one_of<float>({not_a_number, infinite, 3e38f});
      }
      AttentionOptions together = options;
      together.lse = lse.view;
      together.attention_weights = weights.view;
      const Tensor output = step.run(together, isa, LengthsView(lengths.data(), 1, L));
      std::int64_t differing = 0;
      const auto differs = [](float a, float b) { return !(a == b) && !(std::isnan(a) && std::isnan(b)); };
      for (std::int64_t i = 0; i < L; ++i) {
        AttentionOptions one = options;
        one.offset += i;
        one.lse = one_lse.view;
        one.attention_weights = one_weights.view;
        if (options.mask.data != nullptr) {
          one.mask.data += i * S;
          one.mask.sizes[1] = 1;
        }
        ConstTensorView query = step.q.view;
        query.data += i * step.D;
        query.sizes[2] = 1;
        Tensor alone({1, H, 1, step.Dv});
        Workspace workspace;
        REQUIRE_OK(attention(query, step.k.view, step.v.view, LengthsView(lengths.data() + i, 1), alone.view, workspace, on(isa, one)));
        for (std::int64_t h = 0; h < H; ++h) {
          for (std::int64_t c = 0; c < step.Dv; ++c) differing += differs(alone.at(0, h, 0, c), output.at(0, h, i, c));
          for (std::int64_t j = 0; j < S; ++j) differing += differs(one_weights.at(0, h, 0, j), weights.at(0, h, i, j));
          differing += differs(one_lse.at(0, h, 0), lse.at(0, h, i));
        }
      }
      CHECK(differing == 0);
    }
  }
}

TEST_CASE("decode: few queries that are a tree see what a mask of their ancestors shows") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(212);
    const std::int64_t most = find_kernels(isa)->few_rows[0];
    for (int round = 0; round < share_of(30); ++round) {
      const std::int64_t L = random.between(2, most), shared = random.between(1, most / L);
      const std::int64_t S = random.one_of<std::int64_t>({16 * L * shared, 200, 511, 515, 1030});
      const Step step(1, shared, 1, S, 64, 128, random, L);
      CAPTURE(text_of({L, shared, S}));
      std::vector<std::int64_t> parents;
      std::vector<std::uint8_t> shown(static_cast<std::size_t>(L * S));
      for (std::int64_t i = 0; i < L; ++i) {
        parents.push_back(random.between(-1, i - 1));
        for (std::int64_t j = 0; j < S - L; ++j) shown[static_cast<std::size_t>(i * S + j)] = 1;
        for (std::int64_t node = i; node >= 0; node = parents[static_cast<std::size_t>(node)]) shown[static_cast<std::size_t>(i * S + S - L + node)] = 1;
      }
      Tensor lse({1, shared, L}), weights({1, shared, L, S}), masked_lse({1, shared, L}), masked_weights({1, shared, L, S});
      AttentionOptions tree, masked;
      tree.tree_parents = IndexView(parents.data(), L);
      tree.offset = S - L;
      tree.lse = lse.view;
      tree.attention_weights = weights.view;
      masked.mask = BoolMaskView(shown.data(), L, S);
      masked.lse = masked_lse.view;
      masked.attention_weights = masked_weights.view;
      CHECK_SAME_BITS(step.run(tree, isa), step.run(masked, isa));
      CHECK_SAME_BITS(lse, masked_lse);
      CHECK_SAME_BITS(weights, masked_weights);
      const reference::AttentionResult expected = reference::attention(step.q.view, step.k.view, step.v.view, reference_options(masked, {}, 0));
      CHECK_CLOSE(step.run(masked, isa).view, expected.output, reference::core_bounds(expected, step.D, reference::Data::random));
    }
  }
}

TEST_CASE("decode: packed sequences of one query beside others give the bits of each on its own") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(205);
    const std::int64_t H = 4, G = 2, D = 24, Dv = 9;
    const std::int64_t query_starts[] = {0, 1, 2, 32, 33, 33, 34}, key_starts[] = {0, 1500, 1501, 1600, 1600, 1700, 4000};
    Tensor q({1, H, 34, D}), k({1, G, 4000, D}), v({1, G, 4000, Dv}), output({1, H, 34, Dv}), lse({1, H, 34});
    q.fill(random);
    k.fill(random);
    v.fill(random);
    AttentionOptions packed;
    packed.query_starts = IndexView(query_starts, 7);
    packed.key_starts = IndexView(key_starts, 7);
    packed.lse = lse.view;
    Workspace workspace;
    for (int threads : {1, 3}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      packed.threads = pool.threads();
      REQUIRE_OK(attention(q.view, k.view, v.view, {}, output.view, workspace, on(isa, packed)));
      for (int b = 0; b < 6; ++b) {
        CAPTURE(b);
        const std::int64_t count = query_starts[b + 1] - query_starts[b], keys = key_starts[b + 1] - key_starts[b];
        const auto rows = [](auto view, std::int64_t first, std::int64_t n) {
          view.data += first * view.strides[2];
          view.sizes[2] = n;
          return view;
        };
        Tensor alone({1, H, count, Dv}), alone_lse({1, H, count});
        AttentionOptions one;
        one.lse = alone_lse.view;
        REQUIRE_OK(attention(rows(q.view, query_starts[b], count), rows(k.view, key_starts[b], keys), rows(v.view, key_starts[b], keys), {},
                             alone.view, workspace, on(isa, one)));
        std::int64_t differing = 0;
        for (std::int64_t h = 0; h < H; ++h) {
          for (std::int64_t i = 0; i < count; ++i) {
            differing += std::memcmp(&alone_lse.at(0, h, i), &lse.at(0, h, query_starts[b] + i), sizeof(float)) != 0;
            for (std::int64_t c = 0; c < Dv; ++c) {
              differing += std::memcmp(&alone.at(0, h, i, c), &output.at(0, h, query_starts[b] + i, c), sizeof(float)) != 0;
            }
          }
        }
        CHECK(differing == 0);
      }
    }
  }
}

TEST_CASE("decode: a sequence whose keys are copied is computed once, however many chunks its keys have beside one that decodes") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(209);
    const std::int64_t H = 2, D = 24, L = 41, S = 3 * decode_chunk;
    const std::int64_t query_starts[] = {0, 40, 41}, key_starts[] = {0, S - 1, S};
    Tensor q({1, L, H, D}), k({1, S, H, D}), output({1, H, L, D});
    q.fill(random);
    k.fill(random);
    AttentionOptions options;
    options.query_starts = IndexView(query_starts, 3);
    options.key_starts = IndexView(key_starts, 3);
    AttentionCall call = {};
    Attention& all = call.attention;
    const auto by_head = [](TensorView view) {
      std::swap(view.sizes[1], view.sizes[2]);
      std::swap(view.strides[1], view.strides[2]);
      return view;
    };
    all = describe(*find_kernels(isa), by_head(q.view), by_head(k.view), by_head(k.view), {}, options);
    all.output = {output.view.data, 0, L * D, D, 1};
    call.plan = plan_attention(*all.kernels, shape_of(all));
    REQUIRE(call.plan.whole_sequences);
    REQUIRE(call.plan.chunks > 1);
    std::vector<char> memory(call.plan.bytes(1) + alignment);
    call.memory = static_cast<char*>(align_up(memory.data()));
    Stage stages[max_stages];
    add_attention_stages(call, stages);
    for (std::int64_t h = 0; h < H; ++h) {
      int writers = 0;
      for (std::int64_t task = 0; task < stages[0].count; ++task) {
        output.at(0, h, 0, 0) = not_a_number;
        stages[0].run(stages[0].context, task, 0);
        writers += !std::isnan(output.at(0, h, 0, 0));
      }
      CHECK(writers == 1);
    }
  }
}

TEST_CASE("decode: NaN in hidden keys and values reaches nobody, in visible ones the heads that see it") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(206);
    for (int round = 0; round < share_of(10); ++round) {
      const std::int64_t H = 4, G = 2, S = random.one_of<std::int64_t>({70, 1100, 2500}), D = 24, Dv = 40;
      Step step(1, H, G, S, D, Dv, random);
      // Each head sees keys of its own; in group 0 both heads miss some, in group 1 one sees what the other does not.
      std::vector<std::uint8_t> mask = random_mask(H * S, 2, random);
      for (std::int64_t j = 0; j < S; j += 3) mask[static_cast<std::size_t>(j)] = mask[static_cast<std::size_t>(S + j)] = 0;
      const std::int64_t poisoned = random.between(0, S / 2), length = S - 5;
      mask[static_cast<std::size_t>(2 * S + poisoned)] = 1;
      mask[static_cast<std::size_t>(3 * S + poisoned)] = 0;
      AttentionOptions options;
      options.mask = BoolMaskView(mask.data(), H, 1, S);
      const LengthsView lengths(&length, 1);
      Tensor clean_weights({1, H, 1, S}), weights({1, H, 1, S}), clean_lse({1, H, 1}), lse({1, H, 1});
      options.attention_weights = clean_weights.view;
      options.lse = clean_lse.view;
      const Tensor clean = step.run(options, isa, lengths);
      const float bad = random.one_of<float>({not_a_number, infinite, -infinite, 3e38f});
      for (std::int64_t j = 0; j < S; ++j) {
        if (j % 3 != 0 && j < length) continue;
        for (std::int64_t d = 0; d < D; ++d) step.k.at(0, 0, j, d) = bad;
        for (std::int64_t c = 0; c < Dv; ++c) step.v.at(0, 0, j, c) = bad;
      }
      step.v.at(0, 1, poisoned, 7) = not_a_number;
      options.attention_weights = weights.view;
      options.lse = lse.view;
      const Tensor output = step.run(options, isa, lengths);
      for (std::int64_t h = 0; h < H; ++h) {
        std::int64_t differing = 0;
        for (std::int64_t c = 0; c < Dv; ++c) {
          if (h == 2 && c == 7) CHECK(std::isnan(output.at(0, h, 0, c)));
          else differing += !(output.at(0, h, 0, c) == clean.at(0, h, 0, c));
        }
        for (std::int64_t j = 0; j < S; ++j) differing += !(weights.at(0, h, 0, j) == clean_weights.at(0, h, 0, j));
        CHECK(differing == 0);
        CHECK(lse.at(0, h, 0) == clean_lse.at(0, h, 0));
      }
      // A NaN in a visible key: its row is NaN, weights of hidden keys stay 0.
      step.k.at(0, 1, poisoned, 0) = not_a_number;
      const Tensor broken = step.run(options, isa, lengths);
      CHECK(std::isnan(broken.at(0, 2, 0, 0)));
      CHECK(std::isnan(lse.at(0, 2, 0)));
      CHECK(broken.at(0, 3, 0, 0) == clean.at(0, 3, 0, 0));
      for (std::int64_t j = 0; j < S; ++j) {
        if (mask[static_cast<std::size_t>(2 * S + j)] == 0 || j >= length) CHECK(weights.at(0, 2, 0, j) == 0.0f);
        else CHECK(std::isnan(weights.at(0, 2, 0, j)));
      }
    }
  }
}

TEST_CASE("decode: rows that see no key, scores at the ends of float32") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(207);
    Step step(1, 2, 1, 1300, 8, 3, random);
    Tensor sinks({2}), lse({1, 2, 1}), weights({1, 2, 1, 1300});
    sinks.fill({0.5f, -infinite});
    AttentionOptions options;
    options.lse = lse.view;
    options.attention_weights = weights.view;
    const std::vector<std::uint8_t> nothing(1300, 0);
    for (bool by_mask : {false, true}) {
      const std::int64_t length = by_mask ? 1300 : 0;
      options.mask = by_mask ? BoolMaskView(nothing.data(), 1300) : BoolMaskView();
      for (bool sink : {false, true}) {
        options.sinks = sink ? sinks.view : TensorView();
        const Tensor output = step.run(options, isa, LengthsView(&length, 1));
        for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == 0.0f);
        for (std::int64_t n = 0; n < weights.count(); ++n) REQUIRE(weights[n] == 0.0f);
        CHECK(lse.at(0, 0, 0) == (sink ? 0.5f : -infinite));
        CHECK(lse.at(0, 1, 0) == -infinite);
      }
    }
    options.mask = {};
    options.sinks = {};
    // Scores of +-1e30 and of infinity: one key has all the weight, or the row is NaN.
    step.q.fill(0.0f);
    step.q.at(0, 0, 0, 0) = step.q.at(0, 1, 0, 0) = 1e15f;
    step.k.fill(-1e15f);
    step.k.at(0, 0, 1200, 0) = 1e15f;
    const Tensor one = step.run(options, isa);
    for (std::int64_t c = 0; c < 3; ++c) CHECK(one.at(0, 0, 0, c) == step.v.at(0, 0, 1200, c));
    CHECK(weights.at(0, 1, 0, 1200) == 1.0f);
    // Biases that leave the range of floats: the nearest key has all the weight.
    Tensor slopes({2});
    slopes.fill({1e38f, 1e38f});
    AttentionOptions steep = options;
    steep.alibi_slopes = slopes.view;
    steep.offset = 2000;
    step.run(steep, isa);
    CHECK(weights.at(0, 0, 0, 1299) == 1.0f);
    step.k.fill(-1e15f);
    const Tensor same = step.run(options, isa);
    CHECK(weights.at(0, 0, 0, 3) == doctest::Approx(1.0 / 1300.0));
    step.k.at(0, 0, 5, 0) = infinite;
    const Tensor broken = step.run(options, isa);
    CHECK(std::isnan(broken.at(0, 0, 0, 0)));
  }
}

TEST_CASE("decode: the memory that is asked for is the memory that is used") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(208);
    for (int threads : {1, 2}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      const Step step(2, 6, 2, 2600, 20, 33, random);
      AttentionOptions options;
      options.threads = pool.threads();
      const std::size_t bytes = attention_workspace_bytes(step.q.view, step.k.view, step.v.view, on(isa, options));
      std::vector<char> memory(bytes);
      Workspace exact(memory.data(), bytes), less(memory.data(), bytes - 64);
      Tensor output = step.output();
      CHECK(attention(step.q.view, step.k.view, step.v.view, {}, output.view, less, on(isa, options)).code() == StatusCode::out_of_memory);
      CHECK(output.untouched());
      REQUIRE_OK(attention(step.q.view, step.k.view, step.v.view, {}, output.view, exact, on(isa, options)));
      CHECK_SAME_BITS(output, step.run(options, isa));
    }
  }
}
