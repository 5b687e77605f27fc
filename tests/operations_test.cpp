// Tests of the seed's functions as public operations, against literals and the reference.

#include "engine_test.h"

using namespace engine_test;
using reference::Array;
using reference::Data;

namespace {

OperationOptions options_of(Isa isa) {
  OperationOptions options;
  options.isa = isa;
  return options;
}

// Makes one axis of an input repeat its first element: stride 0.
void repeat_axis(Tensor& tensor, int axis) {
  tensor.view.strides[axis] = 0;
}

DotProductAttention make_dot_product(Isa isa, float dropout = 0.0f) {
  DotProductAttention attention;
  REQUIRE_OK(DotProductAttention::make(dropout, &attention, isa));
  return attention;
}

const std::initializer_list<std::int64_t> widths = {1,  2,  3,  4,  5,   7,   8,   9,   12,  15,  16,  17,  20,  24,  31,  32, 33,
                                                    40, 47, 48, 49, 63,  64,  65,  80,  96,  97,  100, 127, 128, 129, 160, 200,
                                                    255, 256, 257, 320, 383, 384, 385, 511, 512, 513, 560, 575, 576};
const std::initializer_list<std::int64_t> key_counts = {1,  2,  3,  6,  7,   8,   9,   15,  16,  17,  31,  63,  64,
                                                        65, 95, 96, 97, 127, 128, 129, 191, 192, 193, 255, 257, 300, 515, 640};
const std::initializer_list<std::int64_t> query_counts = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 37, 64, 65, 100};

}  // namespace

TEST_CASE("matmul: literals") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    Tensor a({2, 3}), b({3, 2}), bias({2}), output({2, 2});
    a.fill({1, 2, 3, 4, 5, 6});
    b.fill({1, -1, 0.5f, 2, 0, 1});
    bias.fill({10, 20});
    REQUIRE_OK(matmul(a.view, b.view, false, bias.view, output.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(output, Tensor({2, 2}).fill({12, 26, 16.5f, 32}));

    // The same b, as (N, K).
    Tensor transposed({2, 3});
    transposed.fill({1, 0.5f, 0, -1, 2, 1});
    REQUIRE_OK(matmul(a.view, transposed.view, true, {}, output.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(output, Tensor({2, 2}).fill({2, 6, 6.5f, 12}));
  }
}

TEST_CASE("matmul: random shapes, layouts and forms") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(11);
    Workspace workspace;
    for (int round = 0; round < share_of(400); ++round) {
      CAPTURE(round);
      const std::int64_t B = random.between(1, 3), L = random.between(1, 40), N = random.between(1, 100);
      const std::int64_t K = random.one_in(20) ? random.between(900, 1200) : random.between(0, 70);
      const bool batched = random.one_in(2), batched_b = batched && random.one_in(2), transposed = random.one_in(2);
      const Shape b_shape = transposed ? Shape{N, K} : Shape{K, N};
      Tensor a(batched ? Shape{B, L, K} : Shape{L, K}, random);
      Tensor b(batched_b ? Shape{B, b_shape[0], b_shape[1]} : b_shape, random);
      Tensor bias({N}, random), output(batched ? Shape{B, L, N} : Shape{L, N}, random);
      a.fill(random);
      b.fill(random);
      bias.fill(random);
      Data data = Data::random;
      if (K > 0 && random.one_in(8)) {
        repeat_axis(a, static_cast<int>(random.between(0, a.view.rank - 1)));
        data = Data::structured;
      }
      if (K > 0 && random.one_in(8)) {
        repeat_axis(b, static_cast<int>(random.between(0, b.view.rank - 1)));
        data = Data::structured;
      }
      const bool biased = random.one_in(2);
      const ConstTensorView bias_view = biased ? ConstTensorView(bias.view) : ConstTensorView();
      CAPTURE(text_of(a.shape()));
      CAPTURE(text_of(b.shape()));
      CAPTURE(transposed);
      REQUIRE_OK(matmul(a.view, b.view, transposed, bias_view, output.view, workspace, options_of(isa)));
      CHECK_CLOSE(output.view, reference::matmul(a.view, b.view, transposed, bias_view),
                  reference::matmul_bounds(a.view, b.view, transposed, bias_view, data));
      CHECK(output.gaps_untouched());
    }
  }
}

