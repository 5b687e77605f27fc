// Tests of the C API: layers. The bits of the C++ API for random calls, and what each option and each field of a config changes.

#include "c_twin.h"

#include <functional>

#include "base/memory.h"

using namespace c_twin;

namespace {

attend_mha_call call_of(const Tensor& queries, const Tensor& keys, const Tensor& values, const LengthsView& valid_lens, const Tensor& output,
                        const Options& options) {
  attend_mha_call call = {};
  call.size = sizeof call;
  call.queries = in(queries);
  call.keys = in(keys);
  call.values = in(values);
  call.valid_lens = numbers(valid_lens);
  call.output = out(output);
  call.options = &options.value;
  return call;
}

}  // namespace

TEST_CASE("C API: a layer gives the bits of the C++ one for random calls, in the memory that it asks for") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(41);
    Tensor frequencies({3});
    const Layer layer(rich_config(isa, frequencies.fill(random)), random, &random);
    const CLayer made(layer);
    for (int n = 0; n < share_of(60); ++n) {
      CAPTURE(n);
      const std::int64_t B = random.between(1, 3), L = random.between(1, 6), S = random.between(1, 9);
      RandomOptions drawn(random, {B, 4, L, S, true});
      Tensor queries({B, L, 20}, random), keys({B, S, 20}, random), values({B, S, 20}, random), output({B, L, 9}, random);
      for (Tensor* tensor : {&queries, &keys, &values}) tensor->fill(random);
      const Lengths lengths = Lengths::random(random, B, L, S);
      REQUIRE_OK(layer.forward(queries, keys, values, lengths.view, output, drawn.options));
      const Options options(drawn.options);
      attend_mha_call call = call_of(queries, keys, values, lengths.view, output, options);
      Written written(drawn.outputs(output));
      const std::size_t bytes = attend_mha_workspace_bytes(made.layer, &call);
      CHECK(bytes == layer.attention.workspace_bytes({B, L, S}, drawn.options));
      run_in(bytes, &call.workspace, [&] { return attend_mha_forward(made.layer, &call, &problem); });
      written.check_same();
    }
  }
}

TEST_CASE("C API: a layer of low precision gives the bits of the C++ one, and is refused where there is no kernel for it") {
  CHECK(attend_get_low_precision() == reinterpret_cast<const attend_low_precision*>(low_precision()));
  CHECK(attend_get_low_precision_int4() == reinterpret_cast<const attend_low_precision*>(low_precision_int4()));
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for (const Arithmetic arithmetic : {Arithmetic::float32, Arithmetic::bfloat16, Arithmetic::int8}) {
      CHECK(attend_core_instructions(static_cast<attend_arithmetic>(arithmetic), static_cast<attend_isa>(isa)) == core_instructions(arithmetic, isa));
    }
    for (const Precision& precision : precisions) {
      const int weight_type = static_cast<int>(precision.weights), arithmetic = static_cast<int>(precision.arithmetic);
      CAPTURE(weight_type);
      CAPTURE(arithmetic);
      const bool int4 = precision.weights == WeightType::int4;
      const char* const instructions = int4 ? int4_instructions(precision.arithmetic, isa) : product_instructions(precision.weights, precision.arithmetic, isa);
      const auto of_arithmetic = static_cast<attend_arithmetic>(arithmetic);
      CHECK((int4 ? attend_int4_instructions(of_arithmetic, static_cast<attend_isa>(isa))
                  : attend_product_instructions(static_cast<attend_weight_type>(weight_type), of_arithmetic, static_cast<attend_isa>(isa))) == instructions);
      Random random(43);
      Tensor frequencies({3}), x({2, 5, 20}), output({2, 5, 9}), expected({2, 5, 9});
      const MultiHeadAttentionConfig sizes = with_precision(rich_config(isa, frequencies.fill(random)), precision);
      if (instructions == nullptr) {
        attend_mha* none = nullptr;
        const Config given(sizes);
        check_refused(attend_mha_make_random(&given.value, 1, nullptr, 0, &none, &problem), ATTEND_UNSUPPORTED,
                      "weight_type: this CPU or this build has no kernel for ");
        continue;
      }
      const Layer layer(sizes, random, &random);
      const CLayer made(layer);
      x.fill(random);
      REQUIRE_OK(layer.forward(x, x, x, {}, expected));
      const Options options{AttentionOptions()};
      attend_mha_call call = call_of(x, x, x, {}, output, options);
      const std::size_t bytes = attend_mha_workspace_bytes(made.layer, &call);
      CHECK(bytes == layer.attention.workspace_bytes({2, 5, 5}));
      run_in(bytes, &call.workspace, [&] { return attend_mha_forward(made.layer, &call, &problem); });
      CHECK_SAME_BITS(output, expected);
    }
  }
  CHECK(attend_product_instructions(ATTEND_WEIGHTS_FLOAT16, ATTEND_ARITHMETIC_INT8, ATTEND_ISA_BEST) == nullptr);
}

