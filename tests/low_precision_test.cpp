// Layers of low precision: on every ISA the bits of the reference, whatever the shape, the threads and the numbers.
//
// What products of int8 and bfloat16 give is exact, so a layer whose rows see one key each, and get its value as it is, is two exact
// projections. Any other layer is the exact projections around the core on this ISA.

#include "engine_test.h"

#include <algorithm>
#include <iterator>

#include "data/layer.h"
#include "data/low_precision.h"
#include "flush_denormals.h"

using namespace engine_test;
using reference::Array;
using reference::Data;

namespace {

struct Precision {
  WeightType type;
  Arithmetic arithmetic;
  int group = 0;
  const LowPrecision* products = type == WeightType::int4 ? low_precision_int4() : low_precision();
};
const Precision exact[] = {{WeightType::int8, Arithmetic::int8},
                           {WeightType::bfloat16, Arithmetic::bfloat16},
                           {WeightType::int4, Arithmetic::int8},
                           {WeightType::int4, Arithmetic::int8, 64},
                           {WeightType::int4, Arithmetic::int8, 128}};
const Precision every[] = {{WeightType::int8, Arithmetic::int8},
                               {WeightType::bfloat16, Arithmetic::bfloat16},
                               {WeightType::bfloat16, Arithmetic::float32},
                               {WeightType::float16, Arithmetic::float32},
                               {WeightType::int8, Arithmetic::float32},
                               {WeightType::int4, Arithmetic::int8},
                               {WeightType::int4, Arithmetic::float32},
                               {WeightType::int4, Arithmetic::float32, 128}};

std::string name_of_precision(const Precision& precision) {
  const char* const types[] = {"float32", "bfloat16", "float16", "int8", "int4"};
  const char* const arithmetics[] = {"float32", "bfloat16", "int8"};
  return std::string(types[static_cast<int>(precision.type)]) + " x " + arithmetics[static_cast<int>(precision.arithmetic)] +
         (precision.group == 0 ? "" : ", groups of " + std::to_string(precision.group));
}

MultiHeadAttentionConfig in(const Precision& precision, MultiHeadAttentionConfig config) {
  config.weight_type = precision.type;
  config.arithmetic = precision.arithmetic;
  config.low_precision = precision.products;
  config.weight_group = precision.group;
  return config;
}

// A product that another may be better than on this CPU, in the place of the best.
const Product* chosen_product = nullptr;
LowPrecision with_chosen_product(LowPrecision same) {
  same.find = [](WeightType, Arithmetic, Isa) { return chosen_product; };
  return same;
}
const LowPrecision chosen = with_chosen_product(*low_precision()), chosen_int4 = with_chosen_product(*low_precision_int4());

/// Calls visit(isa, precision) for each product that this CPU can compute, the best of its ISA or not.
template <class Precisions, class Visit>
void for_each(const Precisions& precisions, Visit visit) {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (Precision precision : precisions) {
      CAPTURE(name_of_precision(precision));
      const bool int4 = precision.type == WeightType::int4;
      for (int n = 0; const Product* product = int4 ? usable_int4_product(isa, n) : usable_product(isa, n); ++n) {
        if (product->weights != precision.type || product->arithmetic != precision.arithmetic) continue;
        CAPTURE(std::string(product->instructions));
        chosen_product = product;
        const LowPrecision* const linked = int4 ? low_precision_int4() : low_precision();
        precision.products = linked->find(precision.type, precision.arithmetic, isa) == product ? linked : int4 ? &chosen_int4 : &chosen;
        visit(isa, precision);
      }
    }
  }
}

Tensor tensor_of(const Array& array) {
  Tensor tensor(array.shape);
  for (std::int64_t n = 0; n < tensor.count(); ++n) tensor[n] = static_cast<float>(array.values[static_cast<std::size_t>(n)]);
  return tensor;
}

/// One of the four projections of a layer, 0 to 3, as the reference has it.
Array projected(const Layer& layer, int which, const Array& x) {
  const reference::LayerWeights weights = layer.reference_weights();
  const Array* const matrices[] = {&weights.query, &weights.key, &weights.value, &weights.output};
  const Array* const biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
  return reference::project(x, *matrices[which], *biases[which], layer.config.weight_type, layer.config.arithmetic,
                            weight_group_of(layer.config), reference::pair_sum_of(chosen_product->instructions));
}

/// What a layer gives whose rows see one key each, that of `values`.
Tensor through_values(const Layer& layer, const Tensor& values) {
  Array heads = projected(layer, 2, values.array());
  for (double& x : heads.values) x += 0.0;  // sums of attention begin with 0, and so a value of -0 becomes 0
  return tensor_of(projected(layer, 3, heads));
}

/// Each query sees the key at its own position and no other.
AttentionOptions own_key_alone() {
  AttentionOptions options;
  options.window_left = options.window_right = 0;
  return options;
}

const Precision int8_products[] = {exact[0]}, bfloat16_products[] = {exact[1]}, integer_weights[] = {every[4]};

constexpr std::int64_t widths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 96, 100, 768};
constexpr std::int64_t row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 33};

/// Heads no wider than they may be.
std::int64_t heads_for(std::int64_t num_hiddens) { return num_hiddens > 576 ? 2 : 1; }

/// A layer whose values are as wide as `inputs`, its heads as `hiddens`, and its output as `outputs`. Its queries are projected to
/// zeros, so that all scores are 0: then the weight of the only key that a row sees is 1 exactly, and its value comes back as it is.
Layer value_layer(const Precision& precision, std::int64_t inputs, std::int64_t hiddens, std::int64_t outputs, Isa isa, bool bias, Random& random,
                  Random* layout = nullptr) {
  MultiHeadAttentionConfig config = in(precision, Layer::square(hiddens, heads_for(hiddens), isa, bias));
  config.key_size = config.query_size = 3;
  config.value_size = inputs;
  config.output_size = outputs;
  Layer layer(config, random, layout);
  layer.tensors[0].fill(0.0f);
  if (bias) layer.tensors[4].fill(0.0f);
  layer.make();
  return layer;
}

class Pool {
 public:
  explicit Pool(int count) { REQUIRE_OK(ThreadPool::make(count, &pool_)); }
  AttentionOptions with(AttentionOptions options = {}) {
    options.threads = pool_.threads();
    return options;
  }

