// Tests of key_padding_mask, mask_hides and valid_starts: the same as other masks say, in every kind of call.

#include "engine_test.h"
#include "reference_call.h"

using namespace engine_test;

namespace {

constexpr std::int64_t B = 2, H = 4, G = 2, D = 20;

/// What a call gives.
struct Answer {
  Tensor output, weights, lse;
  Answer(const Shape& outputs, std::int64_t L, std::int64_t S) : output(outputs), weights({B, H, L, S}), lse({B, H, L}) {}
  AttentionOptions asked(AttentionOptions options) const {
    options.attention_weights = weights.view;
    options.lse = lse.view;
    return options;
  }
  void check_same_bits(const Answer& other) const {
    CHECK_SAME_BITS(output, other.output);
    CHECK_SAME_BITS(weights, other.weights);
    CHECK_SAME_BITS(lse, other.lse);
  }
};

/// Random operands, a layer, and a cache that holds the operands' keys.
struct Calls {
  std::int64_t L, S;
  Tensor q, k, v, x, y;
  Layer layer;
  KeyValueCache cache;
  Workspace workspace;

  Calls(std::int64_t queries, std::int64_t keys, Isa isa, Random& random)
      : L(queries), S(keys), q({B, H, L, D}), k({B, G, S, D}), v({B, G, S, D}), x({B, L, H * D}), y({B, S, H * D}), layer(config(isa), random) {
    for (Tensor* tensor : {&q, &k, &v, &x, &y}) tensor->fill(random);
    KeyValueCacheConfig sizes;
    sizes.batch = B;
    sizes.num_kv_heads = G;
    sizes.head_dim = D;
    sizes.capacity = S;
    REQUIRE_OK(KeyValueCache::make(sizes, &cache));
    REQUIRE_OK(cache.append(k.view, v.view));
  }

  static MultiHeadAttentionConfig config(Isa isa) {
    MultiHeadAttentionConfig config = Layer::square(H * D, H, isa);
    config.num_kv_heads = G;
    return config;
  }

  /// The core, the core over a cache, and the layer.
  std::vector<Answer> run(const AttentionOptions& options) {
    std::vector<Answer> answers;
    for (const Shape& outputs : {Shape{B, H, L, D}, Shape{B, H, L, D}, Shape{B, L, H * D}}) answers.emplace_back(outputs, L, S);
    REQUIRE_OK(attention(q.view, k.view, v.view, {}, answers[0].output.view, workspace, answers[0].asked(options)));
    REQUIRE_OK(attention_cached(q.view, cache, {}, answers[1].output.view, workspace, answers[1].asked(options)));
    REQUIRE_OK(layer.attention.forward(x.view, y.view, y.view, {}, answers[2].output.view, workspace, answers[2].asked(options)));
    return answers;
  }
};

void check_same_bits(const std::vector<Answer>& one, const std::vector<Answer>& other) {
  for (std::size_t n = 0; n < one.size(); ++n) one[n].check_same_bits(other[n]);
}

}  // namespace

TEST_CASE("padding: key_padding_mask is a mask (B, 1, 1, S), mask_hides turns both over, and both may be given") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(71);
    for (const std::int64_t L : {1, 3, 40}) {
      for (const std::int64_t S : {5, 70, 300}) {
        CAPTURE(L);
        CAPTURE(S);
        Calls calls(L, S, isa, random);
        std::vector<std::uint8_t> padding(B * S), mask(H * L * S), both(B * H * L * S), padding_hides(padding.size()), mask_hides(mask.size());
        for (std::uint8_t& byte : padding) byte = random.one_in(3) ? 0 : static_cast<std::uint8_t>(random.between(1, 255));
        for (std::uint8_t& byte : mask) byte = random.one_in(3) ? 0 : static_cast<std::uint8_t>(random.between(1, 255));
        for (std::size_t n = 0; n < padding.size(); ++n) padding_hides[n] = padding[n] == 0 ? 7 : 0;
        for (std::size_t n = 0; n < mask.size(); ++n) mask_hides[n] = mask[n] == 0 ? 200 : 0;
        for (std::size_t n = 0; n < both.size(); ++n) {
          const std::size_t s = static_cast<std::size_t>(S), row = mask.size();
          both[n] = mask[n % row] != 0 && padding[n / row * s + n % s] != 0;
        }
        for (EmptyRows empty_rows : {EmptyRows::zero, EmptyRows::uniform}) {
          AttentionOptions options = on(isa), other = on(isa);
          options.empty_rows = other.empty_rows = empty_rows;
          other.mask = BoolMaskView(padding.data(), B, 1, 1, S);
          const std::vector<Answer> padded = calls.run(other);
          options.key_padding_mask = BoolMaskView(padding.data(), B, S);
          check_same_bits(calls.run(options), padded);
          options.key_padding_mask.data = padding_hides.data();
          options.mask_hides = true;
          check_same_bits(calls.run(options), padded);
          // Every second byte of a longer row.
          std::vector<std::uint8_t> apart(2 * padding.size(), 1);
          for (std::size_t n = 0; n < padding.size(); ++n) apart[2 * n] = padding_hides[n];
          options.key_padding_mask = BoolMaskView::strided(apart.data(), {B, S}, {2 * S, 2});
          check_same_bits(calls.run(options), padded);

          other.mask = BoolMaskView(both.data(), B, H, L, S);
          const std::vector<Answer> masked = calls.run(other);
          options.key_padding_mask = BoolMaskView(padding_hides.data(), B, S);
          options.mask = BoolMaskView(mask_hides.data(), H, L, S);
          check_same_bits(calls.run(options), masked);
          options.mask_hides = false;
          options.key_padding_mask.data = padding.data();
          options.mask.data = mask.data();
          check_same_bits(calls.run(options), masked);
        }
      }
    }
  }
}