namespace {

/// What the C layer of given weights computes of x, which has the bits of the C++ layer of the same.
Tensor check_twin(const MultiHeadAttentionConfig& sizes_of, const MultiHeadAttentionWeights& weights, const attend_mha_weights& given, const Tensor& x) {
  Tensor output(x.array().shape), expected(x.array().shape);
  MultiHeadAttention twin;
  REQUIRE_OK(MultiHeadAttention::make(sizes_of, weights, &twin));
  Workspace workspace;
  REQUIRE_OK(twin.forward(x.view, x.view, x.view, {}, expected.view, workspace));
  const Config config(sizes_of);
  attend_mha* made = nullptr;
  require_done(attend_mha_make(&config.value, &given, nullptr, 0, &made, &problem));
  const Options options{AttentionOptions()};
  const attend_mha_call call = call_of(x, x, x, {}, output, options);
  require_done(attend_mha_forward(made, &call, &problem));
  CHECK_SAME_BITS(output, expected);
  attend_mha_destroy(made);
  return output;
}

}  // namespace

TEST_CASE("C API: stored matrices give the bits of the C++ layer that takes them, and are refused by name") {
  constexpr std::int64_t width = 20;
  Random random(47);
  const Precision types[] = {{WeightType::bfloat16, Arithmetic::float32}, {WeightType::int8, Arithmetic::int8}};
  Tensor x({2, 5, width}), scales({width});
  x.fill(random);
  for (std::int64_t n = 0; n < width; ++n) scales.at(n) = random.uniform(0.001f, 0.01f);
  const std::int64_t sizes[] = {width, width}, strides[] = {1, 2 * width};  // stored (in, out), with gaps
  for (const Precision& type : types) {
    if (!usable(type)) continue;
    const bool int8 = type.weights == WeightType::int8;
    std::vector<std::uint16_t> halves[4];
    std::vector<std::int8_t> integers[4];
    MultiHeadAttentionWeights weights;
    StoredMatrix stored[4];
    StoredMatrix* const twins[] = {&stored[0], &stored[1], &stored[2], &stored[3]};
    weights.stored_query = twins[0];
    weights.stored_key = twins[1];
    weights.stored_value = twins[2];
    weights.stored_output = twins[3];
    attend_stored_matrix matrices[4] = {};
    for (int which = 0; which < 4; ++which) {
      for (std::int64_t n = 0; n < 2 * width * width; ++n) {
        halves[which].push_back(static_cast<std::uint16_t>(0x3d00 + 0x8000 * random.between(0, 1) + random.between(0, 255)));  // +-0.03 to 0.12
        integers[which].push_back(static_cast<std::int8_t>(random.between(-128, 127)));
      }
      if (int8) {
        twins[which]->integers = View<const std::int8_t>::strided(integers[which].data(), sizes, strides);
        twins[which]->scales = scales.view;
      } else {
        twins[which]->halves = View<const std::uint16_t>::strided(halves[which].data(), sizes, strides);
      }
      matrices[which] = {sizeof matrices[which], c_view<attend_half_tensor>(twins[which]->halves), c_view<attend_int8_tensor>(twins[which]->integers), in(twins[which]->scales), {}, {}};
    }
    const MultiHeadAttentionConfig sizes_of = with_precision(Layer::square(width, 4, Isa::best), type);
    const Config config(sizes_of);
    attend_mha_weights given = {};
    given.size = sizeof given;
    given.stored_query = &matrices[0];
    given.stored_key = &matrices[1];
    given.stored_value = &matrices[2];
    given.stored_output = &matrices[3];
    check_twin(sizes_of, weights, given, x);

    attend_mha* made = nullptr;
    const char* const names[] = {"stored_query", "stored_key", "stored_value", "stored_output"};
    for (int which = 0; which < 4; ++which) {
      const attend_stored_matrix right = matrices[which];
      const auto refused = [&](const std::string& message) {
        check_invalid(attend_mha_make(&config.value, &given, nullptr, 0, &made, &problem), std::string("weights.") + names[which] + message);
        matrices[which] = right;
        CHECK(made == nullptr);
      };
      matrices[which].size = 0;
      refused(".size: 0, expected sizeof (attend_stored_matrix)");
      (int8 ? matrices[which].integers.sizes : matrices[which].halves.sizes)[1] = 19;
      refused(": shape (20, 19), expected (20, 20)");
      if (int8) {
        matrices[which].scales.sizes[0] = 19;
        refused(": shape (19,), expected (20,)");
      }
      matrices[which].halves = int8 ? c_view<attend_half_tensor>(View<const std::uint16_t>(halves[which].data(), width, width)) : attend_half_tensor();
      matrices[which].integers = int8 ? attend_int8_tensor() : c_view<attend_int8_tensor>(View<const std::int8_t>(integers[which].data(), width, width));
      if (int8) matrices[which].scales = {};
      refused(int8 ? ": halves, but weight_type is int8" : ": integers, but weight_type is bfloat16");
    }
  }
}

