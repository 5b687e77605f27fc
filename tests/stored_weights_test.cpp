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
                                    {WeightType::int8, Arithmetic::int8},
                                    {WeightType::int4, Arithmetic::float32},
                                    {WeightType::int4, Arithmetic::int8}};

MultiHeadAttentionConfig config_of(const Precision& precision, Isa isa) {
  MultiHeadAttentionConfig config = Layer::square(24, 3, isa);
  config.key_size = 17;
  config.output_size = 35;
  config.weight_type = precision.type;
  config.arithmetic = precision.arithmetic;
  config.low_precision = precision.type == WeightType::int4 ? low_precision_int4() : low_precision();
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
  std::vector<std::uint8_t> nibbles;
  std::vector<float> scales;
  StoredMatrix matrix;

  File(const StoredWeights& stored, WeightType type, bool transposed) {
    const std::int64_t N = stored.numbers.shape[0], K = stored.numbers.shape[1], step = 2;
    const std::int64_t sizes[] = {N, K}, strides[] = {transposed ? step : K * step, transposed ? N * step : step};
    const std::size_t count = static_cast<std::size_t>(N * K * step);
    halves.assign(count, 0x7fff);
    integers.assign(count, 99);
    nibbles.assign(count, 0);
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t k = 0; k < K; ++k) {
        const float number = static_cast<float>(stored.numbers.values[static_cast<std::size_t>(n * K + k)]);
        const std::size_t at = static_cast<std::size_t>(n * strides[0] + k * strides[1]);
        if (type == WeightType::int4) {
          std::uint8_t& pair = nibbles[static_cast<std::size_t>(n * strides[0] + k / 2 * strides[1])];
          pair = static_cast<std::uint8_t>(pair | static_cast<int>(number) << (k % 2 == 0 ? 0 : 4));
        } else if (type == WeightType::int8) integers[at] = static_cast<std::int8_t>(number);
        else halves[at] = type == WeightType::float16 ? bits_of_float16(number) : bits_of_bfloat16(number);
      }
    }
    if (type == WeightType::int4) {
      for (const double scale : stored.scales.values) scales.push_back(static_cast<float>(scale));
      const std::int64_t pairs[] = {N, (K + 1) / 2};
      matrix.nibbles = View<const std::uint8_t>::strided(nibbles.data(), pairs, strides);
      matrix.scales = ConstTensorView(scales.data(), N, stored.scales.shape[1]);
    } else if (type == WeightType::int8) {
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

TEST_CASE("stored weights: numbers of int4 with zeros of their own, scales of any sign") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    // Two channels of 35 elements: in each group the zero and the scale of its own; the numbers of the second group are 0, 15, 7.
    std::uint8_t nibbles[2][18] = {};
    nibbles[0][0] = 0xf0;  // numbers 0 and 15
    nibbles[0][16] = 0xf0;
    nibbles[0][17] = 0x07;
    nibbles[1][16] = 0x0f;
    const std::uint8_t zeros[] = {0, 15, 0xf8, 0};  // of 0xf8 the lower half counts
    const float scales[] = {0.5f, -0.25f, 1.0f, 2.0f}, one_row[35 * 35] = {};
    MultiHeadAttentionConfig config = Layer::square(2, 1, isa);
    config.value_size = 35;
    config.weight_type = WeightType::int4;
    config.low_precision = low_precision_int4();
    const float identity[] = {1, 0, 0, 1};
    MultiHeadAttentionWeights weights;
    weights.query = weights.key = ConstTensorView(one_row, 2, 2);
    weights.output = ConstTensorView(identity, 2, 2);
    StoredMatrix value;
    value.nibbles = View<const std::uint8_t>(&nibbles[0][0], 2, 18);
    value.scales = ConstTensorView(scales, 2, 2);
    value.zeros = View<const std::uint8_t>(zeros, 2, 2);
    weights.stored_value = &value;
    MultiHeadAttention attention;
    Tensor x({1, 1, 2}), values({1, 1, 35}), output({1, 1, 2});
    x.fill(1.0f);
    values.fill(0.0f);
    values.at(0, 0, 1) = 255.0f;  // 8 bits from 0 to 255 are 0, 1, 2 ...
    values.at(0, 0, 32) = 3.0f;
    values.at(0, 0, 34) = 8.0f;
    for (const Arithmetic arithmetic : {Arithmetic::float32, Arithmetic::int8}) {
      CAPTURE(static_cast<int>(arithmetic));
      config.arithmetic = arithmetic;
      REQUIRE_OK(MultiHeadAttention::make(config, weights, &attention));
      Workspace workspace;
      REQUIRE_OK(attention.forward(x.view, x.view, values.view, {}, output.view, workspace));
      // 0.5 * 255 * (15 - 0) - 0.25 * (3 * (0 - 15) + 8 * (7 - 15)), and 1 * 255 * (0 - 8) + 2 * 3 * 15; W_o has 8 steps of 1 / 8, and 8-bit
      // rows round between the layers.
      const bool rounds = arithmetic == Arithmetic::int8;
      CHECK(std::abs(output[0] - 1939.75f) <= (rounds ? 8.0f : 0.0f));
      CHECK(std::abs(output[1] - -1950.0f) <= (rounds ? 8.0f : 0.0f));
    }
  }
}

