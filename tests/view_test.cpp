// Views of other shapes of the same memory, and what a config derives.
#include <doctest.h>

#include <cstdint>
#include <vector>

#include "attend/attend.hpp"
#include "engine_test.h"

using namespace attend;
using namespace engine_test;

namespace {

using Numbers = std::vector<std::int64_t>;

Numbers sizes_of(const ConstTensorView& view) { return Numbers(view.sizes, view.sizes + view.rank); }
Numbers strides_of(const ConstTensorView& view) { return Numbers(view.strides, view.strides + view.rank); }

}  // namespace

TEST_CASE("views: strided, slice, transposed, split") {
  std::vector<float> memory(2 * 5 * 3 * 8);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i);
  const ConstTensorView fused(memory.data(), 2, 5, 24);  // (B, L, 3 E), E = 8 in 2 heads of 4
  const ConstTensorView keys = fused.slice(2, 8, 8);
  CHECK(keys.data == memory.data() + 8);
  CHECK(sizes_of(keys) == Numbers{2, 5, 8});
  CHECK(strides_of(keys) == Numbers{120, 24, 1});
  const ConstTensorView heads = keys.split(2, 2).transposed(1, 2);
  CHECK(sizes_of(heads) == Numbers{2, 2, 5, 4});
  CHECK(strides_of(heads) == Numbers{120, 4, 24, 1});
  CHECK(reference::Array(heads).values[static_cast<std::size_t>(((1 * 2 + 1) * 5 + 3) * 4 + 2)] == memory[1 * 120 + 3 * 24 + 8 + 4 + 2]);
  const ConstTensorView same = ConstTensorView::strided(memory.data() + 8, {2, 2, 5, 4}, {120, 4, 24, 1});
  CHECK(same.data == heads.data);
  CHECK(sizes_of(same) == sizes_of(heads));
  CHECK(strides_of(same) == strides_of(heads));
  CHECK(sizes_of(fused.slice(1, 5, 0)) == Numbers{2, 0, 24});
  CHECK(sizes_of(fused.slice(0, 1, 1).split(0, 1)) == Numbers{1, 1, 5, 24});
  CHECK(sizes_of(fused.transposed(1, 1)) == sizes_of(fused));

  // What is not there is refused by the call, not read.
  for (const ConstTensorView& none :
       {fused.slice(3, 0, 1), fused.slice(-1, 0, 1), fused.slice(1, 0, 6), fused.slice(1, -1, 1), fused.slice(1, 6, 0), fused.slice(1, 2, INT64_MAX),
        fused.slice(1, 0, -1), fused.transposed(0, 3), fused.transposed(-1, 0), fused.split(2, 5), fused.split(2, 0), fused.split(3, 1),
        heads.split(0, 1), fused.slice(1, 0, 6).slice(0, 0, 1)}) {
    CHECK(none.rank == -1);
    Tensor output({2, 5, 24});
    Workspace workspace;
    CHECK_FALSE(matmul(none, fused, true, {}, output.view, workspace).ok());
    CHECK(output.untouched());
  }
  const ConstTensorView absent;
  CHECK(absent.slice(0, 0, 1).absent());
  CHECK(absent.transposed(0, 1).absent());
  CHECK(absent.split(0, 1).absent());
  static_assert(TensorView(nullptr, 2, 6).split(1, 3).sizes[2] == 2, "in constant expressions too");
}

TEST_CASE("configs: what is 0 is derived, and biases are those that are given") {
  Random random(7);
  for (const Isa isa : usable_isas()) {
    const Layer layer(Layer::square(12, 3, isa, true), random);
    MultiHeadAttentionConfig config;
    config.num_hiddens = 12;
    config.num_heads = 3;
    config.isa = isa;
    MultiHeadAttention derived;
    REQUIRE_OK(MultiHeadAttention::make(config, layer.weights, &derived));
    CHECK(derived.config().query_size == 12);
    CHECK(derived.config().key_size == 12);
    CHECK(derived.config().value_size == 12);
    CHECK(derived.config().bias);
    CHECK(MultiHeadAttention::packed_bytes(config) == MultiHeadAttention::packed_bytes(layer.config));
    Tensor x({2, 4, 12}), expected({2, 4, 12}), output({2, 4, 12});
    x.fill(random);
    Workspace workspace;
    REQUIRE_OK(layer.attention.forward(x.view, x.view, x.view, {}, expected.view, workspace));
    REQUIRE_OK(derived.forward(x.view, x.view, x.view, {}, output.view, workspace));
    CHECK_SAME_BITS(output, expected);

    // One of four: as if the others were 0.
    MultiHeadAttentionWeights one = layer.weights, zeros = layer.weights;
    const Tensor zero = [] { Tensor tensor({12}); tensor.fill(0.0f); return tensor; }();
    one.query_bias = one.key_bias = one.output_bias = {};
    zeros.query_bias = zeros.key_bias = zeros.output_bias = zero.view;
    REQUIRE_OK(MultiHeadAttention::make(config, one, &derived));
    REQUIRE_OK(derived.forward(x.view, x.view, x.view, {}, output.view, workspace));
    MultiHeadAttention all;
    REQUIRE_OK(MultiHeadAttention::make(config, zeros, &all));
    REQUIRE_OK(all.forward(x.view, x.view, x.view, {}, expected.view, workspace));
    CHECK_SAME_BITS(output, expected);
  }
  // Keys and values are as wide as queries, where nothing else is said.
  MultiHeadAttentionConfig config;
  config.num_hiddens = 8;
  config.num_heads = 2;
  config.query_size = 5;
  config.value_size = 6;
  MultiHeadAttention attention;
  REQUIRE_OK(MultiHeadAttention::make_random(config, 1, &attention));
  CHECK(attention.config().key_size == 5);
  CHECK(attention.config().value_size == 6);
  CHECK_FALSE(attention.config().bias);
}