TEST_CASE("C API: stored matrices of int4, with zeros and without, give the bits of the C++ layer that takes them") {
  constexpr std::int64_t width = 20, bytes_of_row = 10;
  Random random(53);
  Tensor x({2, 5, width}), scales({width, 1});
  x.fill(random);
  for (std::int64_t n = 0; n < width; ++n) scales.at(n, 0) = random.uniform(0.01f, 0.1f);
  std::vector<std::uint8_t> nibbles, zeros;
  for (std::int64_t n = 0; n < width * bytes_of_row; ++n) nibbles.push_back(static_cast<std::uint8_t>(random.between(0, 255)));
  for (std::int64_t n = 0; n < width; ++n) zeros.push_back(static_cast<std::uint8_t>(random.between(0, 15)));
  const Precision precision = {WeightType::int4, Arithmetic::int8};
  if (!usable(precision)) return;
  Tensor outputs[] = {Tensor({2, 5, width}), Tensor({2, 5, width})};
  for (const bool has_zeros : {false, true}) {
    StoredMatrix stored;
    stored.nibbles = View<const std::uint8_t>(nibbles.data(), width, bytes_of_row);
    stored.scales = scales.view;
    if (has_zeros) stored.zeros = View<const std::uint8_t>(zeros.data(), width, 1);
    MultiHeadAttentionWeights weights;
    weights.stored_query = weights.stored_key = weights.stored_value = weights.stored_output = &stored;
    const MultiHeadAttentionConfig sizes_of = with_precision(Layer::square(width, 4, Isa::best), precision);
    attend_stored_matrix matrix = {};
    matrix.size = sizeof matrix;
    matrix.nibbles = c_view<attend_uint8_tensor>(stored.nibbles);
    matrix.zeros = c_view<attend_uint8_tensor>(stored.zeros);
    matrix.scales = in(scales);
    attend_mha_weights given = {};
    given.size = sizeof given;
    given.stored_query = given.stored_key = given.stored_value = given.stored_output = &matrix;
    outputs[has_zeros] = check_twin(sizes_of, weights, given, x);
    const Config config(sizes_of);
    attend_mha* made = nullptr;
    matrix.nibbles.sizes[1] = 9;
    check_invalid(attend_mha_make(&config.value, &given, nullptr, 0, &made, &problem), "weights.stored_query: shape (20, 9), expected (20, 10)");
    CHECK(made == nullptr);
  }
  CHECK(engine_test::first_difference(outputs[0], outputs[1]) != -1);
}

