// Tests of the C API: linear layers and norms give the bits of the C++ ones, in the memory that they ask for; every field counts.

#include "c_twin.h"

#include <memory>

using namespace c_twin;

namespace {

attend_linear_config c_config(const LinearConfig& config) {
  attend_linear_config given = {};
  given.size = sizeof given;
  given.inputs = config.inputs;
  given.outputs = config.outputs;
  given.isa = static_cast<int>(config.isa);
  given.weight_type = static_cast<int>(config.weight_type);
  given.arithmetic = static_cast<int>(config.arithmetic);
  given.low_precision = reinterpret_cast<const attend_low_precision*>(config.low_precision);
  given.weight_group = config.weight_group;
  return given;
}

}  // namespace

TEST_CASE("C API: a linear layer gives the bits of the C++ one, in the memory that it asks for") {
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(2, &pool));
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (const WeightType type : {WeightType::float32, WeightType::int8, WeightType::int4}) {
      LinearConfig config;
      config.inputs = 70;
      config.outputs = 50;
      config.isa = isa;
      config.weight_type = type;
      config.arithmetic = type == WeightType::float32 ? Arithmetic::float32 : Arithmetic::int8;
      config.low_precision = type == WeightType::float32 ? nullptr : type == WeightType::int4 ? low_precision_int4() : low_precision();
      config.weight_group = type == WeightType::int4 ? 64 : 0;
      if (Linear::packed_bytes(config) == 0) continue;
      Random random(91);
      Tensor weight({50, 70}, random), bias({50}, random), input({2, 30, 70}, random), multiplier({2, 30, 50}, random), twin({2, 30, 50}), output({2, 30, 50}, random);
      for (Tensor* tensor : {&weight, &bias, &input, &multiplier}) tensor->fill(random);
      LinearOptions options;
      options.activation = Activation::silu;
      options.multiplier = multiplier.view;
      options.threads = pool.threads();
      Linear linear;
      Workspace workspace;
      REQUIRE_OK(Linear::make(config, {weight.view, bias.view}, &linear));
      REQUIRE_OK(linear.forward(input.view, twin.view, workspace, options));

      const attend_linear_config sizes = c_config(config);
      attend_linear_weights weights = {};
      weights.size = sizeof weights;
      weights.matrix = in(weight);
      weights.bias = in(bias);
      attend_linear_options given = {};
      given.size = sizeof given;
      given.activation = ATTEND_ACTIVATION_SILU;
      given.multiplier = in(multiplier);
      given.threads = c_threads(options.threads);
      const std::size_t bytes = attend_linear_bytes(&sizes);
      const std::unique_ptr<char[]> memory(new char[bytes]);
      for (void* place : {static_cast<void*>(nullptr), static_cast<void*>(memory.get())}) {
        attend_linear* made = nullptr;
        require_done(attend_linear_make(&sizes, &weights, place, place == nullptr ? 0 : bytes, &made, &problem));
        const std::size_t needed = attend_linear_workspace_bytes(made, 2, 30);
        CHECK(needed == linear.workspace_bytes(2, 30));
        const std::unique_ptr<char[]> scratch(new char[needed]);
        attend_workspace exact = {};
        exact.memory = scratch.get();
        exact.bytes = needed;
        const attend_const_tensor x = in(input);
        const attend_tensor y = out(output);
        require_done(attend_linear_forward(made, &x, &y, &exact, &given, &problem));
        CHECK_SAME_BITS(output, twin);
        attend_linear_config back = {};
        back.size = sizeof back;
        require_done(attend_linear_get_config(made, &back, &problem));
        CHECK(back.inputs == 70);
        CHECK(back.outputs == 50);
        CHECK(back.isa == static_cast<int>(isa));
        CHECK(back.weight_type == static_cast<int>(type));
        CHECK(back.arithmetic == static_cast<int>(config.arithmetic));
        CHECK(back.low_precision == sizes.low_precision);
        CHECK(back.weight_group == config.weight_group);
        attend_linear_destroy(made);
      }
      attend_linear* made = nullptr;
      check_refused(attend_linear_make(&sizes, &weights, memory.get(), bytes - 1, &made, &problem), ATTEND_OUT_OF_MEMORY, "memory_bytes: ");
      CHECK(made == nullptr);
    }
  }
}