 private:
  ThreadPool pool_;
};

}  // namespace

TEST_CASE("low precision: rows that see one key have the bits of two projections, of every width and number of rows") {
  Pool two(2);
  for_each(exact, [&](Isa isa, const Precision& precision) {
    Random random(501);
    std::size_t round = 0;
    for (std::int64_t inputs : widths) {
      const std::int64_t others[] = {widths[random.between(0, 18)], inputs == 768 ? 768 : widths[random.between(0, 18)]};
      const std::int64_t hiddens = others[random.between(0, 1)], outputs = others[random.between(0, 1)];
      for (int turn = 0; turn < share_of(3); ++turn, ++round) {
        const std::int64_t rows = row_counts[round % std::size(row_counts)];
        CAPTURE(text_of({rows, inputs, hiddens, outputs}));
        const Layer layer = value_layer(precision, inputs, hiddens, outputs, isa, random.one_in(2), random, random.one_in(2) ? &random : nullptr);
        // As entries of one row, and as one entry whose rows see themselves alone.
        Tensor values({rows, 1, inputs}), queries({rows, 1, 3}), output({rows, 1, outputs});
        values.fill(random);
        queries.fill(random);
        const Tensor expected = through_values(layer, values);
        REQUIRE_OK(layer.forward(queries, queries, values, {}, output));
        CHECK_SAME_BITS(output, expected);
        Tensor strided_values({1, rows, inputs}, random), strided_queries({1, rows, 3}, random), strided_output({1, rows, outputs}, random);
        strided_values.copy(values);
        strided_queries.copy(queries);
        REQUIRE_OK(layer.forward(strided_queries, strided_queries, strided_values, {}, strided_output, two.with(own_key_alone())));
        CHECK_SAME_BITS(strided_output, expected);
        CHECK(strided_output.gaps_untouched());
      }
    }
  });
}

TEST_CASE("low precision: every odd width about the tiles, one row and many") {
  for_each(exact, [](Isa isa, const Precision& precision) {
    Random random(502);
    for (std::int64_t width = 1; width <= share_of(51); width += 2) {
      for (std::int64_t rows : {std::int64_t{1}, 2 + width % 7}) {
        CAPTURE(text_of({rows, width}));
        const Layer layer = value_layer(precision, width, width, width, isa, width % 3 == 0, random);
        Tensor values({rows, 1, width}), queries({rows, 1, 3}), output({rows, 1, width});
        values.fill(random, 3.0f);
        queries.fill(1.0f);
        REQUIRE_OK(layer.forward(queries, queries, values, {}, output));
        CHECK_SAME_BITS(output, through_values(layer, values));
      }
    }
  });
}

TEST_CASE("low precision: many rows, shared between threads") {
  Pool two(2), three(3);
  for_each(exact, [&](Isa isa, const Precision& precision) {
    Random random(503);
    const Layer layer = value_layer(precision, 100, 96, 130, isa, true, random);
    Tensor values({1, 211, 100}), queries({1, 211, 3}), output({1, 211, 130});
    values.fill(random);
    queries.fill(random);
    const Tensor expected = through_values(layer, values);
    for (const AttentionOptions& options : {own_key_alone(), two.with(own_key_alone()), three.with(own_key_alone())}) {
      REQUIRE_OK(layer.forward(queries, queries, values, {}, output, options));
      CHECK_SAME_BITS(output, expected);
    }
  });
}

namespace {

/// Rows of every kind that quantising and rounding tell apart.
void fill_special(Tensor& values, std::int64_t row, int kind, Random& random) {
  const std::int64_t width = values.view.sizes[2];
  for (std::int64_t k = 0; k < width; ++k) {
    float& x = values.at(0, row, k);
    const bool last = k == width - 1;
    switch (kind) {
      case 0: x = random.number(); break;
      case 1: x = last ? not_a_number : random.number(); break;
      case 2: x = k == 0 ? infinite : random.number(); break;
      case 3: x = last ? -infinite : 1.0f; break;
      case 4: x = 0.0f; break;
      case 5: x = k % 2 == 0 ? -0.0f : 0.0f; break;
      case 6: x = 2.5f; break;                            // one number
      case 7: x = -2.5f; break;
      case 8: x = k % 2 == 0 ? 3e38f : -3e38f; break;     // farther apart than float32 goes
      case 9: x = k % 2 == 0 ? 1.7e38f : -1.7e38f; break;
      case 10: x = 3e38f * random.number(); break;
      case 11: x = 0x1p-120f * random.number(); break;    // too near to each other
      case 12: x = k % 3 == 0 ? 0x1p-119f : k % 3 == 1 ? -0x1p-119f : 0x1p-120f; break;  // just far enough
      case 13: x = 0x1p-126f * random.number(); break;    // denormals
      case 14: x = 1e-44f * random.number(); break;
      case 15: x = k % 2 == 0 ? 1e-40f * random.number() : random.number(); break;
      case 16: x = std::floor(256.0f * random.number()) / 2.0f; break;  // halves: ties
      case 17: x = last ? -127.5f : k == 0 ? 127.5f : std::floor(255.0f * random.number()) / 2.0f; break;
      case 18: x = 1.0f + std::floor(512.0f * random.number()) * 0x1p-9f; break;  // ties of bfloat16
      case 19: x = -std::fabs(random.number()); break;
      case 20: x = std::fabs(random.number()); break;
      case 21: x = k == 0 ? 1e6f : random.number(); break;  // all but one are far smaller
      case 22: x = (k == 0 ? 190.0f : -100.0f) * 0x1p-149f; break;  // as weights: 190 / 127 of the smallest denormal is one of it
      case 23: x = last ? 0x1.fffffep127f : 1.0f; break;
      default: x = last ? 0x1.fffffcp-127f : 0x1.fep-127f; break;  // denormals that round to the smallest normal number
    }
  }
}
constexpr int special_kinds = 25;

/// That NaN is where the reference has it, and all else is the same, of huge sums too.
void check_rows(const Layer& layer, const Tensor& queries, const Tensor& values, const AttentionOptions& options) {
  Tensor output({1, values.view.sizes[1], layer.config.output_size});
  REQUIRE_OK(layer.forward(queries, queries, values, {}, output, options));
  CHECK_SAME_BITS(output, through_values(layer, values));
}

}  // namespace