TEST_CASE("matmul: a product of no terms is the bias") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    Tensor a({2, 0}), b({0, 3}), bias({3}), output({2, 3});
    bias.fill({1, -2, 3});
    REQUIRE_OK(matmul(a.view, b.view, false, bias.view, output.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(output, Tensor({2, 3}).fill({1, -2, 3, 1, -2, 3}));
    REQUIRE_OK(matmul(a.view, b.view, false, {}, output.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(output, Tensor({2, 3}).fill(0.0f));
  }
}

TEST_CASE("operations: nothing to do") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    const Tensor empty({0, 3});
    const Tensor some({3, 2});
    Tensor output({0, 2});
    REQUIRE_OK(matmul(ConstTensorView(nullptr, 0, 3), some.view, false, {}, TensorView(nullptr, 0, 2), workspace, options_of(isa)));
    REQUIRE_OK(matmul(some.view, ConstTensorView(nullptr, 2, 0), false, {}, TensorView(nullptr, 3, 0), workspace, options_of(isa)));
    const Lengths none({}, 0);
    REQUIRE_OK(sequence_mask(empty.view, none.view, 0.0f, Tensor({0, 3}).view, options_of(isa)));
    for (const Shape& shape : {Shape{0, 2, 3}, Shape{2, 0, 3}, Shape{2, 3, 0}}) {
      CAPTURE(text_of(shape));
      Tensor input(shape), result(shape);
      REQUIRE_OK(masked_softmax(input.view, {}, result.view, options_of(isa)));
      REQUIRE_OK(transpose_qkv(input.view, 1, result.view, options_of(isa)));
      REQUIRE_OK(transpose_output(input.view, 1, result.view, options_of(isa)));
      CHECK(result.untouched());
    }
    const DotProductAttention attention = make_dot_product(isa);
    REQUIRE_OK(attention.forward(ConstTensorView(nullptr, 0, 2, 4), ConstTensorView(nullptr, 0, 3, 4), ConstTensorView(nullptr, 0, 3, 5),
                                 {}, TensorView(nullptr, 0, 2, 5), workspace));
    REQUIRE_OK(attention.forward(ConstTensorView(nullptr, 2, 0, 4), Tensor({2, 3, 4}).view, Tensor({2, 3, 5}).view, {},
                                 TensorView(nullptr, 2, 0, 5), workspace));
    // No keys: no row sees any, and there is nothing to be uniform over.
    Tensor queries({2, 3, 4}), result({2, 3, 5});
    queries.fill(1.0f);
    AttentionOptions options;
    options.attention_weights = TensorView(nullptr, 2, 3, 0);
    REQUIRE_OK(attention.forward(queries.view, ConstTensorView(nullptr, 2, 0, 4), ConstTensorView(nullptr, 2, 0, 5), {}, result.view,
                                 workspace, options));
    CHECK_SAME_BITS(result, Tensor({2, 3, 5}).fill(0.0f));
  }
}

TEST_CASE("sequence_mask: literals") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Tensor x({2, 3}), output({2, 3});
    x.fill({1, 2, 3, 4, 5, 6});
    const Lengths lengths({1, 2}, 2);
    REQUIRE_OK(sequence_mask(x.view, lengths.view, 0.0f, output.view, options_of(isa)));
    CHECK_SAME_BITS(output, Tensor({2, 3}).fill({1, 0, 0, 4, 5, 0}));

    Tensor ones({2, 3, 2});
    ones.fill(1.0f);
    REQUIRE_OK(sequence_mask(ones.view, lengths.view, -1.0f, ones.view, options_of(isa)));  // in place
    CHECK_SAME_BITS(ones, Tensor({2, 3, 2}).fill({1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1}));
  }
}

