// Tests of MultiHeadAttention against the reference, each bound propagated stage by stage.

#include "engine_test.h"

#include "base/dropout.h"

#include "../tools/checks/checks.h"

using namespace engine_test;
using reference::Array;
using reference::Data;

namespace {

reference::AttentionOptions options_of(const LengthsView& valid_lens, EmptyRows empty_rows) {
  reference::AttentionOptions options;
  options.valid_lens = valid_lens;
  options.empty_rows = empty_rows;
  return options;
}

// One call of a layer against the reference, with its attention weights.
void check_layer(const Layer& layer, const Tensor& queries, const Tensor& keys, const Tensor& values,
                 const reference::AttentionOptions& options, const Tensor& output, const Tensor* weights, Data data) {
  const Array q(queries.view), k(keys.view), v(values.view);
  const reference::LayerWeights layer_weights = layer.reference_weights();
  const std::int64_t heads = layer.config.num_heads;
  const reference::LayerResult expected = reference::multi_head_attention(layer_weights, heads, q, k, v, options);
  const reference::LayerBounds bounds =
      reference::multi_head_attention_bounds(layer_weights, heads, q, k, v, options, expected, data);
  CHECK_CLOSE(output.view, expected.output, bounds.output);
  CHECK(output.gaps_untouched());
  if (weights == nullptr) return;
  CHECK_CLOSE(weights->view, expected.attention.weights, bounds.weights);
  CHECK(weights->gaps_untouched());
}

MultiHeadAttentionConfig random_config(Random& random, Isa isa) {
  MultiHeadAttentionConfig config;
  config.isa = isa;
  config.num_heads = random.one_of<std::int64_t>({1, 1, 2, 3, 4, 5, 8});
  const std::int64_t D = random.one_in(4) ? random.one_of<std::int64_t>({16, 20, 32, 64, 65, 100, 129}) : random.between(1, 40);
  config.num_hiddens = config.num_heads * D;
  const bool square = random.one_in(3);
  const auto size = [&] { return square ? config.num_hiddens : random.between(1, 60); };
  config.key_size = size();
  config.query_size = size();
  config.value_size = size();
  config.bias = random.one_in(2);
  config.dropout = random.one_in(2) ? 0.5f : 0.0f;  // without effect outside of training
  return config;
}

}  // namespace

TEST_CASE("MultiHeadAttention: the book's example") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(21);
    MultiHeadAttentionConfig config = Layer::square(100, 5, isa);
    config.dropout = 0.5f;
    const Layer layer(config, random);
    Tensor x({2, 4, 100}), y({2, 6, 100}), output({2, 4, 100});
    x.fill(1.0f);
    y.fill(1.0f);
    const Lengths lengths({3, 2}, 2);
    REQUIRE_OK(layer.forward(x, y, y, lengths.view, output));
    const reference::LayerWeights weights = layer.reference_weights();
    const Array row = reference::linear(reference::linear(Array::filled({1, 100}, 1.0), weights.value), weights.output);
    for (std::int64_t n = 0; n < output.count(); ++n) {
      CHECK(output[n] == doctest::Approx(row.at(0, n % 100)).epsilon(1e-5));
    }
    check_layer(layer, x, y, y, options_of(lengths.view, EmptyRows::zero), output, nullptr, Data::structured);
  }
}