TEST_CASE("low precision: rows of every kind, alone and beside others, stay what they are") {
  Pool two(2);
  for_each(exact, [&](Isa isa, const Precision& precision) {
    Random random(504);
    for (std::int64_t width : {1, 2, 5, 16, 17, 48, 67}) {
      for (bool bias : {false, true}) {
        CAPTURE(width);
        CAPTURE(bias);
        const Layer layer = value_layer(precision, width, 21, 19, isa, bias, random);
        Tensor values({1, special_kinds, width}), queries({1, special_kinds, 3});
        queries.fill(1.0f);
        for (int kind = 0; kind < special_kinds; ++kind) {
          CAPTURE(kind);
          fill_special(values, kind, kind, random);
          Tensor alone({1, 1, width}), query({1, 1, 3});
          query.fill(1.0f);
          fill_special(alone, 0, kind, random);
          check_rows(layer, query, alone, {});
        }
        check_rows(layer, queries, values, own_key_alone());
        check_rows(layer, queries, values, two.with(own_key_alone()));
      }
    }
  });
}

TEST_CASE("low precision: NaN and infinity of a row reach that row alone") {
  for_each(every, [](Isa isa, const Precision& precision) {
    Random random(505);
    const Layer layer = value_layer(precision, 37, 24, 18, isa, true, random);
    Tensor values({1, 19, 37}), queries({1, 19, 3}), expected({1, 19, 18}), output({1, 19, 18});
    values.fill(random);
    queries.fill(random);
    REQUIRE_OK(layer.forward(queries, queries, values, {}, expected, own_key_alone()));
    for (float bad : {not_a_number, infinite, -infinite}) {
      for (std::int64_t row : {0, 7, 8, 18}) {
        const float before = values.at(0, row, row);
        values.at(0, row, row) = bad;
        REQUIRE_OK(layer.forward(queries, queries, values, {}, output, own_key_alone()));
        values.at(0, row, row) = before;
        for (std::int64_t i = 0; i < 19; ++i) {
          for (std::int64_t n = 0; n < 18; ++n) {
            if (i == row) {
              CHECK(!std::isfinite(output.at(0, i, n)));
              if (precision.arithmetic == Arithmetic::int8 || std::isnan(bad)) CHECK(std::isnan(output.at(0, i, n)));
            } else {
              CHECK(output.at(0, i, n) == expected.at(0, i, n));
            }
          }
        }
      }
    }
  });
}

TEST_CASE("low precision: channels of every kind") {
  for_each(exact, [](Isa isa, const Precision& precision) {
    Random random(506);
    for (std::int64_t width : {1, 6, 33}) {
      CAPTURE(width);
      Tensor values({1, 5, width}), queries({1, 5, 3}), channel({1, 1, width});
      values.fill(random);
      queries.fill(1.0f);
      for (std::int64_t k = 0; k < width; ++k) {
        values.at(0, 1, k) = 0.0f;
        values.at(0, 2, k) *= 1e-30f;
        values.at(0, 3, k) *= 1e30f;
      }
      for (int kind = 0; kind < special_kinds; ++kind) {
        CAPTURE(kind);
        fill_special(channel, 0, kind, random);
        // Alone, so that what a channel of denormals gives is not too small to be seen; then beside others, with biases.
        for (std::int64_t hiddens : {1, 21}) {
          CAPTURE(hiddens);
          Layer layer = value_layer(precision, width, hiddens, 9, isa, hiddens > 1, random);
          for (std::int64_t k = 0; k < width; ++k) layer.tensors[2].at(hiddens / 2, k) = channel.at(0, 0, k);
          layer.make();
          check_rows(layer, queries, values, own_key_alone());
        }
      }
    }
  });
}

TEST_CASE("low precision: the scales of a row and a channel make a denormal") {
  for_each(int8_products, [](Isa isa, const Precision& precision) {
    Random random(507);
    for (float size : {0x1p-40f, 0x1p-60f, 0x1p-63f, 0x1p-66f, 0x1p-70f, 0x1p-76f, 0x1p-80f}) {
      CAPTURE(size);
      Layer layer = value_layer(precision, 19, 16, 16, isa, true, random);
      for (std::size_t n : {2u, 6u, 7u}) layer.tensors[n].fill(random, n == 2 ? size : 1e-40f);
      layer.tensors[3].fill(0.0f);
      for (std::int64_t n = 0; n < 16; ++n) layer.tensors[3].at(n, n) = 0x1p60f;
      layer.make();
      Tensor values({1, 4, 19}), queries({1, 4, 3});
      values.fill(random, size);
      queries.fill(1.0f);
      check_rows(layer, queries, values, own_key_alone());
    }
  });
}

TEST_CASE("low precision: sums of bfloat16 next to the smallest normal number") {
  for_each(bfloat16_products, [](Isa isa, const Precision& precision) {
    // What is added to 2^-126 takes it below, by less than half of a denormal: 2^-150, or 2^-151, which rounding makes up for.
    for (float w : {-0x1p-75f, -0x1p-76f, -0x1.8p-76f, -0x1.02p-76f, 0x1p-75f, -0x1p-60f, -0x1.8p-63f}) {
      if (w == -0x1p-76f && flushes_before_rounding()) continue;
      for (float sign : {1.0f, -1.0f}) {
        CAPTURE(w);
        CAPTURE(sign);
        Random random(508);
        Layer layer = value_layer(precision, 2, 1, 1, isa, false, random);
        layer.tensors[2].fill({w * sign, 0x1p-63f * sign});
        layer.tensors[3].fill({0x1p100f});
        layer.make();
        Tensor values({1, 1, 2}), query({1, 1, 3});
        values.fill({0x1p-75f, 0x1p-63f});
        query.fill(1.0f);
        check_rows(layer, query, values, {});
      }
    }
    // A negative sum that became a zero ends as 0, whatever follows it: a missing bias is 0.
    for (std::int64_t width = 1; width <= 9; ++width) {
      CAPTURE(width);
      Random random(524);
      Layer layer = value_layer(precision, 1, width, 3, isa, false, random);
      layer.tensors[2].fill(1.0f);
      layer.tensors[3].fill(-0x1p-10f);
      layer.make();
      Tensor values({1, 1, 1}), query({1, 1, 3});
      values.fill(0x1p-119f);
      query.fill(1.0f);
      check_rows(layer, query, values, {});
    }
    // Random sums all about there.
    Random random(509);
    for (int round = 0; round < share_of(20); ++round) {
      CAPTURE(round);
      Layer layer = value_layer(precision, 23, 17, 17, isa, round % 2 == 1, random);
      layer.tensors[2].fill(random, 0x1p-60f);
      layer.tensors[3].fill(0.0f);
      for (std::int64_t n = 0; n < 17; ++n) layer.tensors[3].at(n, n) = 0x1p100f;
      if (layer.config.bias) layer.tensors[6].fill(random, 0x1p-125f);
      layer.make();
      Tensor values({1, 6, 23}), queries({1, 6, 3});
      values.fill(random, random.one_of({0x1p-65f, 0x1p-67f, 0x1p-70f, 0x1p-85f}));
      queries.fill(1.0f);
      check_rows(layer, queries, values, own_key_alone());
    }
  });
}

