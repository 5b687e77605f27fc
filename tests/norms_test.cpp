// Layer norm and RMS norm of rows and of their sum with a residual: the reference, literals, memory, errors.

#include "engine_test.h"

#include "reference/block.h"

using namespace engine_test;
using reference::Array;
using reference::Data;

namespace {

NormOptions on_isa(Isa isa) {
  NormOptions options;
  options.isa = isa;
  return options;
}

Status norm_of(bool centred, const ConstTensorView& input, float epsilon, const TensorView& output, const NormOptions& options) {
  return centred ? layer_norm(input, epsilon, output, options) : rms_norm_rows(input, epsilon, output, options);
}

}  // namespace

TEST_CASE("norms: literals") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Tensor input({1, 4}), residual({1, 4}), weight({4}), bias({4}), output({1, 4}), sum({1, 4});
    input.fill({0, 1, 6, 9});
    residual.fill({1, 2, -1, -2});  // sum 1 3 5 7: mean 4, variance 5
    weight.fill({1, 2, 3, 4});
    bias.fill({0, 0, 10, 0});
    NormOptions options = on_isa(isa);
    options.residual = residual.view;
    options.sum = sum.view;
    REQUIRE_OK(layer_norm(input.view, 4.0f, output.view, options));  // root of 9
    CHECK_SAME_BITS(sum, Tensor({1, 4}).fill({1, 3, 5, 7}));
    CHECK_CLOSE(output.view, Array({1, 4}, {-1, -1 / 3., 1 / 3., 1}), 1e-7);
    options.weight = weight.view;
    options.bias = bias.view;
    REQUIRE_OK(layer_norm(input.view, 4.0f, output.view, options));
    CHECK_CLOSE(output.view, Array({1, 4}, {-1, -2 / 3., 11, 4}), 1e-6);
    REQUIRE_OK(rms_norm_rows(input.view, 4.0f, output.view, options));  // mean square 21, root of 25
    CHECK_CLOSE(output.view, Array({1, 4}, {1 / 5., 6 / 5., 13, 28 / 5.}), 1e-6);
    // Constant rows: zeros, and with epsilon 0 NaN, as torch has it.
    input.fill(3.0f);
    REQUIRE_OK(layer_norm(input.view, 1e-5f, output.view, on_isa(isa)));
    CHECK_SAME_BITS(output, Tensor({1, 4}).fill(0.0f));
    REQUIRE_OK(layer_norm(input.view, 0.0f, output.view, on_isa(isa)));
    for (int n = 0; n < 4; ++n) CHECK(std::isnan(output[n]));
  }
}

TEST_CASE("norms: random shapes and layouts, with a residual or none, in place and apart") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(81);
    for (int round = 0; round < share_of(400); ++round) {
      CAPTURE(round);
      const std::int64_t D = random.one_in(6) ? random.between(300, 1100) : random.between(1, 140);
      Shape shape = {D};
      while (shape.size() < 4 && random.one_in(2)) shape.insert(shape.begin(), random.between(1, 7));
      Tensor input(shape, random), residual(shape, random), weight({D}, random), bias({D}, random), output(shape, random), sum(shape, random);
      input.fill(random, random.one_of({1.0f, 1e-9f, 1e9f}));
      residual.fill(random);
      weight.fill(random);
      bias.fill(random);
      if (random.one_in(4)) {
        for (std::int64_t n = 0; n < input.count(); ++n) input[n] += 1000.0f;  // a mean far above the deviation
      }
      const bool centred = random.one_in(2), added = random.one_in(2), kept = random.one_in(2);
      NormOptions options = on_isa(isa);
      if (random.one_in(2)) options.weight = weight.view;
      if (random.one_in(2)) options.bias = bias.view;
      if (added) options.residual = residual.view;
      if (kept) options.sum = sum.view;
      const float epsilon = random.one_of({1e-12f, 1e-6f, 1e-5f, 2.0f});
      CAPTURE(text_of(shape));
      Array x = input.array();
      for (std::int64_t n = 0; n < input.count() && added; ++n) x.values[static_cast<std::size_t>(n)] = input[n] + residual[n];
      const reference::NormResult expected = reference::norm(x, centred, options.weight, options.bias, epsilon, Data::structured);
      REQUIRE_OK(norm_of(centred, input.view, epsilon, output.view, options));
      CHECK_CLOSE(output.view, expected.output, expected.bounds);
      CHECK(output.gaps_untouched());
      if (kept) CHECK_CLOSE(sum.view, x, 0.0);
      CHECK(sum.gaps_untouched());
      // The sum onto the residual, the output onto the input, as models call it.
      if (added) options.sum = residual.view;
      REQUIRE_OK(norm_of(centred, input.view, epsilon, input.view, options));
      CHECK_SAME_BITS(input, output);
      if (added) CHECK_CLOSE(residual.view, x, 0.0);
      CHECK(input.gaps_untouched());
    }
  }
}