TEST_CASE("MultiHeadAttention: random shapes, layouts, lengths and forms") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(22);
    Workspace workspace;
    for (int round = 0; round < share_of(400); ++round) {
      CAPTURE(round);
      const MultiHeadAttentionConfig config = random_config(random, isa);
      const std::int64_t E = config.num_hiddens, H = config.num_heads;
      std::int64_t B = random.between(1, 3);
      std::int64_t L = random.one_in(5) ? random.one_of<std::int64_t>({1, 16, 17, 31, 32, 33, 65}) : random.between(1, 12);
      std::int64_t S = random.one_in(5) ? random.one_of<std::int64_t>({63, 64, 65, 96, 127, 128, 129, 200}) : random.between(1, 40);
      while (B * (L + S) * E * (E + S) > 6000000) {  // the reference takes its time
        (B > 1 ? B : L > S ? L : S) /= 2;
      }
      const bool square = config.query_size == E && config.key_size == E && config.value_size == E;
      const bool self = square && random.one_in(2), strided = random.one_in(2);
      if (self) S = L;
      CAPTURE(text_of({B, H, L, S, E, config.query_size, config.key_size, config.value_size}));
      const auto tensor = [&](const Shape& shape) { return strided ? Tensor(shape, random) : Tensor(shape); };

      const Layer layer(config, random, random.one_in(2) ? &random : nullptr);
      Tensor queries = tensor({B, L, config.query_size}), other_keys = tensor({B, S, config.key_size});
      Tensor other_values = tensor({B, S, config.value_size}), output = tensor({B, L, E}), weights = tensor({B, H, L, S});
      queries.fill(random, random.one_of({1.0f, 3.0f}));
      other_keys.fill(random);
      other_values.fill(random);
      const Tensor &keys = self ? queries : other_keys, &values = self ? queries : other_values;
      const Lengths lengths = Lengths::random(random, B, L, S);
      AttentionOptions options;
      options.empty_rows = random.one_of({EmptyRows::zero, EmptyRows::uniform});
      const bool wants_weights = random.one_in(2);
      if (wants_weights) options.attention_weights = weights.view;
      REQUIRE_OK(layer.attention.forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace, options));
      check_layer(layer, queries, keys, values, options_of(lengths.view, options.empty_rows), output,
                  wants_weights ? &weights : nullptr, Data::random);
    }
  }
}

TEST_CASE("MultiHeadAttention: random layers with all options, against the reference") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const checks::Result result = checks::check_layers(isa, 92, share_of(1000));
    CHECK_MESSAGE(result.ok, result.message);
  }
}

namespace {

/// A layer as later models have them: fewer key heads, heads that are not E / H wide, norms, rotation.
MultiHeadAttentionConfig modern_config(Isa isa, const ConstTensorView& frequencies) {
  MultiHeadAttentionConfig config = Layer::square(50, 6, isa, true);
  config.num_kv_heads = 2;
  config.head_dim = 20;
  config.output_size = 33;
  config.qk_norm = true;
  config.rotary.inverse_frequencies = frequencies;
  config.rotary.attention_factor = 1.2f;
  return config;
}

bool same_bits(const TensorView& a, const TensorView& b) {
  const Array x(a), y(b);
  return x.shape == y.shape && (x.values.empty() || std::memcmp(x.values.data(), y.values.data(), x.values.size() * sizeof(double)) == 0);
}

}  // namespace