TEST_CASE("C API: a linear layer's stored weights, and what it refuses") {
  const std::int8_t integers[] = {1, 2, 3, 4};
  const float scales[] = {0.5f, 2.0f};
  attend_linear_config config = {};
  config.size = sizeof config;
  config.inputs = config.outputs = 2;
  config.weight_type = ATTEND_WEIGHTS_INT8;
  config.low_precision = attend_get_low_precision();
  attend_stored_matrix stored = {};
  stored.size = sizeof stored;
  stored.integers = {integers, 2, {2, 2}, nullptr};
  stored.scales = {scales, 1, {2}, nullptr};
  attend_linear_weights weights = {};
  weights.size = sizeof weights;
  weights.stored = &stored;
  attend_linear* linear = nullptr;
  const float x[] = {1.0f, 10.0f};
  float y[] = {0.0f, 0.0f};
  const attend_const_tensor input = {x, 2, {1, 2}, nullptr};
  const attend_tensor output = {y, 2, {1, 2}, nullptr};
  if (attend_linear_bytes(&config) > 0) {
    require_done(attend_linear_make(&config, &weights, nullptr, 0, &linear, &problem));
    require_done(attend_linear_forward(linear, &input, &output, nullptr, nullptr, &problem));
    CHECK(y[0] == 10.5f);
    CHECK(y[1] == 86.0f);
    attend_linear_options options = {};
    check_invalid(attend_linear_forward(linear, &input, &output, nullptr, &options, &problem), "options.size: 0, expected sizeof (attend_linear_options)");
    attend_linear_destroy(linear);
  }
  attend_linear_destroy(nullptr);
  check_invalid(attend_linear_make(nullptr, &weights, nullptr, 0, &linear, &problem), "config: null");
  check_invalid(attend_linear_make(&config, nullptr, nullptr, 0, &linear, &problem), "weights: null");
  check_invalid(attend_linear_make(&config, &weights, nullptr, 0, nullptr, &problem), "linear: null");
  check_invalid(attend_linear_forward(nullptr, &input, &output, nullptr, nullptr, &problem), "linear: null");
  check_invalid(attend_linear_get_config(nullptr, &config, &problem), "linear: null");
  CHECK(attend_linear_workspace_bytes(nullptr, 1, 1) == 0);
  config.inputs = 0;
  check_invalid(attend_linear_make(&config, &weights, nullptr, 0, &linear, &problem), "inputs: 0, expected 1 to 16777216");
}

TEST_CASE("C API: norms give the bits of the C++ ones") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (const bool centred : {true, false}) {
      Random random(92);
      Tensor input({3, 5, 40}, random), residual({3, 5, 40}, random), weight({40}, random), bias({40}, random);
      Tensor twin({3, 5, 40}), twin_sum({3, 5, 40}), output({3, 5, 40}, random), sum({3, 5, 40}, random);
      for (Tensor* tensor : {&input, &residual, &weight, &bias}) tensor->fill(random);
      NormOptions options;
      options.weight = weight.view;
      options.bias = bias.view;
      options.residual = residual.view;
      options.sum = twin_sum.view;
      options.isa = isa;
      REQUIRE_OK((centred ? layer_norm : rms_norm_rows)(input.view, 1e-5f, twin.view, options));
      attend_norm_options given = {};
      given.size = sizeof given;
      given.weight = in(weight);
      given.bias = in(bias);
      given.residual = in(residual);
      given.sum = out(sum);
      given.isa = static_cast<int>(isa);
      given.threads = c_threads(options.threads);
      const attend_const_tensor x = in(input);
      const attend_tensor y = out(output);
      require_done((centred ? attend_layer_norm : attend_rms_norm_rows)(&x, 1e-5f, &y, &given, &problem));
      CHECK_SAME_BITS(output, twin);
      CHECK_SAME_BITS(sum, twin_sum);
      given.size = 3;
      check_invalid((centred ? attend_layer_norm : attend_rms_norm_rows)(&x, 1e-5f, &y, &given, &problem), "options.size: 3, expected sizeof (attend_norm_options)");
    }
  }
}