TEST_CASE("low precision: weights of 16 bits give the bits of a float32 layer of rounded weights") {
  const Precision widened[] = {{WeightType::bfloat16, Arithmetic::float32}, {WeightType::float16, Arithmetic::float32}};
  Pool two(2);
  for_each(widened, [&](Isa isa, const Precision& precision) {
    Random random(510);
    for (int round = 0; round < share_of(60); ++round) {
      CAPTURE(round);
      const std::int64_t H = random.between(1, 4), D = random.between(1, 40), E = H * D, B = random.between(1, 3);
      const std::int64_t L = random.between(1, 20), S = random.between(1, 70);
      MultiHeadAttentionConfig config = Layer::square(E, H, isa, random.one_in(2));
      config.key_size = random.between(1, 60);
      config.query_size = random.between(1, 60);
      config.value_size = random.between(1, 60);
      if (random.one_in(2)) config.num_kv_heads = 1;
      Layer plain(config, random);
      for (std::size_t n = 0; n < 4; ++n) {  // weights from 2^-140 on, and to 2^16 and beyond
        for (std::int64_t k = 0; k < plain.tensors[n].count(); ++k) {
          if (random.one_in(10)) plain.tensors[n][k] *= std::exp2(-static_cast<float>(random.between(1, 140)));
        }
      }
      if (random.one_in(8)) plain.tensors[2][0] = random.one_of({65519.0f, 65520.0f, 3e38f, 0x1.fffffep127f, not_a_number, infinite, 0x1.fffffcp-127f});
      Layer rounded(in(precision, config), random);
      for (std::size_t n = 0; n < plain.tensors.size(); ++n) rounded.tensors[n].copy(plain.tensors[n]);
      rounded.make();
      for (std::size_t n = 0; n < 4; ++n) {
        Tensor& matrix = plain.tensors[n];
        for (std::int64_t k = 0; k < matrix.count(); ++k) {
          matrix[k] = precision.type == WeightType::bfloat16 ? reference::to_bfloat16(matrix[k]) : reference::to_float16(matrix[k]);
        }
      }
      plain.make();
      Tensor queries({B, L, config.query_size}, random), keys({B, S, config.key_size}, random), values({B, S, config.value_size}, random);
      queries.fill(random);
      keys.fill(random);
      values.fill(random);
      const Lengths lengths = Lengths::random(random, B, L, S);
      Tensor expected({B, L, E}), output({B, L, E});
      REQUIRE_OK(plain.forward(queries, keys, values, lengths.view, expected));
      REQUIRE_OK(rounded.forward(queries, keys, values, lengths.view, output));
      CHECK_SAME_BITS(output, expected);
      REQUIRE_OK(rounded.forward(queries, keys, values, lengths.view, output, two.with()));
      CHECK_SAME_BITS(output, expected);
    }
  });
}

TEST_CASE("low precision: weights of 8 bits under float32 rows are a chain over integers, scaled at the end") {
  for_each(integer_weights, [](Isa isa, const Precision& precision) {
    Random random(511);
    OperationOptions options;
    options.isa = isa;
    for (std::int64_t width : widths) {
      if (width > 100) continue;
      const std::int64_t rows = random.between(1, 20), outputs = random.between(1, 60);
      CAPTURE(text_of({rows, width, outputs}));
      const Layer layer = value_layer(precision, width, 20, outputs, isa, random.one_in(2), random);
      Tensor values({1, rows, width}), queries({1, rows, 3}), output({1, rows, outputs});
      values.fill(random);
      queries.fill(random);
      Workspace workspace;
      const auto scaled = [&](const ConstTensorView& x, std::size_t which) {
        const reference::StoredWeights stored = reference::store(layer.tensors[which].array(), WeightType::int8);
        const Tensor integers = tensor_of(stored.numbers);
        Tensor y({1, rows, integers.view.sizes[0]});
        REQUIRE_OK(matmul(x, integers.view, true, {}, y.view, workspace, options));
        for (std::int64_t i = 0; i < rows; ++i) {
          for (std::int64_t n = 0; n < y.view.sizes[2]; ++n) {
            const float bias = layer.config.bias ? layer.tensors[which + 4][n] : 0.0f;
            y.at(0, i, n) = std::fma(y.at(0, i, n), static_cast<float>(stored.scales.at(n)), bias);
          }
        }
        return y;
      };
      REQUIRE_OK(layer.forward(queries, queries, values, {}, output, own_key_alone()));
      CHECK_SAME_BITS(output, scaled(scaled(values.view, 2).view, 3));
    }
  });
}

namespace {

/// A random layer and call, with all that stands between projections and the core.
struct RandomCall {
  std::int64_t B, L, S, H, G, D;
  Tensor frequencies;
  MultiHeadAttentionConfig config;
  Lengths lengths;
  AttentionOptions options;
  bool self;  // queries, keys and values are one view