TEST_CASE("MultiHeadAttention: packed sequences, batches and threads give the bits of each sequence alone") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(28);
    Tensor frequencies({7});
    const Layer layer(modern_config(isa, frequencies.fill(random).view), random);
    const std::int64_t query_starts[] = {0, 5, 5, 45, 46}, key_starts[] = {0, 9, 19, 120, 120}, lengths[] = {7, 10, 90, 3};
    Tensor queries({1, 46, 50}), keys({1, 120, 50}), values({1, 120, 50}), output({1, 46, 33}), lse({1, 6, 46});
    queries.fill(random);
    keys.fill(random);
    values.fill(random);
    // Keys past a length, and the values there, are not read.
    for (std::int64_t b = 0; b < 3; ++b) {
      for (std::int64_t j = key_starts[b] + lengths[b]; j < key_starts[b + 1]; ++j) {
        for (std::int64_t n = 0; n < 50; ++n) keys.at(0, j, n) = values.at(0, j, n) = not_a_number;
      }
    }
    AttentionOptions packed;
    packed.query_starts = IndexView(query_starts, 5);
    packed.key_starts = IndexView(key_starts, 5);
    packed.lse = lse.view;
    packed.causal = true;
    packed.offset = 40;
    REQUIRE_OK(layer.forward(queries, keys, values, LengthsView(lengths, 4), output, packed));
    for (int threads : {2, 3}) {
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(threads, &pool));
      AttentionOptions options = packed;
      options.threads = pool.threads();
      Tensor again({1, 46, 33});
      REQUIRE_OK(layer.forward(queries, keys, values, LengthsView(lengths, 4), again, options));
      CHECK_SAME_BITS(again, output);
    }
    Workspace workspace;
    for (std::int64_t b = 0; b < 4; ++b) {
      CAPTURE(b);
      const std::int64_t first = query_starts[b], count = query_starts[b + 1] - first, S = key_starts[b + 1] - key_starts[b];
      Tensor alone({1, count, 33}), alone_lse({1, 6, count});
      AttentionOptions one;
      one.causal = true;
      one.offset = 40;
      one.lse = alone_lse.view;
      REQUIRE_OK(layer.attention.forward(part_of(queries.view, 1, first, count), part_of(keys.view, 1, key_starts[b], S),
                                         part_of(values.view, 1, key_starts[b], S), LengthsView(lengths + b, 1), alone.view, workspace, one));
      CHECK(same_bits(alone.view, part_of(output.view, 1, first, count)));
      CHECK(same_bits(alone_lse.view, part_of(lse.view, 2, first, count)));
    }
    // The same rows as a batch of two, whose second entry stands elsewhere.
    const std::int64_t offsets[] = {0, 11};
    AttentionOptions options;
    options.causal = true;
    options.offsets = IndexView(offsets, 2);
    Tensor rows({2, 23, 50}), together({2, 23, 33}), apart({2, 23, 33});
    rows.fill(random);
    REQUIRE_OK(layer.forward(rows, rows, rows, {}, together, options));
    for (std::int64_t b = 0; b < 2; ++b) {
      AttentionOptions one;
      one.causal = true;
      one.offset = offsets[b];
      const TensorView row = part_of(rows.view, 0, b, 1);
      REQUIRE_OK(layer.attention.forward(row, row, row, {}, part_of(apart.view, 0, b, 1), workspace, one));
    }
    CHECK_SAME_BITS(together, apart);
  }
}

TEST_CASE("MultiHeadAttention: grouped heads give the bits of repeated key and value weights") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(29);
    MultiHeadAttentionConfig config = Layer::square(48, 6, isa, true);
    config.num_kv_heads = 2;
    const Layer grouped(config, random);
    config.num_kv_heads = 0;
    Layer repeated(config, random);
    for (std::size_t n : {0u, 3u, 4u, 7u}) repeated.tensors[n].copy(grouped.tensors[n]);
    for (std::size_t n : {1u, 2u, 5u, 6u}) {  // rows of key/value head h / 3
      Tensor& tensor = repeated.tensors[n];
      const std::int64_t columns = tensor.view.rank == 2 ? 48 : 1;
      for (std::int64_t i = 0; i < tensor.count(); ++i) {
        const std::int64_t row = i / columns, head = row / 8;
        tensor[i] = grouped.tensors[n][(head / 3 * 8 + row % 8) * columns + i % columns];
      }
    }
    repeated.make();
    for (std::int64_t L : {1, 9, 70}) {
      CAPTURE(L);
      Tensor queries({2, L, 48}), keys({2, 150, 48}), output({2, L, 48}), expected({2, L, 48});
      queries.fill(random);
      keys.fill(random);
      REQUIRE_OK(grouped.forward(queries, keys, keys, {}, output));
      REQUIRE_OK(repeated.forward(queries, keys, keys, {}, expected));
      CHECK_SAME_BITS(output, expected);
    }
  }
}

