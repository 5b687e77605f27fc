// Attention in bfloat16: what it promises to the bit, and refusals. Random calls with all options are checked by tools/checks/calls.cpp.
#include "engine_test.h"

using namespace engine_test;

namespace {

AttentionOptions in_bfloat16(Isa isa) {
  AttentionOptions options = on(isa);
  options.core_arithmetic = Arithmetic::bfloat16;
  options.low_precision = low_precision();
  return options;
}

std::vector<Isa> isas_of_bfloat16() {
  std::vector<Isa> found;
  for (Isa isa : usable_isas()) {
    if (core_instructions(Arithmetic::bfloat16, isa) != nullptr) found.push_back(isa);
  }
  if (found.empty()) MESSAGE("attention in bfloat16: not tested, for this CPU has no instructions for it");
  return found;
}

Tensor output_of(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  Tensor output({q.view.sizes[0], q.view.sizes[1], q.view.sizes[2], v.view.sizes[3]});
  Workspace workspace;
  REQUIRE_OK(attention(q.view, k.view, v.view, {}, output.view, workspace, options));
  return output;
}

std::string refusal(const AttentionOptions& options, StatusCode code) {
  Tensor q({1, 1, 1, 4}), output({1, 1, 1, 4});
  q.fill(1.0f);
  output.fill(77.0f);
  Workspace workspace;
  const Status status = attention(q.view, q.view, q.view, {}, output.view, workspace, options);
  CHECK(status.code() == code);
  CHECK(output[0] == 77.0f);
  CHECK(attention_workspace_bytes(q.view, q.view, q.view, options) == 0);
  return status.message();
}

}  // namespace

TEST_CASE("bfloat16 attention: values that are all the same come back, for the sum is that of the rounded weights") {
  for (Isa isa : isas_of_bfloat16()) {
    Random random(31);
    for (std::int64_t S : {1, 2, 3, 95, 96, 97, 191, 300}) {
      CAPTURE(S);
      Tensor q({1, 2, 5, 24}), k({1, 2, S, 24}), v({1, 2, S, 9}), same({1, 2, 5, 9});
      q.fill(random);
      k.fill(random);
      v.fill(1.5f);
      same.fill(1.5f);
      for (const bool causal : {false, true}) {
        AttentionOptions options = in_bfloat16(isa);
        options.causal = causal;
        options.offset = S - 1;
        CHECK_CLOSE(output_of(q, k, v, options).array(), same.array(), reference::Array({1}, {1e-6}));  // sums of floats, in two orders
      }
    }
  }
}

TEST_CASE("bfloat16 attention: numbers that bfloat16 cannot hold are rounded, each operand once") {
  for (Isa isa : isas_of_bfloat16()) {
    // One key: its value, rounded. 1 + 2^-8 lies between 1 and 1 + 2^-7, and goes to the even one; 1 + 3 * 2^-8 likewise.
    Tensor q({1, 1, 1, 1}), k({1, 1, 1, 1}), v({1, 1, 1, 4}), expected({1, 1, 1, 4});
    q.fill(1.0f);
    k.fill(1.0f);
    v.fill({1.0f + 0x1p-8f, 1.0f + 0x3p-8f, 1.0f + 0x1.02p-8f, -3.0e30f});
    expected.fill({1.0f, 1.0f + 0x1p-6f, 1.0f + 0x1p-7f, 0.0f});
    expected[3] = reference::to_bfloat16(-3.0e30f);
    const Tensor output = output_of(q, k, v, in_bfloat16(isa));
    for (std::int64_t c = 0; c < 4; ++c) CHECK(std::abs(output[c] / expected[c] - 1.0f) < 1e-6f);
  }
}

TEST_CASE("bfloat16 attention: NaN of a key that a row does not see, or of its neighbour in a pair, reaches no row that does not see it") {
  for (Isa isa : isas_of_bfloat16()) {
    Random random(32);
    const std::int64_t S = 40;
    Tensor q({1, 1, S, 16}), k({1, 1, S, 16}), v({1, 1, S, 16});
    q.fill(random);
    k.fill(random);
    v.fill(random);
    AttentionOptions options = in_bfloat16(isa);
    for (std::int64_t left : {0, 1, 2, 5}) {
      options.window_left = left;
      options.window_right = 0;
      const Tensor clean = output_of(q, k, v, options);
      for (std::int64_t bad = 0; bad < S; ++bad) {
        CAPTURE(left);
        CAPTURE(bad);
        Tensor values({1, 1, S, 16});
        for (std::int64_t n = 0; n < v.count(); ++n) values[n] = v[n];
        for (std::int64_t c = 0; c < 16; ++c) values.at(0, 0, bad, c) = c % 2 == 0 ? not_a_number : infinite;
        const Tensor output = output_of(q, k, values, options);
        for (std::int64_t i = 0; i < S; ++i) {
          const bool sees = i - left <= bad && bad <= i;
          for (std::int64_t c = 0; c < 16; ++c) {
            const float got = output.at(0, 0, i, c), expected = clean.at(0, 0, i, c);
            if (sees ? std::isfinite(got) : std::memcmp(&got, &expected, sizeof got) != 0) FAIL_CHECK("row " << i);
          }
        }
      }
    }
  }
}