TEST_CASE("C API: each option of a layer changes what the call gives, as in C++") {
  Random random(42);
  constexpr std::int64_t B = 2, H = 4, L = 5, S = 7;
  Tensor frequencies({3});
  const Layer layer(rich_config(Isa::best, frequencies.fill(random)), random);
  const CLayer made(layer);
  Tensor queries({B, L, 20}), keys({B, S, 20}), output({B, L, 9}), before({B, L, 9}), expected({B, L, 9});
  Tensor additive({1, 1, L, S}), slopes({H}), table({8, H}), sinks({H}), weights({B, H, L, S}), averages({B, L, S}), lse({B, H, L});
  for (Tensor* tensor : {&queries, &keys, &additive, &slopes, &table, &sinks}) tensor->fill(random);
  const std::uint8_t mask[S] = {1, 0, 1, 1, 0, 1, 1}, padding[B * S] = {1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1};
  const std::int64_t offsets[B] = {0, 2}, valid_starts[B] = {0, 2}, parents[L] = {-1, 0, 0, 1, 2}, positions[] = {9, 8, 7, 6, 5, 4, 3}, lengths[B] = {0, 6};
  const std::int64_t query_starts[] = {0, 2, 5}, key_starts[] = {0, 3, 7};
  using Change = std::function<void(AttentionOptions&)>;
  struct Case {
    const char* field;
    Change from, to;
  };
  const Change same = [](AttentionOptions&) {};
  const Change causal = [](AttentionOptions& o) { o.causal = true; };
  const Change bias = [&](AttentionOptions& o) { o.relative_position_bias.table = table.view; };
  const Change masked = [&](AttentionOptions& o) { o.mask = BoolMaskView(mask, 1, S); };
  const Change dropout = [](AttentionOptions& o) { o.training = true; };
  std::vector<Case> cases = {
      {"scale", same, [](AttentionOptions& o) { o.scale = 0.9f; }},
      {"softcap", same, [](AttentionOptions& o) { o.softcap = 0.5f; }},
      {"causal", same, causal},
      {"offset", causal, [](AttentionOptions& o) { o.offset = 1; }},
      {"offsets", causal, [&](AttentionOptions& o) { o.offsets = IndexView(offsets, B); }},
      {"window_left", same, [](AttentionOptions& o) { o.window_left = 1; }},
      {"window_right", same, [](AttentionOptions& o) { o.window_right = 0; }},
      {"mask", same, masked},
      {"key_padding_mask", same, [&](AttentionOptions& o) { o.key_padding_mask = BoolMaskView(padding, B, S); }},
      {"mask_hides", masked, [](AttentionOptions& o) { o.mask_hides = true; }},
      {"valid_starts", same, [&](AttentionOptions& o) { o.valid_starts = IndexView(valid_starts, B); }},
      {"additive_mask", same, [&](AttentionOptions& o) { o.additive_mask = additive.view; }},
      {"tree_parents", same, [&](AttentionOptions& o) { o.tree_parents = IndexView(parents, L); }},
      {"empty_rows", same, [](AttentionOptions& o) { o.empty_rows = EmptyRows::uniform; }},
      {"alibi_slopes", same, [&](AttentionOptions& o) { o.alibi_slopes = slopes.view; }},
      {"relative_position_bias", same, bias},
      {"unidirectional", bias, [](AttentionOptions& o) { o.relative_position_bias.bidirectional = false; }},
      {"max_distance", bias, [](AttentionOptions& o) { o.relative_position_bias.max_distance = 5; }},
      {"sinks", same, [&](AttentionOptions& o) { o.sinks = sinks.view; }},
      {"query_positions", same, [&](AttentionOptions& o) { o.query_positions = IndexView(positions, L); }},
      {"key_positions", same, [&](AttentionOptions& o) { o.key_positions = IndexView(positions, S); }},
      {"training", same, dropout},
      {"dropout_seed", dropout, [](AttentionOptions& o) { o.dropout_seed = 1; }},
  };
  const Change bfloat16 = [](AttentionOptions& o) { o.core_arithmetic = Arithmetic::bfloat16, o.low_precision = low_precision(); };
  AttentionOptions in_bfloat16;
  bfloat16(in_bfloat16);
  const Options given_bfloat16(in_bfloat16);
  const attend_mha_call rounded = call_of(queries, keys, keys, {}, output, given_bfloat16);
  if (core_instructions(Arithmetic::bfloat16) != nullptr) {
    cases.push_back({"core_arithmetic", same, bfloat16});
  } else {
    check_refused(attend_mha_forward(made.layer, &rounded, &problem), ATTEND_UNSUPPORTED, "core_arithmetic: this CPU or this build has no attention in bfloat16 on ");
  }
  Workspace workspace;
  for (const Case& one : cases) {
    CAPTURE(std::string(one.field));
    AttentionOptions from;
    one.from(from);
    AttentionOptions to = from;
    one.to(to);
    REQUIRE_OK(layer.forward(queries, keys, keys, LengthsView(lengths, B), before, from));
    REQUIRE_OK(layer.forward(queries, keys, keys, LengthsView(lengths, B), expected, to));
    const Options options(to);
    const attend_mha_call call = call_of(queries, keys, keys, LengthsView(lengths, B), output, options);
    require_done(attend_mha_forward(made.layer, &call, &problem));
    CHECK_SAME_BITS(output, expected);
    CHECK(first_difference(output, before) != -1);
  }

  // What else is written, and where.
  AttentionOptions asking;
  asking.attention_weights = weights.view;
  asking.lse = lse.view;
  const Options by_head(asking);
  attend_mha_call call = call_of(queries, keys, keys, {}, output, by_head);
  require_done(attend_mha_forward(made.layer, &call, &problem));
  CHECK(weights.at(1, 3, 4, 6) > 0.0f);
  CHECK(lse.at(1, 3, 4) > -100.0f);
  asking.attention_weights = averages.view;
  asking.average_weights = true;
  const Options averaged(asking);
  call = call_of(queries, keys, keys, {}, output, averaged);
  require_done(attend_mha_forward(made.layer, &call, &problem));
  CHECK(averages.at(1, 4, 6) > 0.0f);

  // Packed sequences, of a single entry.
  Tensor packed({1, L, 9}), expected_packed({1, L, 9});
  AttentionOptions starts;
  starts.query_starts = IndexView(query_starts, 3);
  starts.key_starts = IndexView(key_starts, 3);
  const ConstTensorView one_queries(queries.view.data, 1, L, 20), one_keys(keys.view.data, 1, S, 20);
  REQUIRE_OK(layer.attention.forward(one_queries, one_keys, one_keys, {}, expected_packed.view, workspace, starts));
  Options given(starts);
  call = {sizeof call, in(one_queries), in(one_keys), in(one_keys), {}, out(packed), nullptr, &given.value};
  const std::size_t bytes = attend_mha_workspace_bytes(made.layer, &call);
  CHECK(bytes == layer.attention.workspace_bytes({1, L, S}, starts));
  run_in(bytes, &call.workspace, [&] { return attend_mha_forward(made.layer, &call, &problem); });
  CHECK_SAME_BITS(packed, expected_packed);
  given.value.key_starts = {};
  check_invalid(attend_mha_forward(made.layer, &call, &problem), "query_starts: cannot go with no key_starts");
  CHECK(attend_mha_workspace_bytes(made.layer, &call) == 0);
  given.value.key_starts = given.value.query_starts;
  check_invalid(attend_mha_forward(made.layer, &call, &problem), "key_starts: ends at 5, expected the rows of k");

  // Refused, in the caller's own words.
  call = call_of(queries, keys, keys, {}, output, by_head);
  const auto refused = [&](const std::function<void(attend_options&)>& change, const char* message) {
    attend_options wrong = {};
    wrong.size = sizeof wrong;
    change(wrong);
    call.options = &wrong;
    check_invalid(attend_mha_forward(made.layer, &call, &problem), message);
  };
  refused([](attend_options& o) { o.threads.count = 300; }, "threads: count 300, expected 1 to 256");
  refused([](attend_options& o) { o.threads.count = 2; }, "threads: count 2 needs a parallel_for, which is null");
  refused([](attend_options& o) { o.isa = 77; }, "isa: ");
  refused([](attend_options& o) { o.empty_rows = 2; }, "empty_rows: 2");
  refused([](attend_options& o) { o.window_left = 2; }, "window_left: 2, but windowed is 0");
  refused([](attend_options& o) { o.window_right = -1; }, "window_right: -1, but windowed is 0");
  refused([](attend_options& o) { o.softcap = -1.0f; }, "softcap: -1");
  refused([](attend_options& o) { o.core_arithmetic = ATTEND_ARITHMETIC_INT8; }, "core_arithmetic: 2, expected float32 or bfloat16");
  refused([](attend_options& o) { o.core_arithmetic = ATTEND_ARITHMETIC_BFLOAT16; }, "low_precision: null, but core_arithmetic is bfloat16");
  refused([](attend_options& o) { o.windowed = 1, o.window_left = -2; }, "window_left: -2");
  call.options = nullptr;
  call.keys.sizes[1] = 8, call.keys.sizes[2] = 19;
  check_invalid(attend_mha_forward(made.layer, &call, &problem), "keys: shape (2, 8, 19), expected (2, 8, 20)");
  call.keys.rank = 5;
  check_invalid(attend_mha_forward(made.layer, &call, &problem), "keys: rank 5, expected 0 to 4");
  CHECK(attend_mha_workspace_bytes(made.layer, &call) == 0);
  call.keys = {};
  check_invalid(attend_mha_forward(made.layer, &call, &problem), "keys: shape () has 0 axes, expected 3");
  check_invalid(attend_mha_forward(nullptr, &call, &problem), "layer: null");
  check_invalid(attend_mha_forward(made.layer, nullptr, &problem), "call: null");
  CHECK(attend_mha_workspace_bytes(nullptr, &call) + attend_mha_workspace_bytes(made.layer, nullptr) == 0);
}

