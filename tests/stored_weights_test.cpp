// Weights that are given as files of low precision store them: the bits of the layer that makes the same of floats, and refusals.
#include "engine_test.h"

using namespace engine_test;
using reference::Array;
using reference::StoredWeights;

namespace {

struct Precision {
  WeightType type;
  Arithmetic arithmetic;
};
constexpr Precision precisions[] = {{WeightType::bfloat16, Arithmetic::float32},
                                    {WeightType::bfloat16, Arithmetic::bfloat16},
                                    {WeightType::float16, Arithmetic::float32},
                                    {WeightType::int8, Arithmetic::float32},
                                    {WeightType::int8, Arithmetic::int8}};

MultiHeadAttentionConfig config_of(const Precision& precision, Isa isa) {
  MultiHeadAttentionConfig config = Layer::square(24, 3, isa);
  config.key_size = 17;
  config.output_size = 35;
  config.weight_type = precision.type;
  config.arithmetic = precision.arithmetic;
  config.low_precision = low_precision();
  return config;
}

std::uint16_t bits_of_float16(float x) {  // of a number that float16 has
  const double magnitude = std::abs(static_cast<double>(x));
  const int sign = std::signbit(x) ? 0x8000 : 0;
  if (magnitude == 0.0) return static_cast<std::uint16_t>(sign);
  const int exponent = std::max(std::ilogb(magnitude), -14);
  const int digits = static_cast<int>(std::ldexp(magnitude, 10 - exponent));  // 1024 to 2047, fewer where it is subnormal
  return static_cast<std::uint16_t>(sign | (digits + (exponent + 14) * 1024));
}

std::uint16_t bits_of_bfloat16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}

// A matrix as a file stores it, transposed in memory or with gaps between its elements.
struct File {
  std::vector<std::uint16_t> halves;
  std::vector<std::int8_t> integers;
  std::vector<float> scales;
  StoredMatrix matrix;

  File(const StoredWeights& stored, WeightType type, bool transposed) {
    const std::int64_t N = stored.numbers.shape[0], K = stored.numbers.shape[1], step = 2;
    const std::int64_t sizes[] = {N, K}, strides[] = {transposed ? step : K * step, transposed ? N * step : step};
    const std::size_t count = static_cast<std::size_t>(N * K * step);
    halves.assign(count, 0x7fff);
    integers.assign(count, 99);
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t k = 0; k < K; ++k) {
        const float number = static_cast<float>(stored.numbers.values[static_cast<std::size_t>(n * K + k)]);
        const std::size_t at = static_cast<std::size_t>(n * strides[0] + k * strides[1]);
        if (type == WeightType::int8) integers[at] = static_cast<std::int8_t>(number);
        else halves[at] = type == WeightType::float16 ? bits_of_float16(number) : bits_of_bfloat16(number);
      }
    }
    if (type == WeightType::int8) {
      for (const double scale : stored.scales.values) scales.push_back(static_cast<float>(scale));
      matrix.integers = View<const std::int8_t>::strided(integers.data(), sizes, strides);
      matrix.scales = ConstTensorView(scales.data(), N);
    } else {
      matrix.halves = View<const std::uint16_t>::strided(halves.data(), sizes, strides);
    }
  }
};

Tensor output_of(const MultiHeadAttention& attention, const Tensor& x, const Tensor& keys) {
  const std::int64_t width = attention.config().output_size;
  Tensor output({x.view.sizes[0], x.view.sizes[1], width > 0 ? width : attention.config().num_hiddens});
  Workspace workspace;
  REQUIRE_OK(attention.forward(x.view, keys.view, x.view, {}, output.view, workspace));
  return output;
}

}  // namespace