TEST_CASE("bfloat16 attention: bits do not depend on batch, threads, or strides") {
  for (Isa isa : isas_of_bfloat16()) {
    Random random(33);
    Tensor q({3, 4, 70, 33}), k({3, 2, 131, 33}), v({3, 2, 131, 21}), strided_v({3, 2, 131, 21}, random);
    for (Tensor* tensor : {&q, &k, &v}) tensor->fill(random);
    for (std::int64_t b = 0; b < 3; ++b) {
      for (std::int64_t g = 0; g < 2; ++g) {
        for (std::int64_t j = 0; j < 131; ++j) {
          for (std::int64_t c = 0; c < 21; ++c) strided_v.at(b, g, j, c) = v.at(b, g, j, c);
        }
      }
    }
    AttentionOptions options = in_bfloat16(isa);
    const Tensor whole = output_of(q, k, v, options);
    CHECK_SAME_BITS(output_of(q, k, strided_v, options), whole);
    ThreadPool pool;
    REQUIRE_OK(ThreadPool::make(3, &pool));
    options.threads = pool.threads();
    CHECK_SAME_BITS(output_of(q, k, v, options), whole);
    options.threads = {};
    Tensor one({1, 4, 70, 21}), last({1, 4, 70, 21});
    Workspace workspace;
    REQUIRE_OK(attention(part_of(q.view, 0, 2, 1), part_of(k.view, 0, 2, 1), part_of(v.view, 0, 2, 1), {}, one.view, workspace, options));
    for (std::int64_t n = 0; n < last.count(); ++n) last[n] = whole[2 * last.count() + n];
    CHECK_SAME_BITS(one, last);
  }
}

TEST_CASE("bfloat16 attention: a layer's core, beside its projections in float32") {
  for (Isa isa : isas_of_bfloat16()) {
    Random random(34);
    Layer layer(Layer::square(64, 4, isa, true), random);
    Tensor x({2, 50, 64}), exact({2, 50, 64}), rounded({2, 50, 64});
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, exact));
    REQUIRE_OK(layer.forward(x, x, x, {}, rounded, in_bfloat16(isa)));
    double difference = 0.0, size = 0.0;
    for (std::int64_t n = 0; n < exact.count(); ++n) {
      difference += std::pow(static_cast<double>(exact[n]) - static_cast<double>(rounded[n]), 2);
      size += std::pow(static_cast<double>(exact[n]), 2);
    }
    CHECK(difference > 0.0);
    CHECK(std::sqrt(difference / size) < 5e-3);
  }
}

TEST_CASE("errors: attention in bfloat16 where it cannot be had") {
  AttentionOptions options = on(Isa::scalar);
  options.core_arithmetic = Arithmetic::bfloat16;
  CHECK(refusal(options, StatusCode::invalid_argument) ==
        "low_precision: null, but core_arithmetic is bfloat16: expected low_precision(), which links its kernels");
  options.low_precision = low_precision();
  CHECK(refusal(options, StatusCode::unsupported) == "core_arithmetic: this CPU or this build has no attention in bfloat16 on scalar");
  options.core_arithmetic = Arithmetic::int8;
  CHECK(refusal(options, StatusCode::invalid_argument) == "core_arithmetic: 2, expected float32 or bfloat16");
  CHECK(core_instructions(Arithmetic::bfloat16, Isa::scalar) == nullptr);
  CHECK(core_instructions(Arithmetic::int8) == nullptr);
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(35);
    Layer layer(Layer::square(8, 2, isa), random);
    Tensor x({1, 2, 8}), output({1, 2, 8});
    x.fill(random);
    AttentionOptions training = in_bfloat16(isa);
    training.training = true;
    if (core_instructions(Arithmetic::bfloat16, isa) != nullptr) {
      CHECK(std::string(layer.forward(x, x, x, {}, output, training).message()) == "training: given, with core_arithmetic bfloat16, which has no dropout");
    }
    KeyValueCacheConfig config;
    config.batch = 1;
    config.num_kv_heads = 2;
    config.head_dim = 4;
    config.capacity = 4;
    KeyValueCache cache;
    REQUIRE_OK(KeyValueCache::make(config, &cache));
    Workspace workspace;
    CHECK(std::string(layer.attention.forward_cached(x.view, x.view, x.view, {}, &cache, output.view, workspace, in_bfloat16(isa)).message()) ==
          "core_arithmetic: given, but a forward over a cache has no use for it");
  }
}