TEST_CASE("C API: each field of a layer's config is in what config() gives, and changes the layer or is refused") {
  Random random(44);
  Tensor frequencies({3}), cosines({20, 3}), sines({20, 3}), x({1, 4, 20}), y({1, 4, 20}), output({1, 4, 20}), before({1, 4, 20});
  for (Tensor* tensor : {&frequencies, &cosines, &sines, &x, &y}) tensor->fill(random);
  MultiHeadAttentionConfig base = Layer::square(20, 2, Isa::best, true);
  base.qk_norm = true;
  base.dropout = 0.5f;
  base.rotary.inverse_frequencies = frequencies.view;
  AttentionOptions training;
  training.training = true;
  using Change = std::function<void(MultiHeadAttentionConfig&)>;
  struct Case {
    const char* field;
    Change change;
  };
  std::vector<Case> cases = {
      {"num_heads", [](MultiHeadAttentionConfig& c) { c.num_heads = 1; }},
      {"dropout", [](MultiHeadAttentionConfig& c) { c.dropout = 0.25f; }},
      {"norm_epsilon", [](MultiHeadAttentionConfig& c) { c.norm_epsilon = 0.5f; }},
      {"norm_queries", [](MultiHeadAttentionConfig& c) { c.norm_queries = false; }},
      {"norm_keys", [](MultiHeadAttentionConfig& c) { c.norm_keys = false; }},
      {"num_kv_heads", [](MultiHeadAttentionConfig& c) { c.num_kv_heads = 1; }},
      {"head_dim", [](MultiHeadAttentionConfig& c) { c.head_dim = 8; }},
      {"rotary", [](MultiHeadAttentionConfig& c) { c.rotary = RotaryEmbedding(); }},
      {"interleaved", [](MultiHeadAttentionConfig& c) { c.rotary.interleaved = true; }},
      {"attention_factor", [](MultiHeadAttentionConfig& c) { c.rotary.attention_factor = 2.0f; }},
      {"cosines", [&](MultiHeadAttentionConfig& c) { c.rotary = RotaryEmbedding(); c.rotary.cosines = cosines.view; c.rotary.sines = sines.view; }},
  };
  const Precision stored = {WeightType::bfloat16, Arithmetic::float32}, multiplied = {WeightType::bfloat16, Arithmetic::bfloat16};
  if (usable(stored)) {
    cases.push_back({"weight_type", [&](MultiHeadAttentionConfig& c) { c = with_precision(c, stored); }});
    cases.push_back({"arithmetic", [&](MultiHeadAttentionConfig& c) { c = with_precision(c, multiplied); }});
  }
  const auto run = [&](const MultiHeadAttentionConfig& config, Tensor& result) {
    Random same(45);
    const Layer layer(config, same);
    const CLayer made(layer);
    Tensor expected({1, 4, 20});
    REQUIRE_OK(layer.forward(x, y, y, {}, expected, training));
    const Options options(training);
    const attend_mha_call call = call_of(x, y, y, {}, result, options);
    require_done(attend_mha_forward(made.layer, &call, &problem));
    CHECK_SAME_BITS(result, expected);

    // As it was made.
    attend_mha_config config_given = {};
    attend_rotary_embedding rotary_given = {};
    config_given.size = sizeof config_given;
    rotary_given.size = sizeof rotary_given;
    require_done(attend_mha_get_config(made.layer, &config_given, &rotary_given, &problem));
    const MultiHeadAttentionConfig& twin = layer.attention.config();
    const auto all = [](const attend_mha_config& c) {
      return std::vector<double>{double(c.key_size), double(c.query_size), double(c.value_size), double(c.num_hiddens), double(c.num_heads), c.dropout,
                                 double(c.bias), double(c.isa), c.norm_epsilon, double(c.norm_queries), double(c.norm_keys), double(c.num_kv_heads),
                                 double(c.head_dim), double(c.output_size), double(c.rotary != nullptr), double(c.weight_type), double(c.arithmetic),
                                 double(c.low_precision != nullptr), double(c.weight_group)};
    };
    attend_mha_config wanted = Config(twin).value;
    wanted.key_size = wanted.query_size = wanted.value_size = 20;
    wanted.norm_epsilon = twin.norm_epsilon;
    CHECK(all(config_given) == all(wanted));
    if (config_given.rotary == nullptr) return;
    CHECK(config_given.rotary == &rotary_given);
    CHECK(rotary_given.attention_factor == twin.rotary.attention_factor);
    CHECK(rotary_given.interleaved == twin.rotary.interleaved);
    CHECK(rotary_given.cosines.data == twin.rotary.cosines.data);
    // What it says makes the same layer.
    attend_mha* again = nullptr;
    const attend_mha_weights weights = c_weights(layer.weights);
    require_done(attend_mha_make(&config_given, &weights, nullptr, 0, &again, &problem));
    require_done(attend_mha_forward(again, &call, &problem));
    CHECK_SAME_BITS(result, expected);
    attend_mha_destroy(again);
  };
  run(base, before);
  for (const Case& one : cases) {
    CAPTURE(std::string(one.field));
    MultiHeadAttentionConfig config = base;
    one.change(config);
    run(config, output);
    CHECK(first_difference(output, before) != -1);
  }

  // Sizes are checked against those of the weights; a bias takes no other memory.
  const Layer layer(base, random);
  const attend_mha_weights weights = c_weights(layer.weights);
  attend_mha* none = nullptr;
  const auto refused = [&](const std::function<void(attend_mha_config&, attend_mha_weights&)>& change, const char* message) {
    const Config config(base);
    attend_mha_config wrong = config.value;
    attend_mha_weights wrong_weights = weights;
    change(wrong, wrong_weights);
    check_invalid(attend_mha_make(&wrong, &wrong_weights, nullptr, 0, &none, &problem), message);
    CHECK(none == nullptr);
  };
  refused([](attend_mha_config& c, attend_mha_weights&) { c.key_size = 19; }, "weights.key: shape (20, 20), expected (20, 19)");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.query_size = 19; }, "weights.query: shape (20, 20), expected (20, 19)");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.value_size = 19; }, "weights.value: shape (20, 20), expected (20, 19)");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.output_size = 19; }, "weights.output: shape (20, 20), expected (19, 20)");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.num_hiddens = 0; }, "num_hiddens: 0");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.num_heads = 3; }, "num_heads: 3");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.isa = 9; }, "isa: ");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.weight_type = 5; }, "weight_type: 5 is none that there is");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.arithmetic = -1; }, "arithmetic: -1 is none that there is");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.arithmetic = ATTEND_ARITHMETIC_INT8; },
          "arithmetic: int8 takes weights of int8 or int4, but weight_type is float32");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.weight_group = 32; }, "weight_group: 32, but weight_type is float32");
  refused([](attend_mha_config& c, attend_mha_weights&) { c.weight_type = ATTEND_WEIGHTS_FLOAT16; },
          "low_precision: null, but weight_type is float16");
  refused([](attend_mha_config&, attend_mha_weights& w) { w.query_bias.sizes[0] = 19; }, "weights.query_bias: shape (19,)");
  refused([](attend_mha_config&, attend_mha_weights& w) { w.key_bias.sizes[0] = 19; }, "weights.key_bias: shape (19,)");
  refused([](attend_mha_config&, attend_mha_weights& w) { w.value_bias.sizes[0] = 19; }, "weights.value_bias: shape (19,)");
  refused([](attend_mha_config&, attend_mha_weights& w) { w.output_bias.sizes[0] = 19; }, "weights.output_bias: shape (19,)");
  refused([](attend_mha_config&, attend_mha_weights& w) { w.query_norm.sizes[0] = 9; }, "weights.query_norm: shape (9,)");
  refused([](attend_mha_config&, attend_mha_weights& w) { w.key_norm.sizes[0] = 9; }, "weights.key_norm: shape (9,)");
  check_invalid(attend_mha_make(nullptr, &weights, nullptr, 0, &none, &problem), "config: null");
  const Config config(base);
  check_invalid(attend_mha_make(&config.value, nullptr, nullptr, 0, &none, &problem), "weights: null");
  check_invalid(attend_mha_make(&config.value, &weights, nullptr, 0, nullptr, &problem), "layer: null");
  check_invalid(attend_mha_get_config(nullptr, nullptr, nullptr, &problem), "layer: null");
  CHECK(attend_mha_bytes(nullptr) == 0);
  CHECK(attend_mha_isa(nullptr) == ATTEND_ISA_BEST);
  attend_mha_destroy(nullptr);
}