  RandomCall(Random& random, Isa isa, const Precision& precision) {
    B = random.between(1, 3);
    L = random.one_in(4) ? random.one_of<std::int64_t>({1, 16, 17, 33}) : random.between(1, 12);
    S = random.one_in(4) ? random.one_of<std::int64_t>({63, 64, 65, 128, 130}) : random.between(1, 40);
    H = random.one_of<std::int64_t>({1, 2, 3, 4, 6});
    G = random.one_in(2) ? H : 1;
    D = random.between(1, 40);
    self = random.one_in(3);
    if (self) S = L;
    config = in(precision, Layer::square(H * D, H, isa, random.one_in(2)));
    config.num_kv_heads = G;
    if (!self) {
      config.key_size = random.between(1, 60);
      config.query_size = random.between(1, 60);
      config.value_size = random.between(1, 60);
    }
    if (random.one_in(3)) config.output_size = random.between(1, 70);
    config.qk_norm = random.one_in(3);
    frequencies = Tensor({random.between(1, std::max<std::int64_t>(D / 2, 1))});
    frequencies.fill(random);
    if (D > 1 && random.one_in(3)) config.rotary.inverse_frequencies = frequencies.view;
    lengths = Lengths::random(random, B, L, S);
    options.causal = random.one_in(4);
    options.offset = options.causal ? S - L : 0;
  }

  reference::AttentionOptions for_reference() const {
    reference::AttentionOptions same;
    same.valid_lens = lengths.view;
    same.causal = options.causal;
    same.offset = options.offset;
    return same;
  }
};

/// The layer of exact products: projections of the reference, the core and all before it on the layer's ISA.
Tensor composed(const RandomCall& call, const Layer& layer, const Tensor& queries, const Tensor& keys, const Tensor& values) {
  Tensor rows[3] = {tensor_of(projected(layer, 0, queries.array())), tensor_of(projected(layer, 1, keys.array())),
                    tensor_of(projected(layer, 2, values.array()))};
  const std::int64_t heads[] = {call.H, call.G, call.G};
  TensorView split[3];
  Workspace workspace;
  OperationOptions options;
  options.isa = layer.config.isa;
  for (int side = 0; side < 3; ++side) {
    split[side] = rows[side].view.split(2, heads[side]).transposed(1, 2);
    if (side == 2) continue;
    if (layer.config.qk_norm) REQUIRE_OK(rms_norm(split[side], layer.norms[side].view, layer.config.norm_epsilon, split[side], options));
    if (layer.config.rotary.inverse_frequencies.absent()) continue;
    REQUIRE_OK(rotary_embedding(split[side], layer.config.rotary, {}, side == 0 ? call.options.offset : 0, split[side], workspace, options));
  }
  Tensor joined({call.B, call.L, call.H * call.D});
  AttentionOptions of_core = call.options;
  of_core.isa = layer.config.isa;
  REQUIRE_OK(attention(split[0], split[1], split[2], call.lengths.view, joined.view.split(2, call.H).transposed(1, 2), workspace, of_core));
  return tensor_of(projected(layer, 3, joined.array()));
}

}  // namespace

TEST_CASE("low precision: whole layers are exact projections around the core, whatever they ask for") {
  Pool two(2);
  for_each(exact, [&](Isa isa, const Precision& precision) {
    Random random(512);
    for (int round = 0; round < share_of(150); ++round) {
      CAPTURE(round);
      RandomCall call(random, isa, precision);
      CAPTURE(text_of({call.B, call.L, call.S, call.H, call.G, call.D}));
      const Layer layer(call.config, random, random.one_in(2) ? &random : nullptr);
      const bool strided = random.one_in(2);
      const auto tensor = [&](const Shape& shape) { return strided ? Tensor(shape, random) : Tensor(shape); };
      Tensor queries = tensor({call.B, call.L, call.config.query_size}), other_keys = tensor({call.B, call.S, call.config.key_size});
      Tensor other_values = tensor({call.B, call.S, call.config.value_size});
      queries.fill(random, random.one_of({1.0f, 3.0f}));
      other_keys.fill(random);
      other_values.fill(random);
      const Tensor &keys = call.self ? queries : other_keys, &values = call.self ? queries : other_values;
      Tensor output = tensor({call.B, call.L, call.config.output_size > 0 ? call.config.output_size : call.config.num_hiddens});
      const Tensor expected = composed(call, layer, queries, keys, values);
      REQUIRE_OK(layer.forward(queries, keys, values, call.lengths.view, output, call.options));
      CHECK_SAME_BITS(output, expected);
      CHECK(output.gaps_untouched());
      REQUIRE_OK(layer.forward(queries, keys, values, call.lengths.view, output, two.with(call.options)));
      CHECK_SAME_BITS(output, expected);
    }
  });
}

TEST_CASE("low precision: whole layers within the bounds of the reference") {
  for_each(every, [](Isa isa, const Precision& precision) {
    Random random(513);
    for (int round = 0; round < share_of(100); ++round) {
      CAPTURE(round);
      RandomCall call(random, isa, precision);
      CAPTURE(text_of({call.B, call.L, call.S, call.H, call.G, call.D}));
      const Layer layer(call.config, random);
      Tensor queries({call.B, call.L, call.config.query_size}), other_keys({call.B, call.S, call.config.key_size});
      Tensor other_values({call.B, call.S, call.config.value_size}), weights({call.B, call.H, call.L, call.S});
      queries.fill(random);
      other_keys.fill(random);
      other_values.fill(random);
      const Tensor &keys = call.self ? queries : other_keys, &values = call.self ? queries : other_values;
      Tensor output({call.B, call.L, call.config.output_size > 0 ? call.config.output_size : call.config.num_hiddens});
      AttentionOptions options = call.options;
      options.attention_weights = weights.view;
      REQUIRE_OK(layer.forward(queries, keys, values, call.lengths.view, output, options));
      reference::LayerWeights layer_weights = layer.reference_weights();
      layer_weights.pair_sum = reference::pair_sum_of(chosen_product->instructions);
      const Array q = queries.array(), k = keys.array(), v = values.array();
      const reference::LayerResult expected = reference::multi_head_attention(layer_weights, call.H, q, k, v, call.for_reference());
      const reference::LayerBounds bounds =
          reference::multi_head_attention_bounds(layer_weights, call.H, q, k, v, call.for_reference(), expected, Data::random);
      CHECK_CLOSE(output.view, expected.output, bounds.output);
      CHECK_CLOSE(weights.view, expected.attention.weights, bounds.weights);
    }
  });
}

