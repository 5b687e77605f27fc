// Tests of the C API: attention on given queries, keys and values, DotProductAttention, and operations, with the bits of the C++ API.

#include "c_twin.h"

using namespace c_twin;

TEST_CASE("C API: the core gives the bits of the C++ one for random calls, in the memory that it asks for") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(51);
    for (int n = 0; n < share_of(60); ++n) {
      CAPTURE(n);
      const std::int64_t B = random.between(1, 3), G = random.between(1, 2), H = 2 * G, L = random.between(1, 6), S = random.between(1, 9);
      RandomOptions drawn(random, {B, H, L, S});
      drawn.options.isa = isa;
      const std::int64_t D = random.one_in(8) ? 576 : 6, Dv = random.one_in(8) ? 512 : 4;
      Tensor q({B, H, L, D}, random), k({B, G, S, D}, random), v({B, G, S, Dv}, random), output({B, H, L, Dv}, random);
      for (Tensor* tensor : {&q, &k, &v}) tensor->fill(random);
      const Lengths lengths = Lengths::random(random, B, L, S);
      Workspace workspace;
      REQUIRE_OK(attention(q.view, k.view, v.view, lengths.view, output.view, workspace, drawn.options));
      const Options options(drawn.options);
      attend_attention_call call = {sizeof call, in(q), in(k), in(v), numbers(lengths.view), out(output), nullptr, &options.value};
      Written written(drawn.outputs(output));
      call.q.data = call.k.data = call.v.data = nullptr;  // what is asked for bytes may have no data yet
      const std::size_t bytes = attend_attention_workspace_bytes(&call);
      CHECK(bytes == attention_workspace_bytes(q.view, k.view, v.view, drawn.options));
      call.q = in(q), call.k = in(k), call.v = in(v);
      run_in(bytes, &call.workspace, [&] { return attend_attention(&call, &problem); });
      written.check_same();
    }
  }
  check_invalid(attend_attention(nullptr, &problem), "call: null");
  CHECK(attend_attention_workspace_bytes(nullptr) == 0);
  CHECK(attend_attention(nullptr, nullptr) == ATTEND_INVALID_ARGUMENT);
}

TEST_CASE("C API: DotProductAttention gives the bits of the C++ one for random calls, in the memory that it asks for") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(52);
    for (int n = 0; n < share_of(40); ++n) {
      CAPTURE(n);
      const std::int64_t B = random.between(1, 3), L = random.between(1, 6), S = random.between(1, 9);
      RandomOptions drawn(random, {B, 1, L, S, false, false});
      drawn.options.isa = isa;
      Tensor queries({B, L, 6}, random), keys({B, S, 6}, random), values({B, S, 4}, random), output({B, L, 4}, random);
      for (Tensor* tensor : {&queries, &keys, &values}) tensor->fill(random);
      const Lengths lengths = Lengths::random(random, B, L, S);
      DotProductAttention twin;
      REQUIRE_OK(DotProductAttention::make(0.5f, &twin, isa));
      Workspace workspace;
      REQUIRE_OK(twin.forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace, drawn.options));
      const Options options(drawn.options);
      attend_dot_product_call call = {sizeof call, 0.5f, in(queries), in(keys), in(values), numbers(lengths.view), out(output), nullptr, &options.value};
      Written written(drawn.outputs(output));
      call.queries.data = call.keys.data = call.values.data = nullptr;
      const std::size_t bytes = attend_dot_product_workspace_bytes(&call);
      CHECK(bytes == twin.workspace_bytes(queries.view, keys.view, values.view, drawn.options));
      call.queries = in(queries), call.keys = in(keys), call.values = in(values);
      run_in(bytes, &call.workspace, [&] { return attend_dot_product_attention(&call, &problem); });
      written.check_same();
    }
  }
  attend_dot_product_call call = {};
  call.size = sizeof call;
  call.dropout = 1.0f;
  check_invalid(attend_dot_product_attention(&call, &problem), "dropout: 1");
  CHECK(attend_dot_product_workspace_bytes(&call) == 0);
}