TEST_CASE("MultiHeadAttention: norm and rotation give the bits of the public operations, composed") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(30);
    Tensor frequencies({7});
    const MultiHeadAttentionConfig config = modern_config(isa, frequencies.fill(random).view);
    const Layer layer(config, random);
    CHECK(layer.attention.config().rotary.inverse_frequencies.data != frequencies.view.data);
    const std::int64_t B = 2, L = 21, S = 37;
    Tensor queries({B, L, 50}), keys({B, S, 50}), values({B, S, 50}), output({B, L, 33}), composed({B, L, 33});
    queries.fill(random);
    keys.fill(random);
    values.fill(random);
    OperationOptions operation;
    operation.isa = isa;
    Workspace workspace;
    const auto heads_of = [](Tensor& tensor, std::int64_t heads) {  // (B, n, heads D) as (B, heads, n, D)
      TensorView view(tensor.view.data, tensor.view.sizes[0], heads, tensor.view.sizes[1], tensor.view.sizes[2] / heads);
      view.strides[1] = view.sizes[3];
      view.strides[2] = tensor.view.sizes[2];
      return view;
    };
    const std::int64_t query_positions[] = {5, 1, 7, 3, 2, 9, 11, 40, -3, 5, 5, 8, 0, 1, 2, 3, 4, 5, 6, 7, 1000};
    for (bool given : {false, true}) {
      CAPTURE(given);
      AttentionOptions options;
      options.causal = true;
      options.offset = S - L;
      if (given) options.query_positions = IndexView(query_positions, L);
      REQUIRE_OK(layer.forward(queries, keys, values, {}, output, options));
      Tensor q({B, L, 120}), k({B, S, 40}), v({B, S, 40}), heads({B, L, 120});
      const MultiHeadAttentionWeights& weights = layer.weights;
      REQUIRE_OK(matmul(queries.view, weights.query, true, weights.query_bias, q.view, workspace, operation));
      REQUIRE_OK(matmul(keys.view, weights.key, true, weights.key_bias, k.view, workspace, operation));
      REQUIRE_OK(matmul(values.view, weights.value, true, weights.value_bias, v.view, workspace, operation));
      const TensorView q_heads = heads_of(q, 6), k_heads = heads_of(k, 2);
      REQUIRE_OK(rms_norm(q_heads, weights.query_norm, config.norm_epsilon, q_heads, operation));
      REQUIRE_OK(rms_norm(k_heads, weights.key_norm, config.norm_epsilon, k_heads, operation));
      REQUIRE_OK(rotary_embedding(q_heads, config.rotary, options.query_positions, given ? 0 : S - L, q_heads, workspace, operation));
      REQUIRE_OK(rotary_embedding(k_heads, config.rotary, {}, 0, k_heads, workspace, operation));
      AttentionOptions core = options;
      core.query_positions = IndexView();
      REQUIRE_OK(attention(q_heads, k_heads, heads_of(v, 2), {}, heads_of(heads, 6), workspace, on(isa, core)));
      REQUIRE_OK(matmul(heads.view, weights.output, true, weights.output_bias, composed.view, workspace, operation));
      CHECK_SAME_BITS(output, composed);
    }
    // The layer's own copy: what the caller's frequencies become does not matter.
    Tensor again({B, L, 33});
    AttentionOptions options;
    REQUIRE_OK(layer.forward(queries, keys, values, {}, output, options));
    frequencies.fill(not_a_number);
    REQUIRE_OK(layer.forward(queries, keys, values, {}, again, options));
    CHECK_SAME_BITS(again, output);
  }
}

TEST_CASE("MultiHeadAttention: some projections alone have a bias, and absent norms are ones") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(33);
    MultiHeadAttentionConfig config = Layer::square(24, 4, isa, true);
    config.num_kv_heads = 1;
    config.qk_norm = true;
    Layer layer(config, random);
    layer.weights.output_bias = layer.weights.key_norm = ConstTensorView();  // Qwen: biases of q, k and v
    REQUIRE_OK(MultiHeadAttention::make(layer.config, layer.weights, &layer.attention));
    Tensor x({2, 5, 24}), output({2, 5, 24});
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, output));
    check_layer(layer, x, x, x, options_of({}, EmptyRows::zero), output, nullptr, Data::random);
  }
}

TEST_CASE("MultiHeadAttention: a norm of keys alone, or of queries alone") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(34);
    Tensor frequencies({3}), x({2, 21, 24}), output({2, 21, 24});
    frequencies.fill(random);
    x.fill(random, 3.0f);
    for (int case_number = 0; case_number < 8; ++case_number) {
      CAPTURE(case_number);
      MultiHeadAttentionConfig config = Layer::square(24, 4, isa, true);
      config.num_kv_heads = 2;
      config.qk_norm = true;
      config.norm_queries = (case_number & 1) != 0;
      config.norm_keys = (case_number & 2) != 0;
      if (case_number & 4) config.rotary.inverse_frequencies = frequencies.view;
      const Layer layer(config, random);
      REQUIRE_OK(layer.forward(x, x, x, {}, output));
      check_layer(layer, x, x, x, options_of({}, EmptyRows::zero), output, nullptr, Data::random);
    }
  }
}