TEST_CASE("stored weights: the bits of a layer that stores the same weights itself") {
  Random random(7);
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (const Precision& precision : precisions) {
      CAPTURE(static_cast<int>(precision.type));
      CAPTURE(static_cast<int>(precision.arithmetic));
      Layer layer(config_of(precision, isa), random);
      const Tensor* const matrices[] = {&layer.tensors[0], &layer.tensors[1], &layer.tensors[2], &layer.tensors[3]};
      for (const bool transposed : {false, true}) {
        std::vector<File> files;
        files.reserve(4);
        for (const Tensor* matrix : matrices) files.emplace_back(reference::store(matrix->array(), precision.type), precision.type, transposed);
        MultiHeadAttentionWeights weights;
        weights.stored_query = &files[0].matrix;
        weights.stored_key = &files[1].matrix;
        weights.value = layer.weights.value;  // floats beside stored matrices
        weights.stored_output = &files[3].matrix;
        MultiHeadAttention stored;
        REQUIRE_OK(MultiHeadAttention::make(layer.config, weights, &stored));
        Tensor x({2, 5, 24}), keys({2, 5, 17});
        x.fill(random);
        keys.fill(random);
        CHECK_SAME_BITS(output_of(stored, x, keys), output_of(layer.attention, x, keys));
      }
    }
  }
}

TEST_CASE("stored weights: integers of -128 and scales of any sign are taken as they are") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const std::int8_t integers[] = {-128, 127, 0, -1};
    const float scales[] = {0.5f, -0.25f}, identity[] = {1, 0, 0, 1};
    MultiHeadAttentionConfig config = Layer::square(2, 1, isa);
    config.weight_type = WeightType::int8;
    config.low_precision = low_precision();
    MultiHeadAttentionWeights weights;
    weights.query = weights.key = weights.output = ConstTensorView(identity, 2, 2);
    StoredMatrix value;
    value.integers = View<const std::int8_t>(integers, 2, 2);
    value.scales = ConstTensorView(scales, 2);
    weights.stored_value = &value;
    for (const Arithmetic arithmetic : {Arithmetic::float32, Arithmetic::int8}) {
      config.arithmetic = arithmetic;
      MultiHeadAttention attention;
      REQUIRE_OK(MultiHeadAttention::make(config, weights, &attention));
      Tensor x({1, 1, 2});
      x.at(0, 0, 0) = 255.0f;  // 8 bits from 0 to 255 are 0, 1, 2 ...
      x.at(0, 0, 1) = 3.0f;
      const Tensor output = output_of(attention, x, x);
      // Values (-128 * 255 + 127 * 3) / 2 and 3 / 4; the output's rows are rounded to 8 bits between them.
      CHECK(std::abs(output[0] - -16129.5f) <= (arithmetic == Arithmetic::int8 ? 64.0f : 0.01f));
      CHECK(std::abs(output[1] - 0.75f) <= (arithmetic == Arithmetic::int8 ? 64.0f : 0.0f));
    }
  }
}

TEST_CASE("errors: stored weights of another type or shape, or beside floats") {
  Random random(3);
  Layer layer(config_of(precisions[4], Isa::best), random);
  const File integers(reference::store(layer.tensors[0].array(), WeightType::int8), WeightType::int8, false);
  const File halves(reference::store(layer.tensors[0].array(), WeightType::bfloat16), WeightType::bfloat16, false);
  MultiHeadAttention made;
  const auto message = [&](const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights) {
    const Status status = MultiHeadAttention::make(config, weights, &made);
    CHECK(status.code() == StatusCode::invalid_argument);
    return std::string(status.message());
  };
  MultiHeadAttentionWeights weights = layer.weights;
  StoredMatrix stored = integers.matrix;
  weights.stored_query = &stored;
  CHECK(message(layer.config, weights) == "weights.stored_query: given, as is weights.query, expected one of them");
  weights.query = {};
  MultiHeadAttentionConfig config = layer.config;
  config.weight_type = WeightType::bfloat16;
  config.arithmetic = Arithmetic::float32;
  CHECK(message(config, weights) == "weights.stored_query: integers, but weight_type is bfloat16");
  config.weight_type = WeightType::float32;
  CHECK(message(config, weights) == "weights.stored_query: integers, but weight_type is float32");
  stored = halves.matrix;
  CHECK(message(layer.config, weights) == "weights.stored_query: halves, but weight_type is int8");
  stored.integers = integers.matrix.integers;
  CHECK(message(layer.config, weights) == "weights.stored_query: integers and halves, but weight_type is int8");
  stored = integers.matrix;
  stored.scales = {};
  CHECK(message(layer.config, weights).substr(0, 21) == "weights.stored_query:");
  stored = integers.matrix;
  stored.integers.sizes[1] = 23;
  CHECK(message(layer.config, weights).substr(0, 21) == "weights.stored_query:");
}
