// Tests of the C API: the bits of the C++ one.

#include "engine_test.h"

#include "attend/attend.h"

using namespace engine_test;

TEST_CASE("C API: a layer with every option gives the bits of the C++ one, and so does the core") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(41);
    Tensor frequencies({3});
    MultiHeadAttentionConfig config = Layer::square(20, 4, isa, true);
    config.num_kv_heads = 2;
    config.head_dim = 6;
    config.output_size = 9;
    config.rotary.inverse_frequencies = frequencies.fill(random).view;
    config.rotary.attention_factor = 1.5f;
    config.rotary.interleaved = true;
    config.qk_norm = true;
    config.norm_epsilon = 0.25f;
    const Layer layer(config, random);
    const std::int64_t B = 2, L = 5, S = 7, H = 4;
    Tensor queries({B, L, 20}), keys({B, S, 20}), expected({B, L, 9}), expected_lse({B, H, L}), output({B, L, 9}), lse({B, H, L});
    Tensor additive({B, 1, L, S});
    queries.fill(random);
    keys.fill(random);
    additive.fill(random);
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(H * L * S));
    for (std::uint8_t& shown : mask) shown = !random.once_in(4);
    const std::int64_t lengths[] = {7, 5};
    AttentionOptions options;
    options.causal = true;
    options.offset = 2;
    options.window_left = 3;
    options.mask = BoolMaskView(mask.data(), 1, H, L, S);
    options.additive_mask = additive.view;
    options.scale = -0.5f;
    options.softcap = 3.0f;
    options.empty_rows = EmptyRows::uniform;
    options.lse = expected_lse.view;
    REQUIRE_OK(layer.forward(queries, keys, keys, LengthsView(lengths, B), expected, options));

    attend_mha_config sizes = {};
    sizes.key_size = sizes.query_size = sizes.value_size = sizes.num_hiddens = 20;
    sizes.num_heads = H;
    sizes.num_kv_heads = 2;
    sizes.head_dim = 6;
    sizes.output_size = 9;
    sizes.isa = static_cast<int>(isa);
    sizes.rotary_frequencies = frequencies.view.data;
    sizes.num_rotary_frequencies = 3;
    sizes.rotary_attention_factor = 1.5f;
    sizes.rotary_interleaved = sizes.qk_norm = 1;
    sizes.norm_epsilon = 0.25f;
    const MultiHeadAttentionWeights& w = layer.weights;
    const attend_mha_weights weights = {w.query.data,      w.key.data,         w.value.data,       w.output.data,     w.query_bias.data,
                                        w.key_bias.data,   w.value_bias.data,  w.output_bias.data, w.query_norm.data, w.key_norm.data};
    attend_mha* made = nullptr;
    attend_error error = {};
    REQUIRE_MESSAGE(attend_mha_make(&sizes, &weights, nullptr, 0, &made, &error) == ATTEND_OK, std::string(error.message));
    attend_options given = {};
    given.causal = 1;
    given.offset = 2;
    given.windowed = 1;
    given.window_left = 3;
    given.window_right = -1;
    given.mask = mask.data();
    given.mask_by_head = 1;
    given.additive_mask = additive.view.data;
    given.additive_mask_by_entry = 1;
    given.scale = -0.5f;
    given.softcap = 3.0f;
    given.lse = lse.view.data;
    attend_mha_call call = {};
    call.batch = B;
    call.num_queries = L;
    call.num_keys = S;
    call.queries = queries.view.data;
    call.keys = call.values = keys.view.data;
    call.valid_lens = lengths;
    call.empty_rows = ATTEND_EMPTY_UNIFORM;
    call.output = output.view.data;
    call.options = given;
    REQUIRE_MESSAGE(attend_mha_forward(made, &call, &error) == ATTEND_OK, std::string(error.message));
    CHECK_SAME_BITS(output, expected);
    CHECK_SAME_BITS(lse, expected_lse);
    // All zero: no option at all.
    call.options = attend_options();
    call.valid_lens = nullptr;
    call.empty_rows = 0;
    REQUIRE(attend_mha_forward(made, &call, &error) == ATTEND_OK);
    REQUIRE_OK(layer.forward(queries, keys, keys, {}, expected));
    CHECK_SAME_BITS(output, expected);
    attend_mha_destroy(made);

    Tensor q({B, H, L, 6}), k({B, 2, S, 6}), v({B, 2, S, 4}), core({B, H, L, 4}), expected_core({B, H, L, 4});
    q.fill(random);
    k.fill(random);
    v.fill(random);
    Workspace workspace;
    REQUIRE_OK(attention(q.view, k.view, v.view, LengthsView(lengths, B), expected_core.view, workspace, options, isa));
    attend_attention_call core_call = {};
    core_call.batch = B;
    core_call.num_heads = H;
    core_call.num_kv_heads = 2;
    core_call.num_queries = L;
    core_call.num_keys = S;
    core_call.head_dim = 6;
    core_call.value_dim = 4;
    core_call.valid_lens = lengths;
    core_call.empty_rows = ATTEND_EMPTY_UNIFORM;
    core_call.isa = static_cast<int>(isa);
    core_call.options = given;
    const std::size_t bytes = attend_attention_workspace_bytes(&core_call);
    CHECK(bytes == attention_workspace_bytes(q.view, k.view, v.view, options, isa));
    core_call.q = q.view.data;
    core_call.k = k.view.data;
    core_call.v = v.view.data;
    core_call.output = core.view.data;
    REQUIRE_MESSAGE(attend_attention(&core_call, &error) == ATTEND_OK, std::string(error.message));
    CHECK_SAME_BITS(core, expected_core);
    CHECK_SAME_BITS(lse, expected_lse);
    core.fill(0.0f);
    std::vector<unsigned char> memory(bytes);
    core_call.workspace = memory.data();
    core_call.workspace_bytes = bytes;
    REQUIRE(attend_attention(&core_call, &error) == ATTEND_OK);
    CHECK_SAME_BITS(core, expected_core);
    core_call.workspace_bytes = 1;
    CHECK(attend_attention(&core_call, &error) == ATTEND_OUT_OF_MEMORY);
    core_call.options.softcap = -1.0f;
    CHECK(attend_attention(&core_call, &error) == ATTEND_INVALID_ARGUMENT);
    CHECK(std::string(error.message).find("softcap: -1") == 0);
    CHECK(attend_attention(nullptr, &error) == ATTEND_INVALID_ARGUMENT);
    CHECK(attend_attention_workspace_bytes(nullptr) == 0);
  }
}