TEST_CASE("MultiHeadAttention: inputs that repeat by stride 0") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(23);
    const Layer layer(Layer::square(24, 3, isa, true), random);
    for (int axis = 0; axis < 3; ++axis) {
      for (int which = 0; which < 3; ++which) {
        CAPTURE(axis);
        CAPTURE(which);
        Tensor queries({2, 7, 24}), keys({2, 19, 24}), values({2, 19, 24}), output({2, 7, 24}), weights({2, 3, 7, 19});
        queries.fill(random);
        keys.fill(random);
        values.fill(random);
        (which == 0 ? queries : which == 1 ? keys : values).view.strides[axis] = 0;
        AttentionOptions options;
        options.attention_weights = weights.view;
        REQUIRE_OK(layer.forward(queries, keys, values, {}, output, options));
        check_layer(layer, queries, keys, values, options_of({}, EmptyRows::zero), output, &weights, Data::structured);
      }
    }
  }
}

TEST_CASE("MultiHeadAttention: no entries, no queries, no keys") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(24);
    const Layer layer(Layer::square(20, 5, isa, true), random);
    Workspace workspace;
    AttentionOptions options;
    options.attention_weights = TensorView(nullptr, 0, 5, 3, 4);
    REQUIRE_OK(layer.attention.forward(ConstTensorView(nullptr, 0, 3, 20), ConstTensorView(nullptr, 0, 4, 20),
                                       ConstTensorView(nullptr, 0, 4, 20), {}, TensorView(nullptr, 0, 3, 20), workspace, options));
    Tensor rows({2, 4, 20}), output({2, 4, 20});
    rows.fill(random);
    REQUIRE_OK(layer.attention.forward(ConstTensorView(nullptr, 2, 0, 20), rows.view, rows.view, {}, TensorView(nullptr, 2, 0, 20),
                                       workspace));
    // Without a key each row is W_o's bias, whatever it should be uniform over.
    for (EmptyRows empty_rows : {EmptyRows::zero, EmptyRows::uniform}) {
      options.empty_rows = empty_rows;
      options.attention_weights = TensorView(nullptr, 2, 5, 4, 0);
      output.fill(not_a_number);
      REQUIRE_OK(layer.attention.forward(rows.view, ConstTensorView(nullptr, 2, 0, 20), ConstTensorView(nullptr, 2, 0, 20), {},
                                         output.view, workspace, options));
      for (std::int64_t n = 0; n < output.count(); ++n) CHECK(output[n] == layer.tensors[7][n % 20]);
    }
  }
}

TEST_CASE("MultiHeadAttention: rows that see no key") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(25);
    const std::int64_t B = 2, L = 40, S = 130, E = 24, H = 3;
    const Layer layer(Layer::square(E, H, isa, true), random);
    Tensor queries({B, L, E}), keys({B, S, E}), values({B, S, E});
    queries.fill(random);
    keys.fill(random);
    values.fill(random);
    std::vector<std::int64_t> numbers;
    for (std::int64_t n = 0; n < B * L; ++n) numbers.push_back(n % 3 == 0 || n / L == 1 ? 0 : n * 3);
    const Lengths by_query(numbers, B, L), by_entry({0, 77}, B);
    for (const LengthsView& lengths : {by_query.view, by_entry.view}) {
      CAPTURE(lengths.rank);
      for (EmptyRows empty_rows : {EmptyRows::zero, EmptyRows::uniform}) {
        Tensor output({B, L, E}), weights({B, H, L, S});
        AttentionOptions options;
        options.empty_rows = empty_rows;
        options.attention_weights = weights.view;
        REQUIRE_OK(layer.forward(queries, keys, values, lengths, output, options));
        check_layer(layer, queries, keys, values, options_of(lengths, empty_rows), output, &weights, Data::random);
        bool exact = true;
        for (std::int64_t n = 0; n < output.count() && empty_rows == EmptyRows::zero; ++n) {
          if (reference::valid_length(lengths, n / (L * E), n / E % L, S) == 0) exact = exact && output[n] == layer.tensors[7][n % E];
        }
        CHECK(exact);
      }
    }
  }
}