TEST_CASE("low precision: near to the float32 layer") {
  for_each(every, [](Isa isa, const Precision& precision) {
    Random random(514), again(514);
    const Layer plain(Layer::square(96, 4, isa, true), random), low(in(precision, Layer::square(96, 4, isa, true)), again);
    Tensor x({2, 20, 96}), expected({2, 20, 96}), output({2, 20, 96});
    x.fill(random);
    REQUIRE_OK(plain.forward(x, x, x, {}, expected));
    REQUIRE_OK(low.forward(x, x, x, {}, output));
    double largest = 0.0, difference = 0.0;
    for (std::int64_t n = 0; n < output.count(); ++n) {
      largest = std::max(largest, std::fabs(static_cast<double>(expected[n])));
      difference = std::max(difference, std::fabs(static_cast<double>(expected[n]) - static_cast<double>(output[n])));
    }
    CHECK(difference > 0.0);
    CHECK(difference < (precision.type == WeightType::float16 ? 0.002 : precision.type == WeightType::int4 ? 0.1 : 0.03) * largest);
  });
}

TEST_CASE("low precision: rows past every length are not read") {
  for_each(every, [](Isa isa, const Precision& precision) {
    Random random(515);
    for (std::int64_t L : {1, 3, 20}) {
      CAPTURE(L);
      const std::int64_t B = 3, S = 45, E = 24;
      const Layer layer(in(precision, Layer::square(E, 2, isa, true)), random);
      Tensor queries({B, L, E}), keys({B, S, E}), values({B, S, E}), expected({B, L, E}), output({B, L, E});
      queries.fill(random);
      keys.fill(random);
      values.fill(random);
      const Lengths lengths({44, 1, 17}, B);
      REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, expected));
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t j = lengths.values[static_cast<std::size_t>(b)]; j < S; ++j) {
          for (std::int64_t k = 0; k < E; ++k) keys.at(b, j, k) = values.at(b, j, k) = not_a_number;
        }
      }
      REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, output));
      CHECK_SAME_BITS(output, expected);
      for (std::int64_t n = 0; n < output.count(); ++n) CHECK(std::isfinite(output[n]));
    }
  });
}