TEST_CASE("C API: the operations give the bits of the C++ ones, on views with strides") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(53);
    OperationOptions twin;
    twin.isa = isa;
    attend_operation_options options = {};
    options.size = sizeof options;
    options.isa = static_cast<int>(isa);
    const auto made = [&random](const Shape& shape) {
      Tensor tensor(shape, random);
      tensor.fill(random);
      return tensor;
    };
    Workspace workspace;

    const Tensor a = made({2, 5, 7}), b = made({7, 4}), b_transposed = made({4, 7}), bias = made({4});
    Tensor product = made({2, 5, 4});
    const attend_const_tensor given_a = in(a), given_bias = in(bias);
    const attend_tensor given_product = out(product);
    for (const bool transposed : {false, true}) {
      const Tensor& factor = transposed ? b_transposed : b;
      const attend_const_tensor given_b = in(factor);
      REQUIRE_OK(matmul(a.view, factor.view, transposed, bias.view, product.view, workspace, twin));
      Written written({&product});
      const std::size_t bytes = attend_matmul_workspace_bytes(&given_a, &given_b, transposed, &options);
      CHECK(bytes == matmul_workspace_bytes(a.view, factor.view, transposed, twin));
      attend_workspace* memory = nullptr;
      run_in(bytes, &memory, [&] { return attend_matmul(&given_a, &given_b, transposed, &given_bias, &given_product, memory, &options, &problem); });
      written.check_same();
    }
    const attend_const_tensor given_b = in(b);
    check_invalid(attend_matmul(nullptr, &given_b, 0, nullptr, &given_product, nullptr, nullptr, &problem), "a: ");
    CHECK(attend_matmul_workspace_bytes(&given_a, nullptr, 0, nullptr) == 0);

    const Tensor scores = made({2, 3, 6});
    Tensor result = made({2, 3, 6});
    const std::int64_t lengths[] = {4, 1}, rows[] = {2, 1};
    const LengthsView valid_lens(lengths, 2), valid_rows(rows, 2);
    const attend_const_tensor given_scores = in(scores);
    const attend_tensor given_result = out(result);
    const attend_indices given_lens = numbers(valid_lens), given_rows = numbers(valid_rows);
    REQUIRE_OK(sequence_mask(scores.view, valid_rows, -3.0f, result.view, twin));
    Written masked({&result});
    require_done(attend_sequence_mask(&given_scores, &given_rows, -3.0f, &given_result, &options, &problem));
    masked.check_same();
    for (const attend_indices* given : {&given_lens, static_cast<const attend_indices*>(nullptr)}) {
      REQUIRE_OK(masked_softmax(scores.view, given != nullptr ? valid_lens : LengthsView(), result.view, twin));
      Written softmax({&result});
      require_done(attend_masked_softmax(&given_scores, given, &given_result, &options, &problem));
      softmax.check_same();
    }

    const Tensor wide = made({2, 5, 6});
    Tensor split = made({6, 5, 2}), joined = made({2, 5, 6});
    const attend_const_tensor given_wide = in(wide), given_split = in(split);
    const attend_tensor to_split = out(split), to_joined = out(joined);
    REQUIRE_OK(transpose_qkv(wide.view, 3, split.view, twin));
    Written heads({&split});
    require_done(attend_transpose_qkv(&given_wide, 3, &to_split, &options, &problem));
    heads.check_same();
    require_done(attend_transpose_output(&given_split, 3, &to_joined, &options, &problem));
    CHECK_SAME_BITS(joined, wide);
    check_invalid(attend_transpose_output(&given_split, 4, &to_joined, &options, &problem), "num_heads: 4");

    const Tensor x = made({2, 3, 4, 8}), weight = made({8}), frequencies = made({3});
    Tensor y = made({2, 3, 4, 8});
    const attend_const_tensor given_x = in(x), given_weight = in(weight);
    const attend_tensor given_y = out(y);
    REQUIRE_OK(rms_norm(x.view, weight.view, 0.5f, y.view, twin));
    Written normed({&y});
    require_done(attend_rms_norm(&given_x, &given_weight, 0.5f, &given_y, &options, &problem));
    normed.check_same();

    RotaryEmbedding rotary;
    rotary.inverse_frequencies = frequencies.view;
    rotary.interleaved = true;
    const std::int64_t places[] = {3, 1, 4, 1};
    const IndexView positions(places, 4);
    attend_rotary_embedding given_rotary = c_rotary(rotary);
    const attend_indices given_positions = numbers(positions);
    REQUIRE_OK(rotary_embedding(x.view, rotary, positions, 2, y.view, workspace, twin));
    Written turned({&y});
    const std::size_t bytes = attend_rotary_workspace_bytes(&given_x, &given_rotary, &given_positions);
    CHECK(bytes == rotary_workspace_bytes(x.view, rotary, positions));
    attend_workspace* memory = nullptr;
    run_in(bytes, &memory, [&] { return attend_rotate(&given_x, &given_rotary, &given_positions, 2, &given_y, memory, &options, &problem); });
    turned.check_same();
    check_invalid(attend_rotate(&given_x, nullptr, nullptr, 0, &given_y, nullptr, nullptr, &problem), "inverse_frequencies: absent");
    given_rotary.size = 1;
    check_invalid(attend_rotate(&given_x, &given_rotary, nullptr, 0, &given_y, nullptr, nullptr, &problem), "rotary.size: 1, expected sizeof (attend_rotary_embedding)");

    const Tensor other = made({2, 3, 4, 5}), other_lse = made({2, 3, 4});
    Tensor output = made({2, 3, 4, 5}), lse = made({2, 3, 4}), output_twin({2, 3, 4, 5}), lse_twin({2, 3, 4});
    output_twin.copy(output);
    lse_twin.copy(lse);
    REQUIRE_OK(merge(other.view, other_lse.view, output_twin.view, lse_twin.view, twin));
    const attend_const_tensor given_other = in(other), given_other_lse = in(other_lse);
    const attend_tensor given_output = out(output), given_lse = out(lse);
    require_done(attend_merge(&given_other, &given_other_lse, &given_output, &given_lse, &options, &problem));
    CHECK_SAME_BITS(output, output_twin);
    CHECK_SAME_BITS(lse, lse_twin);
    options.isa = 9;
    check_invalid(attend_merge(&given_other, &given_other_lse, &given_output, &given_lse, &options, &problem), "isa: ");
  }
}