TEST_CASE("padding: keys before valid_starts are hidden, and neither read nor projected") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(72);
    for (const std::int64_t L : {1, 3, 40}) {
      for (const std::int64_t S : {5, 70, 300}) {
        for (const bool causal : {false, true}) {
          CAPTURE(L);
          CAPTURE(S);
          CAPTURE(causal);
          Calls calls(L, S, isa, random);
          const std::int64_t starts[B] = {random.between(0, S - 1), S + 4};  // an entry of padding alone
          AttentionOptions options = on(isa);
          options.causal = causal;
          options.valid_starts = IndexView(starts, B);
          AttentionOptions cached = options;  // its queries stand at the end
          options.offset = S - L;
          const auto bounded = [&](const Tensor& actual, const reference::Array& expected) { CHECK_CLOSE(reference::Array(actual.view), expected, 2e-5); };
          const reference::AttentionResult expected = reference_attention(calls.q.view, calls.k.view, calls.v.view, {}, options);
          // NaN in what is not to be read.
          for (std::int64_t b = 0; b < B; ++b) {
            for (std::int64_t j = 0; j < std::min(starts[b], S); ++j) {
              for (std::int64_t g = 0; g < G; ++g) {
                for (std::int64_t d = 0; d < D; ++d) calls.k.at(b, g, j, d) = calls.v.at(b, g, j, d) = not_a_number;
              }
            }
          }
          Answer core({B, H, L, D}, L, S), over({B, H, L, D}, L, S);
          REQUIRE_OK(attention(calls.q.view, calls.k.view, calls.v.view, {}, core.output.view, calls.workspace, core.asked(options)));
          bounded(core.output, expected.output);
          bounded(core.weights, expected.weights);
          bounded(core.lse, expected.lse);
          REQUIRE_OK(attention_cached(calls.q.view, calls.cache, {}, over.output.view, calls.workspace, over.asked(cached)));
          over.check_same_bits(core);

          // The layer: as if padding were cut off. Keys before it are NaN.
          Answer whole({B, L, H * D}, L, S);
          for (std::int64_t j = 0; j < S; ++j) {
            for (std::int64_t b = 0; b < B; ++b) {
              for (std::int64_t n = 0; n < H * D && j < starts[b]; ++n) calls.y.at(b, j, n) = not_a_number;
            }
          }
          REQUIRE_OK(calls.layer.attention.forward(calls.x.view, calls.y.view, calls.y.view, {}, whole.output.view, calls.workspace, whole.asked(options)));
          const std::int64_t start = starts[0];
          Tensor cut({1, L, H * D});
          AttentionOptions alone = on(isa);
          alone.causal = causal;
          alone.offset = S - L - start;
          const ConstTensorView kept = part_of(part_of(ConstTensorView(calls.y.view), 0, 0, 1), 1, start, S - start);
          REQUIRE_OK(calls.layer.attention.forward(part_of(calls.x.view, 0, 0, 1), kept, kept, {}, cut.view, calls.workspace, alone));
          bounded(cut, reference::Array(part_of(whole.output.view, 0, 0, 1)));
          for (std::int64_t n = 0; n < L * H * D; ++n) CHECK(whole.output[L * H * D + n] == 0.0f);  // no biases: an empty row gives 0
        }
      }
    }
  }
}