TEST_CASE("sequence_mask: random shapes and layouts, in place and apart") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(12);
    for (int round = 0; round < share_of(200); ++round) {
      CAPTURE(round);
      const std::int64_t B = random.between(1, 4), S = random.between(1, 40);
      const Shape shape = random.one_in(2) ? Shape{B, S} : Shape{B, S, random.between(1, 40)};
      Tensor input(shape, random), output(shape, random);
      input.fill(random);
      std::vector<std::int64_t> numbers;
      for (std::int64_t b = 0; b < B; ++b) numbers.push_back(random.between(0, S + 3));
      const Lengths lengths(numbers, B);
      const Array expected = reference::sequence_mask(input.view, lengths.view, -7.5);
      // What goes may be anything.
      const std::int64_t row = input.count() / (B * S);
      for (std::int64_t n = 0; n < input.count(); ++n) {
        if (n / row % S >= numbers[static_cast<std::size_t>(n / row / S)]) input[n] = not_a_number;
      }
      REQUIRE_OK(sequence_mask(input.view, lengths.view, -7.5f, output.view, options_of(isa)));
      CHECK_CLOSE(output.view, expected, 0.0);
      CHECK(output.gaps_untouched());
      REQUIRE_OK(sequence_mask(input.view, lengths.view, -7.5f, input.view, options_of(isa)));
      CHECK_SAME_BITS(input, output);
      CHECK(input.gaps_untouched());
    }
  }
}

TEST_CASE("masked_softmax: random shapes, layouts and lengths, in place and apart") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(13);
    for (int round = 0; round < share_of(400); ++round) {
      CAPTURE(round);
      const std::int64_t B = random.between(1, 3), L = random.between(1, 20), S = random.between(1, 150);
      Tensor input({B, L, S}, random), output({B, L, S}, random);
      input.fill(random, random.one_of({0.0f, 1.0f, 10.0f, 100.0f}));
      const Lengths lengths = Lengths::random(random, B, L, S);
      const Array expected = reference::masked_softmax(input.view, lengths.view);
      const Array bounds = reference::masked_softmax_bounds(input.view, lengths.view, Data::random);
      for (std::int64_t n = 0; n < input.count(); ++n) {  // what lies past a length is not read
        if (n % S >= reference::valid_length(lengths.view, n / (L * S), n / S % L, S)) input[n] = not_a_number;
      }
      REQUIRE_OK(masked_softmax(input.view, lengths.view, output.view, options_of(isa)));
      CHECK_CLOSE(output.view, expected, bounds);
      CHECK(output.gaps_untouched());
      REQUIRE_OK(masked_softmax(input.view, lengths.view, input.view, options_of(isa)));
      CHECK_SAME_BITS(input, output);
      CHECK(input.gaps_untouched());
    }
  }
}

TEST_CASE("masked_softmax: scores at the ends") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Tensor input({6, 1, 4}), output({6, 1, 4});
    input.fill({1e30f,     0,         -1e30f, 1e30f,      // far apart
                -1e6f,     -1e6f,     0,      0,          // as low as what is hidden
                -2e6f,     -3e6f,     0,      0,          // and lower: the hidden ones win
                -infinite, 2,         1,      -infinite,  // a score of its own that hides
                -infinite, -infinite, 0,      0,          // the hidden ones are all there is
                5,         5,         5,      5});
    const Lengths lengths({4, 2, 2, 4, 2, 0}, 6);
    const Array expected = reference::masked_softmax(input.view, lengths.view);
    REQUIRE_OK(masked_softmax(input.view, lengths.view, output.view, options_of(isa)));
    CHECK_CLOSE(output.view, expected, 16 * u);

    // NaN that is visible makes its row NaN, and no other.
    input.fill(1.0f);
    input.at(2, 0, 1) = not_a_number;
    REQUIRE_OK(masked_softmax(input.view, {}, output.view, options_of(isa)));
    CHECK_CLOSE(output.view, reference::masked_softmax(input.view), 4 * u);
  }
}

TEST_CASE("transpose_qkv and transpose_output: literals") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Tensor x({1, 2, 4}), split({2, 2, 2}), joined({1, 2, 4});
    x.fill({1, 2, 3, 4, 5, 6, 7, 8});
    REQUIRE_OK(transpose_qkv(x.view, 2, split.view, options_of(isa)));
    CHECK_SAME_BITS(split, Tensor({2, 2, 2}).fill({1, 2, 5, 6, 3, 4, 7, 8}));
    REQUIRE_OK(transpose_output(split.view, 2, joined.view, options_of(isa)));
    CHECK_SAME_BITS(joined, x);
  }
}