TEST_CASE("low precision: one view or three, a batch or its entries, strided or not, in a workspace of NaN: the same bits") {
  Pool two(2);
  for_each(every, [&](Isa isa, const Precision& precision) {
    Random random(516);
    for (std::int64_t L : {1, 2, 9, 40}) {
      CAPTURE(L);
      const std::int64_t B = 3, E = 36;
      const Layer layer(in(precision, Layer::square(E, 3, isa, true)), random);
      Tensor x({B, L, E}), expected({B, L, E}), output({B, L, E});
      x.fill(random);
      REQUIRE_OK(layer.forward(x, x, x, {}, expected));
      Tensor queries({B, L, E}, random), keys({B, L, E}, random), values({B, L, E}, random);
      for (Tensor* copy : {&queries, &keys, &values}) copy->copy(x);
      REQUIRE_OK(layer.forward(queries, keys, values, {}, output));
      CHECK_SAME_BITS(output, expected);
      REQUIRE_OK(layer.forward(x, keys, keys, {}, output, two.with()));
      CHECK_SAME_BITS(output, expected);
      REQUIRE_OK(layer.forward(x, x, values, {}, output));
      CHECK_SAME_BITS(output, expected);
      Tensor looped({B, L, E});
      Workspace own;
      for (std::int64_t b = 0; b < B; ++b) {
        const TensorView entry = part_of(x.view, 0, b, 1);
        REQUIRE_OK(layer.attention.forward(entry, entry, entry, {}, part_of(looped.view, 0, b, 1), own));
      }
      CHECK_SAME_BITS(looped, expected);
      for (int threads : {1, 2}) {
        CAPTURE(threads);
        const AttentionOptions options = threads == 2 ? two.with() : AttentionOptions();
        const std::size_t bytes = layer.attention.workspace_bytes({B, L, L}, options);
        std::vector<unsigned char> memory(bytes + 64, 0xff);
        unsigned char* const worst = memory.data() + (65 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;  // a byte past a line
        Workspace workspace(worst, bytes), less(worst, bytes - 1);
        Tensor untouched({B, L, E});
        if (threads == 1) {  // so little work is not shared, and then takes less
          CHECK(layer.attention.forward(x.view, x.view, x.view, {}, untouched.view, less, options).code() == StatusCode::out_of_memory);
          CHECK(untouched.untouched());
        }
        REQUIRE_OK(layer.attention.forward(x.view, x.view, x.view, {}, output.view, workspace, options));
        CHECK_SAME_BITS(output, expected);
      }
    }
  });
}

TEST_CASE("low precision: a layer over a cache, in chunks, gives the bits of one forward") {
  for_each(every, [](Isa isa, const Precision& precision) {
    Random random(517);
    const std::int64_t B = 2, T = 30, E = 40, H = 4, G = 2, D = 12;
    Tensor frequencies({5});
    frequencies.fill(random);
    MultiHeadAttentionConfig config = in(precision, Layer::square(E, H, isa, true));
    config.num_kv_heads = G;
    config.head_dim = D;
    config.qk_norm = true;
    config.rotary.inverse_frequencies = frequencies.view;
    const Layer layer(config, random);
    Tensor x({B, T, E}), expected({B, T, E}), output({B, T, E});
    x.fill(random);
    AttentionOptions causal;
    causal.causal = true;
    REQUIRE_OK(layer.forward(x, x, x, {}, expected, causal));
    for (std::int64_t rows : {30, 2, 7}) {
      CAPTURE(rows);
      KeyValueCacheConfig of_cache;
      of_cache.batch = B;
      of_cache.num_kv_heads = G;
      of_cache.head_dim = D;
      of_cache.capacity = T;
      KeyValueCache cache;
      REQUIRE_OK(KeyValueCache::make(of_cache, &cache));
      Workspace workspace;
      for (std::int64_t first = 0; first < T; first += rows) {
        const std::int64_t count = std::min(rows, T - first);
        const TensorView part = part_of(x.view, 1, first, count);
        REQUIRE_OK(layer.attention.forward_cached(part, part, part, {}, &cache, part_of(output.view, 1, first, count), workspace, causal));
      }
      CHECK_SAME_BITS(output, expected);
      // Projected first, then attended to.
      cache.clear();
      REQUIRE_OK(layer.attention.project(x.view, x.view, {}, &cache, workspace));
      REQUIRE_OK(layer.attention.forward_cached(x.view, {}, {}, {}, &cache, output.view, workspace, causal));
      CHECK_SAME_BITS(output, expected);
    }
  });
}

TEST_CASE("low precision: rows of 65,536 elements are the widest of int8") {
  for_each(int8_products, [](Isa isa, const Precision& precision) {
    Random random(518);
    Layer layer = value_layer(precision, 65536, 3, 2, isa, false, random);
    Tensor values({2, 1, 65536}), queries({2, 1, 3}), output({2, 1, 2});
    queries.fill(1.0f);
    values.fill(random);
    for (std::int64_t k = 0; k < 65536; ++k) {  // the largest sums that there are
      layer.tensors[2].at(0, k) = 1.0f;
      layer.tensors[2].at(1, k) = -1.0f;
      values.at(0, 0, k) = 1.0f;
    }
    layer.make();
    REQUIRE_OK(layer.forward(queries, queries, values, {}, output));
    CHECK_SAME_BITS(output, through_values(layer, values));
    values.fill(-1.0f);
    REQUIRE_OK(layer.forward(queries, queries, values, {}, output));
    CHECK_SAME_BITS(output, through_values(layer, values));
  });
}

TEST_CASE("low precision: the caller's flushing of denormals changes no bits") {
  Pool two(2);
  for_each(every, [&](Isa isa, const Precision& precision) {
    Random random(519);
    Layer layer = value_layer(precision, 33, 24, 20, isa, true, random);
    for (std::size_t n : {2u, 6u}) {
      for (std::int64_t k = 0; k < layer.tensors[n].count(); ++k) layer.tensors[n][k] *= k % 3 == 0 ? 1e-39f : 1e-20f;
    }
    for (std::int64_t k = 0; k < layer.tensors[3].count(); ++k) layer.tensors[3][k] *= 1e30f;
    layer.make();
    Tensor values({1, special_kinds, 33}), queries({1, special_kinds, 3}), expected({1, special_kinds, 20}), output({1, special_kinds, 20});
    queries.fill(1.0f);
    for (int kind = 0; kind < special_kinds; ++kind) fill_special(values, kind, kind, random);
    REQUIRE_OK(layer.forward(queries, queries, values, {}, expected, own_key_alone()));
    MultiHeadAttention made;
    {
      const FlushDenormals flush;
      REQUIRE_OK(MultiHeadAttention::make(layer.config, layer.weights, &made));
      Workspace workspace;
      for (const AttentionOptions& options : {own_key_alone(), two.with(own_key_alone())}) {
        REQUIRE_OK(made.forward(queries.view, queries.view, values.view, {}, output.view, workspace, options));
        CHECK_SAME_BITS(output, expected);
      }
      CHECK(FlushDenormals::active());
    }
    // And when bfloat16's own flushing has ended, denormals are there as before.
    const volatile float small = 0x1p-126f;
    CHECK(small / 2.0f > 0.0f);
  });
}

TEST_CASE("low precision: packed weights take as many bits fewer, in the caller's memory too") {
  for_each(every, [](Isa isa, const Precision& precision) {
    const std::size_t floats = MultiHeadAttention::packed_bytes(Layer::square(768, 12, isa, true));
    const std::size_t bytes = MultiHeadAttention::packed_bytes(in(precision, Layer::square(768, 12, isa, true)));
    // Of int4 half a byte, and of each group a scale and 16 bits.
    const double group = precision.group == 0 ? 32.0 : precision.group;
    const double share = precision.type == WeightType::int4 ? (0.5 + 6.0 / group) / 4.0 : precision.type == WeightType::int8 ? 0.25 : 0.5;
    CHECK(static_cast<double>(bytes) < (share + 0.01) * static_cast<double>(floats));
    CHECK(static_cast<double>(bytes) > share * static_cast<double>(floats));

    Random random(520);
    for (int round = 0; round < share_of(10); ++round) {
      const std::int64_t width = random.between(1, 60), hiddens = random.between(1, 60), outputs = random.between(1, 60);
      CAPTURE(text_of({width, hiddens, outputs}));
      const Layer layer = value_layer(precision, width, hiddens, outputs, isa, random.one_in(2), random);
      Tensor values({1, 5, width}), queries({1, 5, 3}), expected({1, 5, outputs}), output({1, 5, outputs});
      values.fill(random);
      queries.fill(random);
      REQUIRE_OK(layer.forward(queries, queries, values, {}, expected));
      const std::size_t needed = MultiHeadAttention::packed_bytes(layer.config);
      for (std::size_t offset : {0, 1, 63}) {
        CAPTURE(offset);
        std::vector<unsigned char> memory(needed + 128, 0xff);
        unsigned char* const start = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64 + offset;
        MultiHeadAttention attention;
        const Status less = MultiHeadAttention::make(layer.config, layer.weights, &attention, start, needed - 1);
        CHECK(less.code() == StatusCode::out_of_memory);
        CHECK(std::count(memory.begin(), memory.end(), 0xff) == static_cast<std::ptrdiff_t>(memory.size()));
        REQUIRE_OK(MultiHeadAttention::make(layer.config, layer.weights, &attention, start, needed));
        const auto beside = std::count(memory.data(), start, 0xff) + std::count(start + needed, memory.data() + memory.size(), 0xff);
        CHECK(beside == static_cast<std::ptrdiff_t>(memory.size() - needed));
        Workspace workspace;
        REQUIRE_OK(attention.forward(queries.view, queries.view, values.view, {}, output.view, workspace));
        CHECK_SAME_BITS(output, expected);
      }
    }
  });
}

TEST_CASE("low precision: random weights are the same everywhere, and a layer says what it was made from") {
  for (const Precision& precision : exact) {
    CAPTURE(name_of_precision(precision));
    Tensor x({4, 1, 48}), queries({4, 1, 48}), expected({4, 1, 48}), output({4, 1, 48});
    Random random(521);
    x.fill(random);
    queries.fill(0.0f);  // scores of 0
    const auto pair_sum = [&](Isa isa) { return reference::pair_sum_of(product_instructions(precision.type, precision.arithmetic, isa)); };
    const Isa first = usable_isas().front();
    for (Isa isa : usable_isas()) {
      CAPTURE(name_of(isa));
      MultiHeadAttention layer;
      REQUIRE_OK(MultiHeadAttention::make_random(in(precision, Layer::square(48, 4, isa)), 7, &layer));
      CHECK(layer.config().weight_type == precision.type);
      CHECK(layer.config().arithmetic == precision.arithmetic);
      CHECK(layer.config().low_precision == precision.products);
      CHECK(layer.config().weight_group == precision.group);
      Workspace workspace;
      REQUIRE_OK(layer.forward(queries.view, x.view, x.view, {}, isa == first ? expected.view : output.view, workspace));
      if (isa != first && pair_sum(isa) == pair_sum(first)) CHECK_SAME_BITS(output, expected);
    }
  }
}

TEST_CASE("low precision: float32 needs none of it, and may be given it") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(522);
    Layer layer(Layer::square(24, 2, isa, true), random);
    Tensor x({2, 9, 24}), expected({2, 9, 24}), output({2, 9, 24});
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, expected));
    CHECK(MultiHeadAttention::packed_bytes(in({WeightType::float32, Arithmetic::float32}, layer.config)) == MultiHeadAttention::packed_bytes(layer.config));
    layer.config.low_precision = low_precision();
    layer.make();
    REQUIRE_OK(layer.forward(x, x, x, {}, output));
    CHECK_SAME_BITS(output, expected);
  }
}

