// What the tests of the engine share: random views with strides, canaries, layers and their references.
#pragma once

#include <doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../tools/checks/random.h"
#include "../tools/checks/tensor.h"
#include "attend/attend.hpp"
#include "base/isas.h"
#include "reference/reference.h"

namespace engine_test {

using namespace attend;
using checks::Random;
using checks::Tensor;
using checks::part_of;
using reference::Shape;

inline constexpr double u = reference::unit_roundoff;
inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
inline constexpr float infinite = std::numeric_limits<float>::infinity();

inline std::vector<Isa> usable_isas() {
  std::vector<Isa> usable;
  for (const IsaEntry& entry : isas) {
    if (isa_usable(entry.isa)) usable.push_back(entry.isa);
  }
  return usable;
}

/// The same options on that ISA.
inline AttentionOptions on(Isa isa, AttentionOptions options = {}) {
  options.isa = isa;
  return options;
}

inline std::string name_of(Isa isa) { return isa_name(isa); }

/// How many random shapes to take instead of `count`: emulators set ATTEND_TEST_SHARE=N for 1 / N of them.
inline int share_of(int count) {
  const char* share = std::getenv("ATTEND_TEST_SHARE");
  const int divisor = share ? std::atoi(share) : 1;
  return divisor > 1 ? (count + divisor - 1) / divisor : count;
}

/// Valid lengths, (B,), (B, L) or none.
struct Lengths {
  std::vector<std::int64_t> values;
  LengthsView view;

  Lengths() = default;
  Lengths(std::vector<std::int64_t> numbers, std::int64_t batch) : values(std::move(numbers)) {
    view = LengthsView(values.data(), batch);
  }
  Lengths(std::vector<std::int64_t> numbers, std::int64_t batch, std::int64_t queries) : values(std::move(numbers)) {
    view = LengthsView(values.data(), batch, queries);
  }
  Lengths(Lengths&&) = default;
  Lengths& operator=(Lengths&&) = default;

  /// Of any of the three forms; lengths from 0 to a bit more than S, often at the ends.
  static Lengths random(Random& random, std::int64_t B, std::int64_t L, std::int64_t S) {
    const auto draw = [&](std::int64_t count) {
      std::vector<std::int64_t> drawn(static_cast<std::size_t>(count));
      for (std::int64_t& length : drawn) {
        length = random.one_in(4) ? random.one_of<std::int64_t>({0, 1, S, S + 3, INT64_MAX}) : random.between(0, S);
      }
      return drawn;
    };
    switch (random.between(0, 2)) {
      case 0: return Lengths();
      case 1: return Lengths(draw(B), B);
      default: return Lengths(draw(B * L), B, L);
    }
  }
};

/// The first element whose bits differ (NaN equals NaN), or -1.
inline std::int64_t first_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.count() == b.count());
  for (std::int64_t n = 0; n < a.count(); ++n) {
    const float x = a[n], y = b[n];
    if (std::memcmp(&x, &y, sizeof x) != 0 && !(std::isnan(x) && std::isnan(y))) return n;
  }
  return -1;
}
#define CHECK_SAME_BITS(a, b) CHECK(engine_test::first_difference(a, b) == -1)

#define REQUIRE_OK(call)                       \
  do {                                         \
    const attend::Status status_of_ = (call);  \
    REQUIRE_MESSAGE(status_of_.ok(), std::string(status_of_.message())); \
  } while (false)

#define CHECK_CLOSE(actual, expected, tolerance)                                                    \
  do {                                                                                              \
    const attend::reference::Comparison compared_ = attend::reference::compare(actual, expected, tolerance); \
    CHECK_MESSAGE(compared_.ok, #actual ": " << compared_.message);                                 \
  } while (false)

inline std::string text_of(const Shape& shape) {
  std::string text;
  for (std::int64_t size : shape) text += (text.empty() ? "" : " ") + std::to_string(size);
  return text;
}

/// A layer with random weights, and the same for the reference.
struct Layer {
  MultiHeadAttentionConfig config;
  std::vector<Tensor> tensors;  // query, key, value, output, then their biases
  Tensor norms[2] = {Tensor({1}), Tensor({1})};  // of queries and keys, where the config has qk_norm
  MultiHeadAttentionWeights weights;
  MultiHeadAttention attention;

  explicit Layer(const MultiHeadAttentionConfig& wanted, Random& random, Random* layout = nullptr) : config(wanted) {
    const std::int64_t D = config.head_dim > 0 ? config.head_dim : config.num_hiddens / config.num_heads;
    const std::int64_t wide = config.num_heads * D, narrow = config.num_kv_heads > 0 ? config.num_kv_heads * D : wide;
    const std::int64_t outputs = config.output_size > 0 ? config.output_size : config.num_hiddens;
    const Shape shapes[] = {{wide, config.query_size}, {narrow, config.key_size}, {narrow, config.value_size}, {outputs, wide}};
    for (const Shape& shape : shapes) {
      add(shape, layout);
      tensors.back().fill(random, static_cast<float>(std::sqrt(6.0 / static_cast<double>(shape[0] + shape[1]))));
    }
    for (int bias = 0; bias < 4 && config.bias; ++bias) {
      add({shapes[bias][0]}, layout);
      tensors.back().fill(random);
    }
    for (Tensor& norm : norms) norm = Tensor({D});
    for (Tensor& norm : norms) norm.fill(random);
    make();
  }

  /// Square, with identity matrices: what comes in are the heads themselves.
  static Layer identity(std::int64_t num_hiddens, std::int64_t num_heads, Isa isa) {
    Random random(1);
    Layer layer(square(num_hiddens, num_heads, isa), random);
    for (Tensor& tensor : layer.tensors) {
      tensor.fill(0.0f);
      for (std::int64_t n = 0; n < num_hiddens; ++n) tensor.at(n, n) = 1.0f;
    }
    layer.make();
    return layer;
  }

  static MultiHeadAttentionConfig square(std::int64_t num_hiddens, std::int64_t num_heads, Isa isa, bool bias = false) {
    MultiHeadAttentionConfig config;
    config.key_size = config.query_size = config.value_size = config.num_hiddens = num_hiddens;
    config.num_heads = num_heads;
    config.bias = bias;
    config.isa = isa;
    return config;
  }

  void make() {
    ConstTensorView* const views[] = {&weights.query,      &weights.key,      &weights.value,      &weights.output,
                                      &weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
    for (std::size_t n = 0; n < tensors.size(); ++n) *views[n] = tensors[n].view;
    if (config.qk_norm && config.norm_queries) weights.query_norm = norms[0].view;
    if (config.qk_norm && config.norm_keys) weights.key_norm = norms[1].view;
    REQUIRE_OK(MultiHeadAttention::make(config, weights, &attention));
  }

  reference::LayerWeights reference_weights() const { return reference::LayerWeights(config, weights); }

  Status forward(const Tensor& queries, const Tensor& keys, const Tensor& values, const LengthsView& valid_lens,
                 Tensor& output, const AttentionOptions& options = {}) const {
    Workspace workspace;
    return attention.forward(queries.view, keys.view, values.view, valid_lens, output.view, workspace, options);
  }

 private:
  void add(const Shape& shape, Random* layout) { tensors.push_back(layout ? Tensor(shape, *layout) : Tensor(shape)); }
};

}  // namespace engine_test