TEST_CASE("errors: stored weights of int4") {
  Random random(9);
  Layer layer(config_of({WeightType::int4, Arithmetic::int8}, Isa::best), random);
  const File file(reference::store(layer.tensors[0].array(), WeightType::int4), WeightType::int4, false);
  const File integers(reference::store(layer.tensors[0].array(), WeightType::int8), WeightType::int8, false);
  MultiHeadAttention made;
  MultiHeadAttentionWeights weights = layer.weights;
  weights.query = {};
  StoredMatrix stored;
  weights.stored_query = &stored;
  const auto refused = [&](const MultiHeadAttentionConfig& config, const StoredMatrix& matrix, const std::string& expected) {
    stored = matrix;
    const Status status = MultiHeadAttention::make(config, weights, &made);
    CHECK(status.code() == StatusCode::invalid_argument);
    CHECK(std::string(status.message()).substr(0, expected.size()) == expected);
  };
  REQUIRE_OK((stored = file.matrix, MultiHeadAttention::make(layer.config, weights, &made)));
  refused(layer.config, integers.matrix, "weights.stored_query: integers, but weight_type is int4");
  refused(layer.config, {}, "weights.stored_query: ");
  StoredMatrix wrong = file.matrix;
  wrong.nibbles.sizes[1] = 13;
  refused(layer.config, wrong, "weights.stored_query: shape (24, 13), expected (24, 12)");
  wrong = file.matrix;
  wrong.scales = {};
  refused(layer.config, wrong, "weights.stored_query: ");
  wrong = file.matrix;
  wrong.zeros = View<const std::uint8_t>(file.nibbles.data(), 24, 2);
  refused(layer.config, wrong, "weights.stored_query: shape (24, 2), expected (24, 1)");
  MultiHeadAttentionConfig config = config_of({WeightType::int8, Arithmetic::int8}, Isa::best);
  refused(config, file.matrix, "weights.stored_query: nibbles, but weight_type is int8");

  // And configs.
  const auto message = [&](const MultiHeadAttentionConfig& given) {
    const Status status = MultiHeadAttention::make(given, layer.weights, &made);
    CHECK(status.code() == StatusCode::invalid_argument);
    return std::string(status.message());
  };
  config = layer.config;
  for (const int group : {-32, 1, 16, 31, 48, 256}) {
    config.weight_group = group;
    CHECK(message(config) == "weight_group: " + std::to_string(group) + ", expected 32, 64 or 128, or 0: 32");
  }
  config.weight_group = 64;
  REQUIRE_OK(MultiHeadAttention::make(config, layer.weights, &made));
  config.weight_type = WeightType::int8;
  config.low_precision = low_precision();
  CHECK(message(config) == "weight_group: 64, but weight_type is int8");
  config = layer.config;
  config.low_precision = low_precision();
  CHECK(message(config) == "low_precision: low_precision(), but weight_type is int4: expected low_precision_int4(), which links its kernels");
  config.low_precision = nullptr;
  CHECK(message(config) == "low_precision: null, but weight_type is int4: expected low_precision_int4(), which links its kernels");
  config.weight_type = WeightType::int8;
  config.low_precision = low_precision_int4();
  CHECK(message(config) == "low_precision: low_precision_int4(), but weight_type is int8: expected low_precision(), which links its kernels");
  config = layer.config;
  config.arithmetic = Arithmetic::bfloat16;
  CHECK(message(config) == "arithmetic: bfloat16 takes weights of bfloat16, but weight_type is int4");
  config = layer.config;
  config.query_size = 65537;
  CHECK(message(config) == "arithmetic: int8 takes rows of at most 65536, but one is 65537 wide");
  KeyValueCacheConfig cache_config;
  cache_config.batch = cache_config.num_kv_heads = 1;
  cache_config.head_dim = cache_config.capacity = 8;
  cache_config.type = CacheType::int8;
  cache_config.low_precision = low_precision_int4();
  KeyValueCache cache;
  CHECK(std::string(KeyValueCache::make(cache_config, &cache).message()) ==
        "low_precision: low_precision_int4(), but type is int8, expected low_precision(), which links its kernels");
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
