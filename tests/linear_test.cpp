// Linear layers in every precision, with every activation: the reference, and the same bits for any threads, strides and batch.

#include "engine_test.h"

#include <algorithm>
#include <memory>

#include "reference/block.h"
#include "reference/low_precision.h"

using namespace engine_test;
using reference::Array;
using reference::Data;

namespace {

struct Kind {
  WeightType type;
  Arithmetic arithmetic;
  int group = 0;
};
const Kind kinds[] = {{WeightType::float32, Arithmetic::float32},   {WeightType::bfloat16, Arithmetic::bfloat16},
                      {WeightType::int8, Arithmetic::int8},         {WeightType::int4, Arithmetic::int8, 64},
                      {WeightType::bfloat16, Arithmetic::float32},  {WeightType::float16, Arithmetic::float32},
                      {WeightType::int8, Arithmetic::float32},      {WeightType::int4, Arithmetic::float32}};
constexpr Activation activations[] = {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu};

LinearConfig config_of(const Kind& kind, std::int64_t inputs, std::int64_t outputs, Isa isa) {
  LinearConfig config;
  config.inputs = inputs;
  config.outputs = outputs;
  config.isa = isa;
  config.weight_type = kind.type;
  config.arithmetic = kind.arithmetic;
  config.weight_group = kind.group;
  if (kind.type != WeightType::float32) config.low_precision = kind.type == WeightType::int4 ? low_precision_int4() : low_precision();
  return config;
}

bool has_kernel(const LinearConfig& config) {
  return config.weight_type == WeightType::float32 || Linear::packed_bytes(config) > 0;
}

/// What the layer is to give, and how far it may be from that: nothing, of exact arithmetic without an activation.
struct Expected {
  Array output, bounds;
};
Expected expected_of(const LinearConfig& config, const Tensor& input, const Tensor& weight, const ConstTensorView& bias, Activation activation,
                     const ConstTensorView& multiplier) {
  Expected expected;
  expected.output = reference::project(input.array(), weight.array(), bias, config.weight_type, config.arithmetic, config.weight_group > 0 ? config.weight_group : 32,
                                       reference::pair_sum_of(product_instructions(config.weight_type, config.arithmetic, config.isa)));
  expected.bounds = reference::matmul_bounds(input.view, weight.view, true, bias, Data::structured);
  const Array factors = multiplier;
  for (std::size_t n = 0; n < expected.output.values.size(); ++n) {
    double &y = expected.output.values[n], &bound = expected.bounds.values[n];
    if (config.weight_type != WeightType::float32) bound *= 1.5;  // stored weights may be larger
    if (config.arithmetic != Arithmetic::float32) bound = 0.0;
    bound = reference::activated_slope(activation) * bound + reference::activated_bound(y, activation);
    y = reference::activated(y, activation);
    if (factors.absent()) continue;
    const double factor = std::abs(factors.values[n]);
    y *= factors.values[n];
    bound = bound * factor + 2.0 * u * std::abs(y);
  }
  return expected;
}

}  // namespace

TEST_CASE("Linear: random shapes and layouts in every precision, with every activation") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(71);
    for (int round = 0; round < share_of(400); ++round) {
      CAPTURE(round);
      const Kind& kind = kinds[random.between(0, 7)];
      const std::int64_t B = random.between(1, 3), L = random.one_in(6) ? random.between(40, 130) : random.between(1, 12);
      const std::int64_t K = random.one_in(8) ? random.between(200, 600) : random.between(1, 90);
      const std::int64_t N = random.one_in(8) ? random.between(150, 400) : random.between(1, 70);
      const LinearConfig config = config_of(kind, K, N, isa);
      if (!has_kernel(config)) continue;
      const bool batched = random.one_in(2);
      const Shape in = batched ? Shape{B, L, K} : Shape{L, K}, out = batched ? Shape{B, L, N} : Shape{L, N};
      Tensor input(in, random), weight({N, K}, random), bias({N}, random), multiplier(out, random), output(out, random);
      input.fill(random, 2.0f);
      weight.fill(random);
      bias.fill(random);
      multiplier.fill(random);
      LinearOptions options;
      options.activation = activations[random.between(0, 4)];
      if (random.one_in(3)) options.multiplier = multiplier.view;
      const ConstTensorView biases = random.one_in(2) ? ConstTensorView(bias.view) : ConstTensorView();
      CAPTURE(static_cast<int>(kind.type));
      CAPTURE(static_cast<int>(kind.arithmetic));
      CAPTURE(static_cast<int>(options.activation));
      CAPTURE(text_of({B, L, K, N}));
      Linear linear;
      REQUIRE_OK(Linear::make(config, {weight.view, biases}, &linear));
      const Expected expected = expected_of(config, input, weight, biases, options.activation, options.multiplier);
      weight.fill(not_a_number);  // it was read while making alone
      Workspace workspace;
      REQUIRE_OK(linear.forward(input.view, output.view, workspace, options));
      CHECK(workspace.bytes() <= linear.workspace_bytes(batched ? B : 1, L));
      CHECK_CLOSE(output.view, expected.output, expected.bounds);
      CHECK(output.gaps_untouched());
    }
  }
}