TEST_CASE("norms: the same bits for any threads, and a row reaches no other") {
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(3, &pool));
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(82);
    Tensor input({500, 384}), one({500, 384}), three({500, 384});
    input.fill(random);
    NormOptions threaded = on_isa(isa);
    threaded.threads = pool.threads();
    REQUIRE_OK(layer_norm(input.view, 1e-5f, one.view, on_isa(isa)));
    REQUIRE_OK(layer_norm(input.view, 1e-5f, three.view, threaded));
    CHECK_SAME_BITS(one, three);
    input.at(20, 7) = infinite;
    REQUIRE_OK(layer_norm(input.view, 1e-5f, three.view, threaded));
    for (std::int64_t n = 0; n < one.count(); ++n) REQUIRE((n / 384 == 20 ? std::isnan(three[n]) : three[n] == one[n]));
  }
}

TEST_CASE("norms: rms_norm_rows has the bits of rms_norm") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(83);
    Tensor input({2, 3, 4, 50}), weight({50}), first({2, 3, 4, 50}), second({2, 3, 4, 50});
    input.fill(random);
    weight.fill(random);
    NormOptions options = on_isa(isa);
    options.weight = weight.view;
    REQUIRE_OK(rms_norm(input.view, weight.view, 1e-6f, first.view, {isa, {}}));
    REQUIRE_OK(rms_norm_rows(input.view, 1e-6f, second.view, options));
    CHECK_SAME_BITS(first, second);
  }
}

TEST_CASE("norms: nothing to do, and errors") {
  Tensor input({5, 10}), weight({10}), output({5, 10}), sum({5, 10});
  input.fill(1.0f);
  weight.fill(1.0f);
  REQUIRE_OK(layer_norm(ConstTensorView(nullptr, 0, 10), 0.0f, TensorView(nullptr, 0, 10)));
  REQUIRE_OK(layer_norm(ConstTensorView(nullptr, 3, 0), 0.0f, TensorView(nullptr, 3, 0)));
  const auto refuse = [&](const std::string& message, const ConstTensorView& x, float epsilon, const TensorView& y, const NormOptions& options = {}) {
    const Status status = layer_norm(x, epsilon, y, options);
    CHECK(status.code() == StatusCode::invalid_argument);
    CHECK(std::string(status.message()) == message);
    CHECK(output.untouched());
    CHECK(sum.untouched());
  };
  const ConstTensorView x = input.view;
  const TensorView y = output.view;
  refuse("input: it has no axis, expected 1 to 4", ConstTensorView(), 0.0f, y);
  refuse("output: shape (5, 9), expected (5, 10)", x, 0.0f, TensorView(y.data, 5, 9));
  refuse("epsilon: -1, expected a finite number, 0 or more", x, -1.0f, y);
  refuse("output: its memory meets that of input without being the same view", ConstTensorView(y.data + 10, 5, 10), 0.0f, y);
  NormOptions options;
  options.weight = x;
  refuse("weight: shape (5, 10) has 2 axes, expected 1", x, 0.0f, y, options);
  options = {};
  options.bias = ConstTensorView(y.data, 10);
  refuse("output: its memory meets that of bias", x, 0.0f, y, options);
  options = {};
  options.residual = ConstTensorView(y.data + 10, 5, 10);
  refuse("output: its memory meets that of residual without being the same view", x, 0.0f, y, options);
  options = {};
  options.sum = y;
  refuse("sum: its memory meets that of output", x, 0.0f, y, options);
  options.sum = TensorView(sum.view.data, 10, 5);
  refuse("sum: shape (10, 5), expected (5, 10)", x, 0.0f, y, options);
  options.sum = TensorView(input.view.data + 10, 4, 10);
  refuse("sum: shape (4, 10), expected (5, 10)", x, 0.0f, y, options);
  options = {};
  options.threads.count = 300;
  refuse("threads: count 300, expected 1 to 256", x, 0.0f, y, options);
}