TEST_CASE("C API: layers in the caller's memory, of random weights, and without a heap") {
  MultiHeadAttentionConfig sizes = Layer::square(24, 3, Isa::best);
  sizes.bias = true;
  const Config config(sizes);
  const std::size_t bytes = attend_mha_bytes(&config.value);
  REQUIRE(bytes > MultiHeadAttention::packed_bytes(sizes));
  std::vector<unsigned char> memory(bytes + 2);
  memory[bytes + 1] = 0xa5;
  attend_mha* made = nullptr;
  check_refused(attend_mha_make_random(&config.value, 5, memory.data() + 1, bytes - 1, &made, &problem), ATTEND_OUT_OF_MEMORY,
                "memory_bytes: " + std::to_string(bytes - 1) + ", expected at least attend_mha_bytes(config) = ");
  require_done(attend_mha_make_random(&config.value, 5, memory.data() + 1, bytes, &made, &problem));
  CHECK(memory[bytes + 1] == 0xa5);
  CHECK(attend_mha_isa(made) == static_cast<attend_isa>(best_isa()));
  attend_mha_config given = {};
  given.size = sizeof given;
  require_done(attend_mha_get_config(made, &given, nullptr, &problem));
  CHECK(given.bias == 1);
  CHECK(given.key_size == 24);
  MultiHeadAttention twin, other;
  REQUIRE_OK(MultiHeadAttention::make_random(sizes, 5, &twin));
  REQUIRE_OK(MultiHeadAttention::make_random(sizes, 6, &other));
  Random random(46);
  Tensor x({2, 3, 24}), output({2, 3, 24}), expected({2, 3, 24}), different({2, 3, 24});
  x.fill(random);
  Workspace workspace;
  REQUIRE_OK(twin.forward(x.view, x.view, x.view, {}, expected.view, workspace));
  REQUIRE_OK(other.forward(x.view, x.view, x.view, {}, different.view, workspace));
  const Options options{AttentionOptions()};
  attend_mha_call call = call_of(x, x, x, {}, output, options);
  // A workspace that grows is the caller's to end, and to use again.
  attend_workspace grown = {};
  call.workspace = &grown;
  require_done(attend_mha_forward(made, &call, &problem));
  CHECK_SAME_BITS(output, expected);
  CHECK(first_difference(output, different) != -1);
  CHECK(grown.owned == 1);
  CHECK(grown.bytes + 63 >= attend_mha_workspace_bytes(made, &call));
  void* const held = grown.memory;
  attend::allocator = [](std::size_t, std::size_t) -> void* { return nullptr; };
  const attend_code again = attend_mha_forward(made, &call, nullptr);
  void* const room = attend_workspace_reserve(&grown, 8);
  call.workspace = nullptr;
  const attend_code alone = attend_mha_forward(made, &call, nullptr);
  attend_mha* none = nullptr;
  const attend_code heap = attend_mha_make_random(&config.value, 5, nullptr, 0, &none, &problem);
  attend_thread_pool* pool = nullptr;
  const attend_code threads = attend_thread_pool_make(2, &pool, nullptr);
  attend::allocator = aligned_alloc;
  CHECK(again == ATTEND_OK);
  CHECK(room == held);
  CHECK(alone == ATTEND_OUT_OF_MEMORY);
  check_refused(heap, ATTEND_OUT_OF_MEMORY, "memory: null, and the heap has no attend_mha_bytes(config) = ");
  CHECK(threads == ATTEND_OUT_OF_MEMORY);
  CHECK(grown.memory == held);
  attend_workspace_release(&grown);
  CHECK(grown.memory == nullptr);
  CHECK(grown.bytes + static_cast<std::size_t>(grown.owned) == 0);
  attend_mha_destroy(made);
  // In C++, a layer passes for one of C's.
  require_done(attend_mha_forward(reinterpret_cast<const attend_mha*>(&twin), &call, &problem));
  CHECK_SAME_BITS(output, expected);
}