TEST_CASE("Linear: literals of each activation") {
  const float x[] = {-3.0f, -1.0f, -0.5f, 0.0f, 0.5f, 1.0f, 3.0f};
  // x Phi(x), its form by tanh and x / (1 + exp(-x)) of those, to 9 digits.
  const double expected[5][7] = {{-3, -1, -0.5, 0, 0.5, 1, 3},
                                 {0, 0, 0, 0, 0.5, 1, 3},
                                 {-0.00404969409, -0.158655254, -0.154268770, 0, 0.345731230, 0.841344746, 2.99595031},
                                 {-0.00363739208, -0.158808009, -0.154285986, 0, 0.345714014, 0.841191991, 2.99636261},
                                 {-0.142277620, -0.268941421, -0.188770334, 0, 0.311229666, 0.731058579, 2.85772238}};
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Tensor one({1, 1}), input({7, 1}), output({7, 1});
    one.fill(1.0f);
    for (int n = 0; n < 7; ++n) input[n] = x[n];
    Linear linear;
    REQUIRE_OK(Linear::make(config_of(kinds[0], 1, 1, isa), {one.view}, &linear));
    for (const Activation activation : activations) {
      LinearOptions options;
      options.activation = activation;
      Workspace workspace;
      REQUIRE_OK(linear.forward(input.view, output.view, workspace, options));
      for (int n = 0; n < 7; ++n) {
        CAPTURE(x[n]);
        CHECK(static_cast<double>(output[n]) == doctest::Approx(expected[static_cast<int>(activation)][n]).epsilon(1e-6).scale(1e-3));
      }
    }
  }
}

TEST_CASE("Linear: the same bits for any threads, strides and batch, and in memory of the caller's") {
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(3, &pool));
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (const Kind& kind : kinds) {
      const std::int64_t B = 2, L = 65, K = 130, N = 150;
      const LinearConfig config = config_of(kind, K, N, isa);
      if (!has_kernel(config)) continue;
      Random random(72);
      Tensor input({B, L, K}), strided({B, L, K}, random), weight({N, K}), bias({N}), output({B, L, N}), other({B, L, N}, random), row({1, N});
      input.fill(random);
      strided.copy(input);
      weight.fill(random);
      bias.fill(random);
      const std::size_t bytes = Linear::packed_bytes(config);
      const std::unique_ptr<char[]> memory(new char[bytes + 1]);
      Linear own, given;
      REQUIRE_OK(Linear::make(config, {weight.view, bias.view}, &own));
      REQUIRE_OK(Linear::make(config, {weight.view, bias.view}, &given, memory.get() + 1, bytes));
      CHECK(Linear::make(config, {weight.view, bias.view}, &given, memory.get(), bytes - 1).code() == StatusCode::out_of_memory);
      LinearOptions options, threaded;
      options.activation = threaded.activation = Activation::gelu;
      threaded.threads = pool.threads();
      Workspace workspace;
      REQUIRE_OK(own.forward(input.view, output.view, workspace, options));
      const std::size_t needed = own.workspace_bytes(B, L);
      const std::unique_ptr<char[]> scratch(new char[needed]);
      Workspace exact(scratch.get(), needed), too_small(scratch.get(), needed - 64);
      CHECK(own.forward(input.view, other.view, too_small, options).code() == StatusCode::out_of_memory);
      CHECK(other.untouched());
      REQUIRE_OK(given.forward(strided.view, other.view, exact, threaded));
      CHECK_SAME_BITS(output, other);
      for (std::int64_t n = 0; n < B * L; n += 7) {
        REQUIRE_OK(own.forward(ConstTensorView(&input[n * K], 1, K), row.view, workspace, options));
        for (std::int64_t c = 0; c < N; ++c) REQUIRE(row[c] == output[n * N + c]);
      }
      const Linear moved(std::move(own));
      CHECK(own.workspace_bytes(B, L) == 0);
      REQUIRE_OK(moved.forward(input.view, other.view, workspace, options));
      CHECK_SAME_BITS(output, other);
      CHECK(moved.config().isa == isa);
      CHECK(moved.config().outputs == N);
    }
  }
}

TEST_CASE("Linear: weights as a file stores them give the bits of those that are converted") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const std::int64_t K = 40, N = 24;
    const LinearConfig config = config_of(kinds[2], K, N, isa);
    if (!has_kernel(config)) continue;
    Random random(73);
    std::vector<std::int8_t> integers(static_cast<std::size_t>(N * K));
    Tensor scales({N}), weight({N, K}), input({5, K}), first({5, N}), second({5, N});
    for (std::int64_t n = 0; n < N; ++n) {
      scales[n] = 0.25f;
      for (std::int64_t k = 0; k < K; ++k) {
        const int integer = k == 0 ? 127 : static_cast<int>(random.between(-127, 127));
        integers[static_cast<std::size_t>(n * K + k)] = static_cast<std::int8_t>(integer);
        weight.at(n, k) = 0.25f * static_cast<float>(integer);
      }
    }
    input.fill(random);
    StoredMatrix stored;
    stored.integers = View<const std::int8_t>(integers.data(), N, K);
    stored.scales = scales.view;
    LinearWeights weights;
    weights.stored = &stored;
    Linear converted, kept;
    Workspace workspace;
    REQUIRE_OK(Linear::make(config, {weight.view}, &converted));
    REQUIRE_OK(Linear::make(config, weights, &kept));
    REQUIRE_OK(converted.forward(input.view, first.view, workspace));
    REQUIRE_OK(kept.forward(input.view, second.view, workspace));
    CHECK_SAME_BITS(first, second);
  }
}

