// Tests of the C API: the bits of the C++ one, and errors that leave everything as it was.

#include "engine_test.h"

#include "attend/attend.h"

using namespace engine_test;

namespace {

/// A layer's twin in C.
struct CLayer {
  attend_mha* layer = nullptr;

  explicit CLayer(const Layer& twin) {
    const MultiHeadAttentionConfig& config = twin.config;
    const MultiHeadAttentionWeights& w = twin.weights;
    attend_mha_config sizes = {};
    sizes.key_size = config.key_size;
    sizes.query_size = config.query_size;
    sizes.value_size = config.value_size;
    sizes.num_hiddens = config.num_hiddens;
    sizes.num_heads = config.num_heads;
    sizes.isa = static_cast<int>(config.isa);
    sizes.num_kv_heads = config.num_kv_heads;
    sizes.head_dim = config.head_dim;
    sizes.output_size = config.output_size;
    sizes.rotary_frequencies = config.rotary.inverse_frequencies.data;
    sizes.num_rotary_frequencies = config.rotary.inverse_frequencies.sizes[0];
    sizes.rotary_attention_factor = config.rotary.attention_factor;
    sizes.rotary_interleaved = config.rotary.interleaved;
    sizes.qk_norm = config.qk_norm;
    sizes.norm_epsilon = config.norm_epsilon;
    const attend_mha_weights weights = {w.query.data,    w.key.data,        w.value.data,       w.output.data,     w.query_bias.data,
                                        w.key_bias.data, w.value_bias.data, w.output_bias.data, w.query_norm.data, w.key_norm.data};
    attend_error error = {};
    REQUIRE_MESSAGE(attend_mha_make(&sizes, &weights, nullptr, 0, &layer, &error) == ATTEND_OK, std::string(error.message));
  }
  ~CLayer() { attend_mha_destroy(layer); }
  CLayer(const CLayer&) = delete;
  CLayer& operator=(const CLayer&) = delete;
};

/// Grouped heads, norms, rotation, biases: all that depends on where a row stands.
MultiHeadAttentionConfig rich_config(Isa isa, const Tensor& frequencies) {
  MultiHeadAttentionConfig config = Layer::square(20, 4, isa, true);
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.output_size = 9;
  config.rotary.inverse_frequencies = frequencies.view;
  config.rotary.attention_factor = 1.5f;
  config.rotary.interleaved = true;
  config.qk_norm = true;
  config.norm_epsilon = 0.25f;
  return config;
}

attend_error problem;  // of the call that a check is about

void require_done(attend_code code) { REQUIRE_MESSAGE(code == ATTEND_OK, std::string(problem.message)); }

/// Refused, with such a code and a message that begins so.
void check_refused(attend_code code, attend_code expected, const std::string& start) {
  const std::string message = problem.message;
  problem = attend_error();
  CHECK_MESSAGE(code == expected, start);
  CHECK_MESSAGE(message.compare(0, start.size(), start) == 0, message, ", expected ", start);
}

/// Calls with a workspace of exactly so many bytes; of one fewer they are refused.
template <class Call, class Run>
void run_in(std::size_t bytes, Call& call, const Run& run) {
  REQUIRE(bytes > 0);
  std::vector<unsigned char> memory(bytes);
  call.workspace = memory.data();
  call.workspace_bytes = bytes - 64;  // any alignment counts on 63 more
  check_refused(run(&call), ATTEND_OUT_OF_MEMORY, "workspace: ");
  call.workspace_bytes = bytes;
  require_done(run(&call));
  call.workspace = nullptr;
}

}  // namespace

TEST_CASE("C API: a layer with every option gives the bits of the C++ one, and so does the core") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(41);
    Tensor frequencies({3});
    const Layer layer(rich_config(isa, frequencies.fill(random)), random);
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

    const CLayer made(layer);
    attend_error error = {};
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
    REQUIRE_MESSAGE(attend_mha_forward(made.layer, &call, &error) == ATTEND_OK, std::string(error.message));
    CHECK_SAME_BITS(output, expected);
    CHECK_SAME_BITS(lse, expected_lse);
    // All zero: no option at all.
    call.options = attend_options();
    call.valid_lens = nullptr;
    call.empty_rows = 0;
    REQUIRE(attend_mha_forward(made.layer, &call, &error) == ATTEND_OK);
    REQUIRE_OK(layer.forward(queries, keys, keys, {}, expected));
    CHECK_SAME_BITS(output, expected);

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