TEST_CASE("padding: packed sequences have starts of their own") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(73);
    const std::int64_t query_starts[] = {0, 3, 20}, key_starts[] = {0, 30, 130}, starts[] = {7, 90}, L = 20, S = 130;
    Tensor q({1, H, L, D}), k({1, G, S, D}), v({1, G, S, D}), output({1, H, L, D});
    for (Tensor* tensor : {&q, &k, &v}) tensor->fill(random);
    AttentionOptions options = on(isa);
    options.query_starts = IndexView(query_starts, 3);
    options.key_starts = IndexView(key_starts, 3);
    options.valid_starts = IndexView(starts, 2);
    Workspace workspace;
    REQUIRE_OK(attention(q.view, k.view, v.view, {}, output.view, workspace, options));
    for (int n = 0; n < 2; ++n) {
      const std::int64_t first = query_starts[n], count = query_starts[n + 1] - first, begin = key_starts[n], keys = key_starts[n + 1] - begin;
      AttentionOptions alone;
      alone.valid_starts = IndexView(starts + n, 1);
      const reference::AttentionResult expected = reference_attention(part_of(q.view, 2, first, count), part_of(k.view, 2, begin, keys),
                                                                      part_of(v.view, 2, begin, keys), {}, alone);
      CHECK_CLOSE(reference::Array(part_of(output.view, 2, first, count)), expected.output, 2e-5);
    }
  }
}

TEST_CASE("padding: a ring may have let go of what valid_starts hides") {
  Random random(74);
  KeyValueCacheConfig sizes;
  sizes.batch = 1;
  sizes.num_kv_heads = 1;
  sizes.head_dim = D;
  sizes.capacity = 8;
  sizes.ring = true;
  KeyValueCache cache;
  REQUIRE_OK(KeyValueCache::make(sizes, &cache));
  Tensor k({1, 1, 12, D}), q({1, 1, 2, D}), output({1, 1, 2, D});
  k.fill(random);
  q.fill(random);
  REQUIRE_OK(cache.append(k.view, k.view));
  Workspace workspace;
  AttentionOptions options;
  options.causal = true;
  CHECK(!attention_cached(q.view, cache, {}, output.view, workspace, options).ok());
  CHECK(output.untouched());
  const std::int64_t enough[] = {4}, less[] = {3};
  options.valid_starts = IndexView(less, 1);
  CHECK(!attention_cached(q.view, cache, {}, output.view, workspace, options).ok());
  options.valid_starts = IndexView(enough, 1);
  REQUIRE_OK(attention_cached(q.view, cache, {}, output.view, workspace, options));
  options.offset = 10;
  const reference::AttentionResult expected = reference_attention(q.view, k.view, k.view, {}, options);
  CHECK_CLOSE(reference::Array(output.view), expected.output, 2e-5);
}

TEST_CASE("padding: masks that do not fit are refused by name, with what would fit") {
  Random random(75);
  Calls calls(3, 5, Isa::best, random);
  const std::uint8_t bytes[B * H * 3 * 5] = {};
  const std::int64_t starts[] = {0, -1}, packed[] = {0, 1};
  Tensor output({B, H, 3, D});
  const auto refused = [&](const AttentionOptions& options, const std::string& message) {
    const Status status = attention(calls.q.view, calls.k.view, calls.v.view, {}, output.view, calls.workspace, options);
    CHECK(status.code() == StatusCode::invalid_argument);
    CHECK(std::string(status.message()) == message);
    CHECK(output.untouched());
  };
  AttentionOptions options;
  options.key_padding_mask = BoolMaskView(bytes, 5, 2);
  refused(options, "key_padding_mask: shape (5, 2), expected (2, 5)");
  options.key_padding_mask = {};
  options.mask = BoolMaskView(bytes, B * H, 3, 5);
  refused(options, "mask: shape (8, 3, 5) does not broadcast to (B, H, L, S) = (2, 4, 3, 5); a mask (B H, L, S) has to be viewed as (B, H, L, S)");
  options.mask = options.mask.split(0, B);
  REQUIRE_OK(attention(calls.q.view, calls.k.view, calls.v.view, {}, Tensor({B, H, 3, D}).view, calls.workspace, options));
  options.mask = {};
  options.valid_starts = IndexView(starts, B);
  refused(options, "valid_starts: [1] is -1, expected 0 or more");
  options.valid_starts = IndexView(starts, 1);
  refused(options, "valid_starts: shape (1,), expected (2,)");
  options.valid_starts = {};
  options.key_padding_mask = BoolMaskView(bytes, B, 5);
  options.query_starts = options.key_starts = IndexView(packed, 2);
  refused(options, "query_starts: cannot go with key_padding_mask");
}