TEST_CASE("low precision: the instructions of a product have a name where there are some") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (WeightType type : {WeightType::float32, WeightType::bfloat16, WeightType::float16, WeightType::int8}) {
      for (Arithmetic arithmetic : {Arithmetic::bfloat16, Arithmetic::int8}) {
        const bool takes = (type == WeightType::int8 && arithmetic == Arithmetic::int8) ||
                           (type == WeightType::bfloat16 && arithmetic == Arithmetic::bfloat16);
        CHECK((product_instructions(type, arithmetic, isa) != nullptr) == takes);
      }
    }
    for (WeightType type : {WeightType::bfloat16, WeightType::int8}) CHECK(product_instructions(type, Arithmetic::float32, isa) != nullptr);
    CHECK(product_instructions(static_cast<WeightType>(5), Arithmetic::float32, isa) == nullptr);
    CHECK(product_instructions(WeightType::int4, Arithmetic::float32, isa) == nullptr);  // its own function says
    CHECK((int4_instructions(Arithmetic::int8, isa) == nullptr) == (low_precision_int4()->find(WeightType::int4, Arithmetic::int8, isa) == nullptr));
    CHECK(int4_instructions(Arithmetic::bfloat16, isa) == nullptr);
    CHECK(product_instructions(WeightType::int8, static_cast<Arithmetic>(3), isa) == nullptr);
  }
  for (const IsaEntry& entry : isas) {
    if (isa_usable(entry.isa)) continue;
    for (const Precision& precision : every) CHECK(product_instructions(precision.type, precision.arithmetic, entry.isa) == nullptr);
  }
  CHECK(product_instructions(WeightType::int8, Arithmetic::int8, static_cast<Isa>(99)) == nullptr);
  for (const Precision& precision : exact) {
    CHECK(product_instructions(precision.type, precision.arithmetic) == product_instructions(precision.type, precision.arithmetic, best_isa()));
  }
}

TEST_CASE("errors: precisions that there are not, or that do not go together") {
  Random random(523);
  const Layer good(Layer::square(12, 3, Isa::best), random);
  const auto refuse = [&](const MultiHeadAttentionConfig& config, const std::string& message) {
    MultiHeadAttention attention;
    for (const Status& status : {MultiHeadAttention::make(config, good.weights, &attention), MultiHeadAttention::make_random(config, 1, &attention)}) {
      CHECK(status.code() == StatusCode::invalid_argument);
      CHECK(std::string(status.message()) == message);
    }
    CHECK(attention.isa() == Isa::best);
    CHECK(MultiHeadAttention::packed_bytes(config) == 0);
  };
  const char* const types[] = {"float32", "bfloat16", "float16", "int8"};
  for (int type = 1; type < 4; ++type) {
    MultiHeadAttentionConfig config = good.config;
    config.weight_type = static_cast<WeightType>(type);
    refuse(config, "low_precision: null, but weight_type is " + std::string(types[type]) + ": expected low_precision(), which links its kernels");
  }
  for (int type = 0; type < 4; ++type) {
    for (Arithmetic arithmetic : {Arithmetic::bfloat16, Arithmetic::int8}) {
      const std::string own = arithmetic == Arithmetic::int8 ? "int8" : "bfloat16";
      if (types[type] == own) continue;
      refuse(in({static_cast<WeightType>(type), arithmetic}, good.config),
             "arithmetic: " + own + " takes weights of " + (own == "int8" ? "int8 or int4" : own) + ", but weight_type is " + types[type]);
    }
  }
  for (int wrong : {5, -1, 99}) {
    refuse(in({static_cast<WeightType>(wrong), Arithmetic::float32}, good.config), "weight_type: " + std::to_string(wrong) + " is none that there is");
  }
  for (int wrong : {3, -1, 99}) {
    refuse(in({WeightType::int8, static_cast<Arithmetic>(wrong)}, good.config), "arithmetic: " + std::to_string(wrong) + " is none that there is");
  }
  const std::string too_wide = "arithmetic: int8 takes rows of at most 65536, but one is 65537 wide";
  for (std::int64_t MultiHeadAttentionConfig::*size :
       {&MultiHeadAttentionConfig::query_size, &MultiHeadAttentionConfig::key_size, &MultiHeadAttentionConfig::value_size}) {
    MultiHeadAttentionConfig config = in(exact[0], good.config);
    config.*size = 65537;
    refuse(config, too_wide);
    config.*size = 65536;
    CHECK(MultiHeadAttention::packed_bytes(config) > 0);
    config.*size = 65537;
    for (const Precision& precision : {every[1], every[4]}) CHECK(MultiHeadAttention::packed_bytes(in(precision, config)) > 0);
  }
  MultiHeadAttentionConfig config = in(exact[0], good.config);  // the heads together
  config.num_heads = 128;
  config.head_dim = 513;
  refuse(config, "arithmetic: int8 takes rows of at most 65536, but one is 65664 wide");
  config.head_dim = 512;
  CHECK(MultiHeadAttention::packed_bytes(config) > 0);
}