TEST_CASE("MultiHeadAttention: some biases absent") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(26);
    Layer layer(Layer::square(20, 2, isa, true), random);
    layer.weights.key_bias = layer.weights.output_bias = ConstTensorView();  // zero
    REQUIRE_OK(MultiHeadAttention::make(layer.config, layer.weights, &layer.attention));
    Tensor x({2, 5, 20}), output({2, 5, 20});
    x.fill(random);
    REQUIRE_OK(layer.forward(x, x, x, {}, output));
    check_layer(layer, x, x, x, options_of({}, EmptyRows::zero), output, nullptr, Data::random);
  }
}

TEST_CASE("MultiHeadAttention is its public operations, composed") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(27);
    const std::int64_t B = 2, L = 9, S = 35, H = 4, E = 64, D = E / H;
    MultiHeadAttentionConfig config = Layer::square(E, H, isa, true);
    config.query_size = 21;
    config.key_size = 13;
    config.value_size = 30;
    const Layer layer(config, random);
    Tensor queries({B, L, 21}), keys({B, S, 13}), values({B, S, 30}), output({B, L, E});
    queries.fill(random);
    keys.fill(random);
    values.fill(random);
    const Lengths lengths({35, 12}, B);
    REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, output));

    OperationOptions options;
    options.isa = isa;
    Workspace workspace;
    Tensor q({B, L, E}), k({B, S, E}), v({B, S, E}), heads({B * H, L, D}), joined({B, L, E}), composed({B, L, E});
    Tensor q_heads({B * H, L, D}), k_heads({B * H, S, D}), v_heads({B * H, S, D});
    const MultiHeadAttentionWeights& weights = layer.weights;
    REQUIRE_OK(matmul(queries.view, weights.query, true, weights.query_bias, q.view, workspace, options));
    REQUIRE_OK(matmul(keys.view, weights.key, true, weights.key_bias, k.view, workspace, options));
    REQUIRE_OK(matmul(values.view, weights.value, true, weights.value_bias, v.view, workspace, options));
    REQUIRE_OK(transpose_qkv(q.view, H, q_heads.view, options));
    REQUIRE_OK(transpose_qkv(k.view, H, k_heads.view, options));
    REQUIRE_OK(transpose_qkv(v.view, H, v_heads.view, options));
    const Lengths for_heads({35, 35, 35, 35, 12, 12, 12, 12}, B * H);  // each length once for each head
    DotProductAttention attention;
    REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
    REQUIRE_OK(attention.forward(q_heads.view, k_heads.view, v_heads.view, for_heads.view, heads.view, workspace));
    REQUIRE_OK(transpose_output(heads.view, H, joined.view, options));
    REQUIRE_OK(matmul(joined.view, weights.output, true, weights.output_bias, composed.view, workspace, options));
    check_layer(layer, queries, keys, values, options_of(lengths.view, EmptyRows::zero), composed, nullptr, Data::random);
    check_layer(layer, queries, keys, values, options_of(lengths.view, EmptyRows::zero), output, nullptr, Data::random);
  }
}

TEST_CASE("DotProductAttention: the workspace's bytes are enough, for one query too") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    DotProductAttention attention;
    REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
    Random random(9);
    for (std::int64_t queries : {1, 2, 40}) {
      Tensor q({2, queries, 24}), k({2, 1100, 24}), v({2, 1100, 32}), output({2, queries, 32});
      q.fill(random);
      k.fill(random);
      v.fill(random);
      std::vector<char> memory(attention.workspace_bytes(q.view, k.view, v.view));
      Workspace workspace(memory.data(), memory.size());
      REQUIRE_OK(attention.forward(q.view, k.view, v.view, {}, output.view, workspace));
    }
  }
}