TEST_CASE("C API: packed sequences give the bits of the C++ API, in the memory that is asked for") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(43);
    Tensor frequencies({3});
    const Layer layer(rich_config(isa, frequencies.fill(random)), random);
    const CLayer made(layer);
    const std::int64_t N = 4, L = 9, S = 16, H = 4, query_starts[] = {0, 3, 3, 4, 9}, key_starts[] = {0, 4, 6, 11, 16}, lengths[] = {4, 1, 9, 3};
    Tensor queries({1, L, 20}), keys({1, S, 20}), expected({1, L, 9}), expected_lse({1, H, L}), output({1, L, 9}), lse({1, H, L});
    queries.fill(random);
    keys.fill(random);
    AttentionOptions options;
    options.causal = true;
    options.offset = 1;
    options.lse = expected_lse.view;
    options.query_starts = IndexView(query_starts, N + 1);
    options.key_starts = IndexView(key_starts, N + 1);
    REQUIRE_OK(layer.forward(queries, keys, keys, LengthsView(lengths, N), expected, options));

    attend_mha_call call = {};
    call.batch = 1;
    call.num_queries = L;
    call.num_keys = S;
    call.options.causal = 1;
    call.options.offset = 1;
    call.options.num_sequences = N;
    call.options.query_starts = query_starts;
    call.options.key_starts = key_starts;
    const std::size_t bytes = attend_mha_call_workspace_bytes(made.layer, &call);
    CHECK(bytes == layer.attention.workspace_bytes({1, L, S}, options));
    CHECK(attend_mha_call_workspace_bytes(nullptr, &call) + attend_mha_call_workspace_bytes(made.layer, nullptr) == 0);
    call.queries = queries.view.data;
    call.keys = call.values = keys.view.data;
    call.valid_lens = lengths;
    call.output = output.view.data;
    call.options.lse = lse.view.data;
    run_in(bytes, call, [&](const attend_mha_call* c) { return attend_mha_forward(made.layer, c, &problem); });
    CHECK_SAME_BITS(output, expected);
    CHECK_SAME_BITS(lse, expected_lse);

    Tensor q({1, H, L, 6}), k({1, 2, S, 6}), v({1, 2, S, 4}), core({1, H, L, 4}), expected_core({1, H, L, 4});
    q.fill(random);
    k.fill(random);
    v.fill(random);
    Workspace workspace;
    REQUIRE_OK(attention(q.view, k.view, v.view, LengthsView(lengths, N), expected_core.view, workspace, options, isa));
    attend_attention_call core_call = {};
    core_call.batch = 1;
    core_call.num_heads = H;
    core_call.num_kv_heads = 2;
    core_call.num_queries = L;
    core_call.num_keys = S;
    core_call.head_dim = 6;
    core_call.value_dim = 4;
    core_call.isa = static_cast<int>(isa);
    core_call.options = call.options;
    const std::size_t core_bytes = attend_attention_workspace_bytes(&core_call);
    core_call.q = q.view.data;
    core_call.k = k.view.data;
    core_call.v = v.view.data;
    core_call.valid_lens = lengths;
    core_call.output = core.view.data;
    run_in(core_bytes, core_call, [](const attend_attention_call* c) { return attend_attention(c, &problem); });
    CHECK_SAME_BITS(core, expected_core);
    CHECK_SAME_BITS(lse, expected_lse);

    // What is not right is refused by name, and nothing is written.
    const auto refused = [&](const attend_options& wrong, const char* message) {
      call.options = core_call.options = wrong;
      check_refused(attend_mha_forward(made.layer, &call, &problem), ATTEND_INVALID_ARGUMENT, message);
      check_refused(attend_attention(&core_call, &problem), ATTEND_INVALID_ARGUMENT, message);
      CHECK_SAME_BITS(output, expected);
      CHECK_SAME_BITS(core, expected_core);
    };
    const attend_options right = call.options;
    attend_options wrong = right;
    wrong.key_starts = nullptr;
    refused(wrong, "key_starts: data is null, but its shape is (5)");
    wrong.key_starts = query_starts;
    refused(wrong, "key_starts: ends at 9, expected the rows of k");
    CHECK(attend_mha_call_workspace_bytes(made.layer, &call) == 0);
    wrong = right;
    wrong.num_sequences = N - 1;
    refused(wrong, "query_starts: ends at 4, expected the rows of q");
    for (const std::int64_t absurd : {std::int64_t{-1}, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
      wrong.num_sequences = absurd;
      refused(wrong, "query_starts: ");
    }
    wrong = right;
    const std::uint8_t shown[L * S] = {1};
    wrong.mask = shown;
    refused(wrong, "query_starts: cannot go with mask");
    // A single query whose row may be uniform takes more than one that decodes.
    attend_mha_call one = {};
    one.batch = one.num_queries = 1;
    one.num_keys = S;
    one.queries = queries.view.data;
    one.keys = one.values = keys.view.data;
    one.empty_rows = ATTEND_EMPTY_UNIFORM;
    one.output = output.view.data;
    run_in(attend_mha_call_workspace_bytes(made.layer, &one), one,
           [&](const attend_mha_call* c) { return attend_mha_forward(made.layer, c, &problem); });
  }
}