TEST_CASE("transpose_qkv and transpose_output: random shapes and layouts") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(14);
    for (int round = 0; round < share_of(200); ++round) {
      CAPTURE(round);
      const std::int64_t B = random.between(1, 3), H = random.between(1, 6), n = random.between(1, 20), D = random.between(1, 40);
      Tensor x({B, n, H * D}, random), split({B * H, n, D}, random), joined({B, n, H * D}, random);
      x.fill(random);
      REQUIRE_OK(transpose_qkv(x.view, H, split.view, options_of(isa)));
      CHECK_CLOSE(split.view, reference::transpose_qkv(x.view, H), 0.0);
      CHECK(split.gaps_untouched());
      REQUIRE_OK(transpose_output(split.view, H, joined.view, options_of(isa)));
      CHECK_CLOSE(joined.view, x.view, 0.0);
      CHECK(joined.gaps_untouched());
    }
  }
}

TEST_CASE("DotProductAttention: the book's example") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const DotProductAttention attention = make_dot_product(isa, 0.5f);
    Random random(15);
    Tensor queries({2, 1, 2}), keys({2, 10, 2}), values({2, 10, 4}), output({2, 1, 4}), weights({2, 1, 10});
    queries.fill(random);
    keys.fill(1.0f);
    for (std::int64_t n = 0; n < values.count(); ++n) values[n] = static_cast<float>(n % 40);
    const Lengths lengths({2, 6}, 2);
    Workspace workspace;
    AttentionOptions options;
    options.attention_weights = weights.view;
    REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace, options));
    CHECK_CLOSE(output.view, Tensor({2, 1, 4}).fill({2, 3, 4, 5, 10, 11, 12, 13}).array(), 1e-5);
    for (std::int64_t j = 0; j < 10; ++j) {
      CHECK(weights.at(0, 0, j) == doctest::Approx(j < 2 ? 1.0 / 2 : 0.0));
      CHECK(weights.at(1, 0, j) == doctest::Approx(j < 6 ? 1.0 / 6 : 0.0));
    }
  }
}

TEST_CASE("DotProductAttention: random shapes, widths 1 to 576") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const DotProductAttention attention = make_dot_product(isa);
    Random random(16);
    Workspace workspace;
    for (int round = 0; round < share_of(250); ++round) {
      CAPTURE(round);
      const std::int64_t B = random.between(1, 2), D = random.one_of(widths), Dv = random.one_of(widths);
      std::int64_t L = random.one_of(query_counts), S = random.one_of(key_counts);
      while (B * L * S * (D + Dv) > 3000000) {  // the reference takes its time
        if (L > 17) L = random.one_of(query_counts);
        else S = random.one_of(key_counts);
      }
      CAPTURE(text_of({B, L, S, D, Dv}));
      const bool strided = random.one_in(2);
      const auto tensor = [&](const Shape& shape) { return strided ? Tensor(shape, random) : Tensor(shape); };
      Tensor queries = tensor({B, L, D}), keys = tensor({B, S, D}), values = tensor({B, S, Dv}), output = tensor({B, L, Dv});
      Tensor weights = tensor({B, L, S});
      queries.fill(random, random.one_of({1.0f, 1.0f, 4.0f}));
      keys.fill(random);
      values.fill(random);
      const Lengths lengths = Lengths::random(random, B, L, S);
      AttentionOptions options;
      if (random.one_in(2)) options.attention_weights = weights.view;
      REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace, options));

      const Array q(queries.view), k(keys.view), v(values.view);
      const reference::DotProductAttentionResult expected = reference::dot_product_attention(q, k, v, lengths.view);
      const reference::DotProductAttentionBounds bounds =
          reference::dot_product_attention_bounds(q, k, v, lengths.view, {}, Data::random);
      CHECK_CLOSE(output.view, expected.output, bounds.output);
      CHECK(output.gaps_untouched());
      if (options.attention_weights.absent()) continue;
      CHECK_CLOSE(weights.view, expected.weights, bounds.weights);
      CHECK(weights.gaps_untouched());
    }
  }
}