TEST_CASE("C API: slopes and rotary frequencies are those of the C++ API, by every field of a scaling") {
  Tensor slopes({6}), slopes_twin({6}), frequencies({4}), before({4}), twin({4});
  const attend_tensor given_slopes = out(slopes), given = out(frequencies);
  require_done(attend_default_alibi_slopes(6, &given_slopes, &problem));
  REQUIRE_OK(default_alibi_slopes(6, slopes_twin.view));
  CHECK_SAME_BITS(slopes, slopes_twin);
  check_invalid(attend_default_alibi_slopes(7, &given_slopes, &problem), "slopes: shape (6,), expected (7,)");

  attend_rotary_scaling base = {};
  base.size = sizeof base;
  struct Case {
    const char* field;
    int kind;
    void (*change)(attend_rotary_scaling&);
    void (*twin)(RotaryScaling&);
  };
  const Case cases[] = {
      {"kind", ATTEND_ROTARY_NONE, [](attend_rotary_scaling& s) { s.kind = ATTEND_ROTARY_NTK; }, [](RotaryScaling& s) { s.kind = RotaryScalingKind::ntk; }},
      {"factor", ATTEND_ROTARY_LINEAR, [](attend_rotary_scaling& s) { s.factor = 5.0; }, [](RotaryScaling& s) { s.factor = 5.0; }},
      {"original_max_position", ATTEND_ROTARY_YARN, [](attend_rotary_scaling& s) { s.original_max_position = 90; }, [](RotaryScaling& s) { s.original_max_position = 90; }},
      {"beta_fast", ATTEND_ROTARY_YARN, [](attend_rotary_scaling& s) { s.beta_fast = 3.0; }, [](RotaryScaling& s) { s.beta_fast = 3.0; }},
      {"beta_slow", ATTEND_ROTARY_YARN, [](attend_rotary_scaling& s) { s.beta_slow = 12.0; }, [](RotaryScaling& s) { s.beta_slow = 12.0; }},
      {"untruncated", ATTEND_ROTARY_YARN, [](attend_rotary_scaling& s) { s.untruncated = 1; }, [](RotaryScaling& s) { s.truncate = false; }},
      {"low_frequency_factor", ATTEND_ROTARY_LLAMA3, [](attend_rotary_scaling& s) { s.low_frequency_factor = 0.1; }, [](RotaryScaling& s) { s.low_frequency_factor = 0.1; }},
      {"high_frequency_factor", ATTEND_ROTARY_LLAMA3, [](attend_rotary_scaling& s) { s.high_frequency_factor = 200.0; }, [](RotaryScaling& s) { s.high_frequency_factor = 200.0; }},
  };
  for (const Case& one : cases) {
    CAPTURE(std::string(one.field));
    attend_rotary_scaling scaling = base;
    RotaryScaling scaling_twin;
    scaling.kind = one.kind;
    scaling.factor = scaling_twin.factor = 3.0;
    scaling.original_max_position = scaling_twin.original_max_position = one.kind == ATTEND_ROTARY_LLAMA3 ? 40 : 400;
    scaling_twin.kind = static_cast<RotaryScalingKind>(one.kind);
    require_done(attend_rotary_frequencies(8, 30.0, &scaling, &given, &problem));
    before.copy(frequencies);
    one.change(scaling);
    one.twin(scaling_twin);
    require_done(attend_rotary_frequencies(8, 30.0, &scaling, &given, &problem));
    REQUIRE_OK(rotary_frequencies(8, 30.0, scaling_twin, twin.view));
    CHECK_SAME_BITS(frequencies, twin);
    CHECK(first_difference(frequencies, before) != -1);
    CHECK(attend_rotary_attention_factor(&scaling) == rotary_attention_factor(scaling_twin));
  }
  require_done(attend_rotary_frequencies(8, 30.0, nullptr, &given, &problem));
  REQUIRE_OK(rotary_frequencies(8, 30.0, {}, twin.view));
  CHECK_SAME_BITS(frequencies, twin);
  CHECK(attend_rotary_attention_factor(nullptr) == 1.0f);
  base.kind = 5;
  check_invalid(attend_rotary_frequencies(8, 30.0, &base, &given, &problem), "kind: 5");
  base.size = 0;
  check_invalid(attend_rotary_frequencies(8, 30.0, &base, &given, &problem), "scaling.size: 0, expected sizeof (attend_rotary_scaling)");
  CHECK(attend_rotary_attention_factor(&base) == 0.0f);
}