TEST_CASE("Linear: nothing to do, and what is not finite stays in its row") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(74);
    Tensor weight({9, 5}), input({4, 5}), clean({4, 9}), output({4, 9});
    weight.fill(random);
    input.fill(random);
    Linear linear;
    REQUIRE_OK(Linear::make(config_of(kinds[0], 5, 9, isa), {weight.view}, &linear));
    Workspace workspace;
    REQUIRE_OK(linear.forward(ConstTensorView(nullptr, 0, 5), TensorView(nullptr, 0, 9), workspace));
    REQUIRE_OK(linear.forward(ConstTensorView(nullptr, 0, 3, 5), TensorView(nullptr, 0, 3, 9), workspace));
    LinearOptions options;
    options.activation = Activation::silu;
    REQUIRE_OK(linear.forward(input.view, clean.view, workspace, options));
    input.at(2, 1) = not_a_number;
    REQUIRE_OK(linear.forward(input.view, output.view, workspace, options));
    for (std::int64_t n = 0; n < 36; ++n) CHECK((n / 9 == 2 ? std::isnan(output[n]) : output[n] == clean[n]));
  }
}

TEST_CASE("Linear: errors") {
  Tensor weight({6, 4}), input({3, 4}), output({3, 6}), multiplier({3, 6});
  weight.fill(1.0f);
  input.fill(1.0f);
  multiplier.fill(1.0f);
  const auto refused = [](const Status& status, const std::string& message) {
    CHECK(status.code() == StatusCode::invalid_argument);
    CHECK(std::string(status.message()) == message);
  };
  const LinearConfig config = config_of(kinds[0], 4, 6, Isa::best);
  Linear linear;
  Workspace workspace;
  refused(linear.forward(input.view, output.view, workspace), "this Linear has not been made");
  refused(Linear::make(config_of(kinds[0], 0, 6, Isa::best), {weight.view}, &linear), "inputs: 0, expected 1 to 16777216");
  refused(Linear::make(config_of(kinds[0], 4, -6, Isa::best), {weight.view}, &linear), "outputs: -6, expected 1 to 16777216");
  refused(Linear::make(config, {input.view}, &linear), "weights.matrix: shape (3, 4), expected (6, 4)");
  refused(Linear::make(config, {weight.view, input.view}, &linear), "weights.bias: shape (3, 4) has 2 axes, expected 1");
  refused(Linear::make(config, {weight.view}, nullptr), "linear: null");
  LinearConfig low = config;
  low.weight_type = WeightType::int8;
  refused(Linear::make(low, {weight.view}, &linear), "low_precision: null, but weight_type is int8: expected low_precision(), which links its kernels");
  low.low_precision = low_precision();
  low.arithmetic = Arithmetic::int8;
  low.inputs = 65537;
  if (Linear::packed_bytes(config_of(kinds[2], 4, 6, Isa::best)) > 0) {
    refused(Linear::make(low, {weight.view}, &linear), "arithmetic: int8 takes rows of at most 65536, but one is 65537 wide");
  }
  StoredMatrix stored;
  LinearWeights both = {weight.view};
  both.stored = &stored;
  refused(Linear::make(config, both, &linear), "weights.stored: given, as is weights.matrix, expected one of them");
  REQUIRE_OK(Linear::make(config, {weight.view}, &linear));
  const auto refuse = [&](const std::string& message, const ConstTensorView& x, const TensorView& y, const LinearOptions& options = {}) {
    refused(linear.forward(x, y, workspace, options), message);
    CHECK(output.untouched());
  };
  const ConstTensorView x = input.view;
  const TensorView y = output.view;
  refuse("input: shape (4,) has 1 axes, expected 2 or 3", ConstTensorView(x.data, 4), y);
  refuse("input: shape (3, 6), expected (3, 4)", ConstTensorView(y.data, 3, 6), y);
  refuse("output: shape (3, 4), expected (3, 6)", x, TensorView(y.data, 3, 4));
  refuse("output: its memory meets that of input", ConstTensorView(y.data, 3, 4), y);
  LinearOptions options;
  options.multiplier = ConstTensorView(y.data, 3, 6);
  refuse("output: its memory meets that of multiplier", x, y, options);
  options.multiplier = x;
  refuse("multiplier: shape (3, 4), expected (3, 6)", x, y, options);
  options = {};
  options.activation = static_cast<Activation>(5);
  refuse("activation: 5 is none that there is", x, y, options);
  options = {};
  options.threads.count = 0;
  refuse("threads: count 0, expected 1 to 256", x, y, options);
}