TEST_CASE("DotProductAttention: every width, queries and values alike") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const DotProductAttention attention = make_dot_product(isa);
    Random random(17);
    Workspace workspace;
    const std::int64_t B = 1, L = 3, S = 5;
    for (std::int64_t D = 1; D <= 576; D += share_of(8) < 8 ? 7 : 1) {
      const std::int64_t Dv = 577 - D;
      CAPTURE(D);
      Tensor queries({B, L, D}), keys({B, S, D}), values({B, S, Dv}), output({B, L, Dv});
      queries.fill(random);
      keys.fill(random);
      values.fill(random);
      REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, {}, output.view, workspace));
      const Array q(queries.view), k(keys.view), v(values.view);
      CHECK_CLOSE(output.view, reference::dot_product_attention(q, k, v).output,
                  reference::dot_product_attention_bounds(q, k, v, {}, {}, Data::random).output);
      CHECK(output.gaps_untouched());
    }
  }
}

TEST_CASE("DotProductAttention: inputs that repeat by stride 0, and one tensor in three parts") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const DotProductAttention attention = make_dot_product(isa);
    Random random(18);
    Workspace workspace;
    const std::int64_t B = 2, L = 20, S = 140, D = 24;
    for (int axis = 0; axis < 3; ++axis) {
      for (int which = 0; which < 3; ++which) {
        CAPTURE(axis);
        CAPTURE(which);
        Tensor queries({B, L, D}), keys({B, S, D}), values({B, S, D}), output({B, L, D});
        queries.fill(random);
        keys.fill(random);
        values.fill(random);
        repeat_axis(which == 0 ? queries : which == 1 ? keys : values, axis);
        REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, {}, output.view, workspace));
        const Array q(queries.view), k(keys.view), v(values.view);
        CHECK_CLOSE(output.view, reference::dot_product_attention(q, k, v).output,
                    reference::dot_product_attention_bounds(q, k, v, {}, {}, Data::structured).output);
      }
    }
    // The three as the axes of one tensor (B, n, 3, D), and all of them the same memory.
    Tensor together({B, L, 3, D}), output({B, L, D});
    together.fill(random);
    const auto part = [&](std::int64_t which) {
      ConstTensorView view(together.view.data + which * D, B, L, D);
      view.strides[0] = L * 3 * D;
      view.strides[1] = 3 * D;
      return view;
    };
    for (std::int64_t step : {0, 1}) {
      REQUIRE_OK(attention.forward(part(0), part(step), part(2 * step), {}, output.view, workspace));
      const Array q(part(0)), k(part(step)), v(part(2 * step));
      CHECK_CLOSE(output.view, reference::dot_product_attention(q, k, v).output,
                  reference::dot_product_attention_bounds(q, k, v, {}, {}, Data::random).output);
    }
  }
}

TEST_CASE("DotProductAttention is matmul, masked_softmax and matmul") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const DotProductAttention attention = make_dot_product(isa);
    Random random(19);
    Workspace workspace;
    const std::int64_t B = 3, L = 11, S = 70, D = 16, Dv = 9;  // 1 / sqrt(16) is exact
    Tensor queries({B, L, D}), scaled({B, L, D}), keys({B, S, D}), values({B, S, Dv}), output({B, L, Dv}), composed({B, L, Dv});
    Tensor scores({B, L, S});
    queries.fill(random, 2.0f);
    for (std::int64_t n = 0; n < queries.count(); ++n) scaled[n] = queries[n] * 0.25f;
    keys.fill(random);
    values.fill(random);
    const Lengths lengths({70, 0, 33}, B);
    REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace));
    REQUIRE_OK(matmul(scaled.view, keys.view, true, {}, scores.view, workspace, options_of(isa)));
    REQUIRE_OK(masked_softmax(scores.view, lengths.view, scores.view, options_of(isa)));
    REQUIRE_OK(matmul(scores.view, values.view, false, {}, composed.view, workspace, options_of(isa)));
    // Each is within the bound of the reference, so they are within two of each other.
    const Array q(queries.view), k(keys.view), v(values.view);
    Array bounds = reference::dot_product_attention_bounds(q, k, v, lengths.view, {}, Data::random).output;
    CHECK_CLOSE(output.view, reference::dot_product_attention(q, k, v, lengths.view).output, bounds);
    for (double& bound : bounds.values) bound *= 2.0;
    CHECK_CLOSE(composed.view, output.array(), bounds);
  }
}