TEST_CASE("make_random: the same weights as everywhere, within their limits") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    MultiHeadAttentionConfig config = Layer::square(48, 4, isa, true);
    config.value_size = 30;
    MultiHeadAttention attention, same, other;
    REQUIRE_OK(MultiHeadAttention::make_random(config, 5, &attention));
    REQUIRE_OK(MultiHeadAttention::make_random(config, 5, &same));
    REQUIRE_OK(MultiHeadAttention::make_random(config, 6, &other));
    CHECK(attention.isa() == isa);
    CHECK(attention.config().value_size == 30);
    // One key: the output is W_o W_v x.
    Tensor x({1, 1, 48}), value({1, 1, 30}), output({1, 1, 48}), again({1, 1, 48}), third({1, 1, 48});
    x.fill(1.0f);
    value.fill(1.0f);
    Workspace workspace;
    REQUIRE_OK(attention.forward(x.view, x.view, value.view, {}, output.view, workspace));
    REQUIRE_OK(same.forward(x.view, x.view, value.view, {}, again.view, workspace));
    REQUIRE_OK(other.forward(x.view, x.view, value.view, {}, third.view, workspace));
    CHECK_SAME_BITS(output, again);
    CHECK(first_difference(output, third) >= 0);
    const double most = 48 * std::sqrt(6.0 / 96) * 30 * std::sqrt(6.0 / 78);  // |W_o| |W_v| at their largest
    double sum = 0.0;
    for (std::int64_t n = 0; n < 48; ++n) {
      CHECK(std::abs(output[n]) < most);
      sum += std::abs(output[n]);
    }
    CHECK(sum > 1.0);
  }
}

// Dropout.

namespace {

// What the reference multiplies the attention weights with.
Array multipliers_of(std::uint64_t seed, float rate, const Shape& shape) {
  Array multipliers = Array::zeros(shape);
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t i = 0; i < shape[2]; ++i) {
        for (std::int64_t j = 0; j < shape[3]; ++j) {
          multipliers.at(b, h, i, j) = static_cast<double>(dropout_factor(dropout_row(seed, b, h, i), j, rate));
        }
      }
    }
  }
  return multipliers;
}

}  // namespace

TEST_CASE("dropout: the identity in inference") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(31), again(31);
    MultiHeadAttentionConfig config = Layer::square(24, 3, isa);
    const Layer plain(config, random);
    config.dropout = 0.9f;
    const Layer dropping(config, again);
    Tensor x({2, 9, 24}), expected({2, 9, 24}), output({2, 9, 24});
    x.fill(random);
    AttentionOptions options;
    options.dropout_seed = 77;
    REQUIRE_OK(plain.forward(x, x, x, {}, expected, options));
    REQUIRE_OK(dropping.forward(x, x, x, {}, output, options));
    CHECK_SAME_BITS(output, expected);
    options.training = true;  // and without dropout, training changes nothing
    REQUIRE_OK(plain.forward(x, x, x, {}, output, options));
    CHECK_SAME_BITS(output, expected);
  }
}

TEST_CASE("dropout: in training as the reference, given the multipliers") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(32);
    for (int round = 0; round < share_of(60); ++round) {
      CAPTURE(round);
      MultiHeadAttentionConfig config = random_config(random, isa);
      config.dropout = random.one_of({0.1f, 0.5f, 0.9f});
      const std::int64_t B = random.between(1, 2), L = random.between(1, 20), S = random.between(1, 140);
      const std::int64_t E = config.num_hiddens, H = config.num_heads;
      if ((L + S) * E * (E + S) > 6000000) continue;
      CAPTURE(text_of({B, H, L, S, E}));
      const Layer layer(config, random);
      Tensor queries({B, L, config.query_size}), keys({B, S, config.key_size}), values({B, S, config.value_size});
      Tensor output({B, L, E}), weights({B, H, L, S});
      queries.fill(random);
      keys.fill(random);
      values.fill(random);
      const Lengths lengths = Lengths::random(random, B, L, S);
      AttentionOptions options;
      options.training = true;
      options.dropout_seed = random.bits();
      options.empty_rows = random.one_of({EmptyRows::zero, EmptyRows::uniform});
      options.attention_weights = weights.view;
      REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, output, options));
      reference::AttentionOptions expected = options_of(lengths.view, options.empty_rows);
      expected.dropout_multipliers = multipliers_of(options.dropout_seed, config.dropout, {B, H, L, S});
      check_layer(layer, queries, keys, values, expected, output, &weights, Data::random);  // weights: before dropout

      options.training = false;
      Tensor without({B, H, L, S});
      options.attention_weights = without.view;
      REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, output, options));
      CHECK_SAME_BITS(weights, without);
    }
  }
}

TEST_CASE("dropout of DotProductAttention, as the reference") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(33);
    DotProductAttention attention;
    REQUIRE_OK(DotProductAttention::make(0.5f, &attention, isa));
    const std::int64_t B = 2, L = 37, S = 150, D = 16;
    Tensor queries({B, L, D}), keys({B, S, D}), values({B, S, D}), output({B, L, D});
    queries.fill(random);
    keys.fill(random);
    values.fill(random);
    const Lengths lengths({0, 140}, B);
    AttentionOptions options;
    options.training = true;
    options.dropout_seed = 9;
    Workspace workspace;
    REQUIRE_OK(attention.forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace, options));
    const Array multipliers = multipliers_of(9, 0.5f, {B, 1, L, S}).reshaped({B, L, S});
    const Array q(queries.view), k(keys.view), v(values.view);
    CHECK_CLOSE(output.view, reference::dot_product_attention(q, k, v, lengths.view, multipliers).output,
                reference::dot_product_attention_bounds(q, k, v, lengths.view, multipliers, Data::random).output);
  }
}

TEST_CASE("dropout: drops at its rate, each weight by itself, others by another seed") {
  const std::int64_t B = 2, H = 3, L = 40, S = 200;
  for (float rate : {0.1f, 0.5f, 0.9f}) {
    CAPTURE(rate);
    const Array first = multipliers_of(1, rate, {B, H, L, S}), second = multipliers_of(2, rate, {B, H, L, S});
    const double count = static_cast<double>(first.count());
    double dropped = 0.0, both = 0.0, neighbours = 0.0, rows = 0.0;
    for (std::int64_t n = 0; n < first.count(); ++n) {
      const double factor = first.values[static_cast<std::size_t>(n)];
      const bool valid = factor == 0.0 || factor == static_cast<double>(1.0f / (1.0f - rate));
      REQUIRE(valid);
      const auto drops = [&](const Array& multipliers, std::int64_t at) {
        return multipliers.values[static_cast<std::size_t>(at % first.count())] == 0.0;
      };
      dropped += drops(first, n);
      both += drops(first, n) && drops(second, n);
      neighbours += drops(first, n) && drops(first, n + 1);
      rows += drops(first, n) && drops(first, n + S);
    }
    const auto expect = [&](double found, double probability) {  // within six standard deviations
      CHECK(std::abs(found / count - probability) < 6.0 * std::sqrt(probability * (1.0 - probability) / count));
    };
    const double p = static_cast<double>(rate);
    expect(dropped, p);
    expect(both, p * p);
    expect(neighbours, p * p);
    expect(rows, p * p);
  }
}

TEST_CASE("dropout: another seed gives another output, the same seed the same") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(34);
    MultiHeadAttentionConfig config = Layer::square(24, 3, isa);
    config.dropout = 0.5f;
    const Layer layer(config, random);
    Tensor x({1, 9, 24}), first({1, 9, 24}), same({1, 9, 24}), other({1, 9, 24});
    x.fill(random);
    AttentionOptions options;
    options.training = true;
    options.dropout_seed = 3;
    REQUIRE_OK(layer.forward(x, x, x, {}, first, options));
    REQUIRE_OK(layer.forward(x, x, x, {}, same, options));
    options.dropout_seed = 4;
    REQUIRE_OK(layer.forward(x, x, x, {}, other, options));
    CHECK_SAME_BITS(first, same);
    CHECK(first_difference(first, other) >= 0);
  }
}
