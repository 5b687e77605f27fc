// Tests of every error: its code, what its message says, and that outputs stay as they were.

#include "engine_test.h"

#include <functional>

using namespace engine_test;

namespace {

constexpr StatusCode invalid = StatusCode::invalid_argument;

/// That a call was refused with this very message.
void check_refused(const Status& status, StatusCode code, const std::string& message) {
  CHECK(status.code() == code);
  CHECK(std::string(status.message()) == message);
  CHECK(!status.ok());
}

// The view with one size or one stride changed.
template <class Element>
View<Element> with_size(View<Element> view, int axis, std::int64_t size) {
  view.sizes[axis] = size;
  return view;
}
template <class Element>
View<Element> with_stride(View<Element> view, int axis, std::int64_t stride) {
  view.strides[axis] = stride;
  return view;
}
template <class Element>
View<Element> with_rank(View<Element> view, int rank) {
  view.rank = rank;
  return view;
}
template <class Element>
View<Element> with_data(View<Element> view, Element* data) {
  view.data = data;
  return view;
}

Isa missing_isa() {
  for (const IsaEntry& entry : isas) {
    if (!isa_usable(entry.isa)) return entry.isa;
  }
  return Isa::best;  // none is missing
}

std::string missing_message(Isa isa) {
  return "isa: " + std::string(isa_name(isa)) + " is " +
         (isa_compiled(isa) ? "not supported by this CPU" : "not part of this build") + "; the best here is " + isa_name(best_isa());
}

void run_in_order(void*, int count, void (*task)(void*, int), void* context) {
  for (int index = 0; index < count; ++index) task(context, index);
}

/// Threads that are wrong, each with what is said of them.
std::vector<std::pair<Threads, std::string>> wrong_threads() {
  std::vector<std::pair<Threads, std::string>> wrong;
  for (int count : {0, -1, max_threads + 1}) {
    Threads threads;
    threads.count = count;
    threads.parallel_for = run_in_order;
    wrong.push_back({threads, "threads: count " + std::to_string(count) + ", expected 1 to 256"});
  }
  Threads nobody;
  nobody.count = 2;
  wrong.push_back({nobody, "threads: count 2 needs a parallel_for, which is null"});
  return wrong;
}

constexpr std::int64_t huge = std::int64_t{1} << 61;

/// A layer, (2, 3) queries and 5 keys of widths that all differ, and arguments that are right for it.
struct LayerCall {
  Layer layer;
  Tensor queries, keys, values, output, attention_weights;
  Lengths lengths;
  Workspace workspace;
  AttentionOptions options;
  ConstTensorView query_view, key_view, value_view;
  LengthsView lengths_view;
  TensorView output_view;

  static Layer make_layer() {
    Random random(91);
    MultiHeadAttentionConfig config;
    config.query_size = 6;
    config.key_size = 7;
    config.value_size = 8;
    config.num_hiddens = 12;
    config.num_heads = 3;
    return Layer(config, random);
  }
  LayerCall()
      : layer(make_layer()), queries({2, 3, 6}), keys({2, 5, 7}), values({2, 5, 8}), output({2, 3, 12}), attention_weights({2, 3, 3, 5}),
        lengths({5, 2}, 2) {
    for (Tensor* tensor : {&queries, &keys, &values}) tensor->fill(1.0f);
    query_view = queries.view;
    key_view = keys.view;
    value_view = values.view;
    lengths_view = lengths.view;
    output_view = output.view;
    options.attention_weights = attention_weights.view;
  }
  Status run() {
    return layer.attention.forward(query_view, key_view, value_view, lengths_view, output_view, workspace, options);
  }
  void refuse(const std::string& message, StatusCode code = invalid) {
    check_refused(run(), code, message);
    CHECK(output.untouched());
    CHECK(attention_weights.untouched());
  }
};

struct CoreCall {
  DotProductAttention attention;
  Tensor queries, keys, values, output, attention_weights;
  Lengths lengths;
  Workspace workspace;
  AttentionOptions options;
  ConstTensorView query_view, key_view, value_view;
  LengthsView lengths_view;
  TensorView output_view;

  CoreCall() : queries({2, 3, 6}), keys({2, 5, 6}), values({2, 5, 8}), output({2, 3, 8}), attention_weights({2, 3, 5}), lengths({5, 2}, 2) {
    REQUIRE_OK(DotProductAttention::make(0.0f, &attention));
    for (Tensor* tensor : {&queries, &keys, &values}) tensor->fill(1.0f);
    query_view = queries.view;
    key_view = keys.view;
    value_view = values.view;
    lengths_view = lengths.view;
    output_view = output.view;
    options.attention_weights = attention_weights.view;
  }
  void refuse(const std::string& message, StatusCode code = invalid) {
    check_refused(attention.forward(query_view, key_view, value_view, lengths_view, output_view, workspace, options), code, message);
    CHECK(output.untouched());
    CHECK(attention_weights.untouched());
  }
};

}  // namespace

TEST_CASE("status: a call takes the ISA that its object was made for, or best") {
  const std::vector<Isa> isas = usable_isas();
  for (Isa isa : isas) {
    CAPTURE(name_of(isa));
    MultiHeadAttention layer;
    REQUIRE_OK(MultiHeadAttention::make_random(Layer::square(8, 2, isa), 1, &layer));
    DotProductAttention core;
    REQUIRE_OK(DotProductAttention::make(0.0f, &core, isa));
    Tensor x({1, 3, 8}), output({1, 3, 8});
    x.fill(1.0f);
    Workspace workspace;
    for (Isa asked : {Isa::best, isa}) {
      CHECK(layer.workspace_bytes({1, 3, 3}, on(asked)) == layer.workspace_bytes({1, 3, 3}));
      REQUIRE_OK(layer.forward(x.view, x.view, x.view, {}, output.view, workspace, on(asked)));
      REQUIRE_OK(core.forward(x.view, x.view, x.view, {}, output.view, workspace, on(asked)));
    }
    for (Isa asked : {isa == Isa::scalar ? isas.front() : Isa::scalar, Isa::neon, static_cast<Isa>(99)}) {
      if (asked == isa) continue;
      CAPTURE(name_of(asked));
      const std::string message = "isa: " + name_of(asked) + ", expected the one that this was made for, or best";
      Tensor untouched({1, 3, 8});
      CHECK(layer.workspace_bytes({1, 3, 3}, on(asked)) == 0);
      CHECK(core.workspace_bytes(x.view, x.view, x.view, on(asked)) == 0);
      check_refused(layer.forward(x.view, x.view, x.view, {}, untouched.view, workspace, on(asked)), StatusCode::invalid_argument, message);
      check_refused(core.forward(x.view, x.view, x.view, {}, untouched.view, workspace, on(asked)), StatusCode::invalid_argument, message);
      CHECK(untouched.untouched());
    }
  }
}

TEST_CASE("Status: ok is empty, an error has its message, cut to the buffer") {
  const Status ok;
  CHECK(ok.ok());
  CHECK(ok.code() == StatusCode::ok);
  CHECK(std::string(ok.message()).empty());
  const Status error = Status::error(StatusCode::unsupported, "%s: %d", "this", 7);
  check_refused(error, StatusCode::unsupported, "this: 7");
  const std::string longest(1000, 'x');
  const Status cut = Status::error(invalid, "%s", longest.c_str());
  CHECK(std::string(cut.message()) == longest.substr(0, 235));
}

TEST_CASE("Isa: names, and what is usable is compiled") {
  for (const IsaEntry& entry : isas) {
    Isa found = Isa::best;
    CHECK(isa_name(entry.isa) == std::string(entry.name));
    CHECK(isa_from_name(entry.name, &found));
    CHECK(found == entry.isa);
    if (isa_usable(entry.isa)) CHECK(isa_compiled(entry.isa));
  }
  Isa best = Isa::scalar;
  CHECK(isa_from_name(isa_name(Isa::best), &best));
  CHECK(best == Isa::best);
  Isa untouched = Isa::avx2;
  CHECK(!isa_from_name("AVX2", &untouched));
  CHECK(!isa_from_name("", &untouched));
  CHECK(!isa_from_name(nullptr, &untouched));
  CHECK(untouched == Isa::avx2);
  CHECK(std::string(isa_name(static_cast<Isa>(99))) == "unknown");
  CHECK(!isa_compiled(static_cast<Isa>(99)));
  CHECK(!isa_usable(static_cast<Isa>(99)));
  CHECK(isa_usable(Isa::scalar));
  CHECK(isa_usable(Isa::best));
  CHECK(best_isa() != Isa::best);
  CHECK(isa_usable(best_isa()));
  CHECK(std::string(version()) == ATTEND_VERSION);
}

TEST_CASE("errors: an ISA that does not exist, or is not here") {
  Tensor x({2, 2, 2}), output({2, 2, 2});
  x.fill(1.0f);
  Workspace workspace;
  const Lengths lengths({1, 1}, 2);
  std::vector<std::pair<Isa, std::string>> wrong = {{static_cast<Isa>(99), "isa: 99 is none that there is"},
                                                    {static_cast<Isa>(-1), "isa: -1 is none that there is"}};
  if (missing_isa() != Isa::best) wrong.push_back({missing_isa(), missing_message(missing_isa())});
  for (const auto& [isa, message] : wrong) {
    const StatusCode code = isa == missing_isa() ? StatusCode::unsupported : invalid;
    OperationOptions options;
    options.isa = isa;
    check_refused(matmul(x.view, x.view, false, {}, output.view, workspace, options), code, message);
    check_refused(sequence_mask(x.view, lengths.view, 0.0f, output.view, options), code, message);
    check_refused(masked_softmax(x.view, {}, output.view, options), code, message);
    check_refused(transpose_qkv(x.view, 1, output.view, options), code, message);
    check_refused(transpose_output(x.view, 1, output.view, options), code, message);
    CHECK(output.untouched());
    DotProductAttention attention;
    check_refused(DotProductAttention::make(0.0f, &attention, isa), code, message);
    check_refused(attention.forward(x.view, x.view, x.view, {}, output.view, workspace), invalid, "this DotProductAttention has not been made");
    MultiHeadAttention layer;
    const MultiHeadAttentionConfig config = Layer::square(2, 1, isa);
    check_refused(MultiHeadAttention::make(config, {}, &layer), code, message);
    check_refused(MultiHeadAttention::make_random(config, 1, &layer), code, message);
  }
}

TEST_CASE("errors: objects that were not made, or moved from") {
  LayerCall call;
  MultiHeadAttention made = static_cast<MultiHeadAttention&&>(call.layer.attention);
  CHECK(call.layer.attention.isa() == Isa::best);
  call.refuse("this MultiHeadAttention has not been made");
  call.layer.attention = static_cast<MultiHeadAttention&&>(made);
  REQUIRE_OK(call.run());

  MultiHeadAttention never;
  CHECK(never.isa() == Isa::best);
  check_refused(never.forward({}, {}, {}, {}, {}, call.workspace), invalid, "this MultiHeadAttention has not been made");
  const DotProductAttention core;
  check_refused(core.forward({}, {}, {}, {}, {}, call.workspace), invalid, "this DotProductAttention has not been made");
  check_refused(MultiHeadAttention::make(call.layer.config, call.layer.weights, nullptr), invalid, "attention: null");
  check_refused(MultiHeadAttention::make_random(call.layer.config, 1, nullptr), invalid, "attention: null");
  check_refused(DotProductAttention::make(0.0f, nullptr), invalid, "attention: null");
  check_refused(ThreadPool::make(2, nullptr), invalid, "pool: null");
  ThreadPool pool;
  for (int count : {0, -3, max_threads + 1}) {
    check_refused(ThreadPool::make(count, &pool), invalid, "count: " + std::to_string(count) + " threads, expected 1 to 256");
  }
  CHECK(pool.threads().count == 1);
}

TEST_CASE("errors: configs") {
  Random random(92);
  const Layer good(Layer::square(12, 3, Isa::best), random);
  const struct {
    std::int64_t MultiHeadAttentionConfig::*size;
    const char *name, *otherwise;  // what 0 stands for, if anything
  } sizes[] = {{&MultiHeadAttentionConfig::key_size, "key_size", ", or 0: query_size"},
               {&MultiHeadAttentionConfig::query_size, "query_size", ", or 0: num_hiddens"},
               {&MultiHeadAttentionConfig::value_size, "value_size", ", or 0: query_size"},
               {&MultiHeadAttentionConfig::num_hiddens, "num_hiddens", ""},
               {&MultiHeadAttentionConfig::num_heads, "num_heads", ""}};
  const auto refuse = [&](const MultiHeadAttentionConfig& config, const std::string& message) {
    MultiHeadAttention attention;
    check_refused(MultiHeadAttention::make(config, good.weights, &attention), invalid, message);
    check_refused(MultiHeadAttention::make_random(config, 1, &attention), invalid, message);
    CHECK(attention.isa() == Isa::best);
    CHECK(MultiHeadAttention::packed_bytes(config) == 0);
  };
  for (const auto& size : sizes) {
    for (std::int64_t wrong : {std::int64_t{0}, std::int64_t{-4}, (std::int64_t{1} << 24) + 1, INT64_MAX, INT64_MIN}) {
      if (wrong == 0 && size.otherwise[0] != '\0') continue;
      MultiHeadAttentionConfig config = good.config;
      config.*size.size = wrong;
      refuse(config, std::string(size.name) + ": " + std::to_string(wrong) + ", expected 1 to 16777216" + size.otherwise);
    }
  }
  MultiHeadAttentionConfig config = good.config;
  config.num_heads = 5;
  refuse(config, "num_heads: 5 does not divide num_hiddens, 12");
  config = Layer::square(1154, 2, Isa::best);
  refuse(config, "num_heads: 2 heads of 1154 hiddens are 577 wide, expected at most 576");
  config.num_heads = 3;
  config.num_kv_heads = 2;
  refuse(config, "num_kv_heads: 2 does not divide num_heads, 3");
  config.num_kv_heads = 4;
  refuse(config, "num_kv_heads: 4, expected 1 to 3, or 0: num_heads");
  config.num_kv_heads = -1;
  refuse(config, "num_kv_heads: -1, expected 1 to 3, or 0: num_heads");
  config = good.config;
  config.head_dim = 577;
  refuse(config, "head_dim: 577, expected 1 to 576, or 0: num_hiddens / num_heads");
  config.head_dim = 576;
  config.num_heads = std::int64_t{1} << 16;
  refuse(config, "head_dim: 65536 heads of 576 are too wide together, expected at most 16777216");
  config = good.config;
  config.output_size = (std::int64_t{1} << 24) + 1;
  refuse(config, "output_size: 16777217, expected 1 to 16777216, or 0: num_hiddens");
  config = good.config;
  config.norm_epsilon = -1.0f;
  refuse(config, "norm_epsilon: -1, expected a finite number, 0 or more");
  config = good.config;
  const float numbers[12] = {};
  config.rotary.inverse_frequencies = ConstTensorView(numbers, 3);
  refuse(config, "rotary.inverse_frequencies: shape (3,) rotates more than the width of a head, 4");
  config.rotary.inverse_frequencies = ConstTensorView(numbers, 2);
  config.rotary.cosines = ConstTensorView(numbers, 6, 2);
  refuse(config, "rotary.inverse_frequencies: given together with cosines or sines, expected one of the two");
  config.rotary.inverse_frequencies = ConstTensorView();
  refuse(config, "rotary.sines: shape () has 0 axes, expected 2");
  config.rotary.sines = ConstTensorView(numbers, 6, 1);
  refuse(config, "rotary.sines: shape (6, 1), expected (6, 2)");
  config.rotary.sines = config.rotary.cosines;
  config.rotary.attention_factor = 2.0f;
  refuse(config, "rotary.attention_factor: 2, expected 1 with cosines and sines, which include it");
  config.rotary.attention_factor = infinite;
  refuse(config, "rotary.attention_factor: inf, expected a finite number");
  config = good.config;
  config.dropout = 1.0f;
  refuse(config, "dropout: 1, expected 0 <= dropout < 1");
  config.dropout = -0.5f;
  refuse(config, "dropout: -0.5, expected 0 <= dropout < 1");
  config.dropout = infinite;
  refuse(config, "dropout: inf, expected 0 <= dropout < 1");
  DotProductAttention attention;
  check_refused(DotProductAttention::make(1.5f, &attention), invalid, "dropout: 1.5, expected 0 <= dropout < 1");
  CHECK(!DotProductAttention::make(not_a_number, &attention).ok());
  config.dropout = not_a_number;
  CHECK(MultiHeadAttention::packed_bytes(config) == 0);
}

TEST_CASE("errors: weights that disagree with the config") {
  Random random(93);
  MultiHeadAttentionConfig config = Layer::square(12, 3, Isa::best, true);
  config.query_size = 5;
  config.key_size = 6;
  config.value_size = 7;
  const Layer good(config, random);
  const auto refuse = [&](const MultiHeadAttentionWeights& weights, const std::string& message) {
    MultiHeadAttention attention;
    check_refused(MultiHeadAttention::make(good.config, weights, &attention), invalid, message);
    CHECK(attention.isa() == Isa::best);
  };
  const struct {
    ConstTensorView MultiHeadAttentionWeights::*view;
    const char* name;
    std::int64_t inputs;
  } matrices[] = {{&MultiHeadAttentionWeights::query, "weights.query", 5},
                  {&MultiHeadAttentionWeights::key, "weights.key", 6},
                  {&MultiHeadAttentionWeights::value, "weights.value", 7},
                  {&MultiHeadAttentionWeights::output, "weights.output", 12}};
  for (const auto& matrix : matrices) {
    const std::string name = matrix.name, inputs = std::to_string(matrix.inputs);
    MultiHeadAttentionWeights weights = good.weights;
    ConstTensorView& view = weights.*matrix.view;
    const ConstTensorView right = view;
    view = with_size(right, 1, matrix.inputs + 1);
    refuse(weights, name + ": shape (12, " + std::to_string(matrix.inputs + 1) + "), expected (12, " + inputs + ")");
    view = with_size(right, 0, 11);
    refuse(weights, name + ": shape (11, " + inputs + "), expected (12, " + inputs + ")");
    view = with_rank(right, 1);
    refuse(weights, name + ": shape (12,) has 1 axes, expected 2");
    view = ConstTensorView();
    refuse(weights, name + ": shape () has 0 axes, expected 2");
    view = with_data<const float>(right, nullptr);
    refuse(weights, name + ": data is null, but its shape is (12, " + inputs + ")");
    view = with_stride(right, 1, -1);
    refuse(weights, name + ": stride -1 of axis 1, expected 0 or more");
  }
  const struct {
    ConstTensorView MultiHeadAttentionWeights::*view;
    const char* name;
  } biases[] = {{&MultiHeadAttentionWeights::query_bias, "weights.query_bias"},
                {&MultiHeadAttentionWeights::key_bias, "weights.key_bias"},
                {&MultiHeadAttentionWeights::value_bias, "weights.value_bias"},
                {&MultiHeadAttentionWeights::output_bias, "weights.output_bias"}};
  for (const auto& bias : biases) {
    const std::string name = bias.name;
    MultiHeadAttentionWeights weights = good.weights;
    weights.*bias.view = with_size(good.weights.*bias.view, 0, 13);
    refuse(weights, name + ": shape (13,), expected (12,)");
    weights.*bias.view = with_data<const float>(good.weights.*bias.view, nullptr);
    refuse(weights, name + ": data is null, but its shape is (12,)");
  }
}

TEST_CASE("errors: weights of grouped heads, of heads of a width of their own, and norms") {
  Random random(94);
  MultiHeadAttentionConfig config = Layer::square(12, 4, Isa::best, true);
  config.num_kv_heads = 2;
  config.head_dim = 5;
  config.output_size = 7;
  config.qk_norm = true;
  const Layer good(config, random);
  const auto refuse = [&](ConstTensorView MultiHeadAttentionWeights::*view, int axis, std::int64_t size, const std::string& message) {
    MultiHeadAttentionWeights weights = good.weights;
    weights.*view = with_size(weights.*view, axis, size);
    MultiHeadAttention attention;
    check_refused(MultiHeadAttention::make(config, weights, &attention), invalid, message);
  };
  refuse(&MultiHeadAttentionWeights::query, 0, 12, "weights.query: shape (12, 12), expected (20, 12)");
  refuse(&MultiHeadAttentionWeights::key, 0, 20, "weights.key: shape (20, 12), expected (10, 12)");
  refuse(&MultiHeadAttentionWeights::value, 0, 20, "weights.value: shape (20, 12), expected (10, 12)");
  refuse(&MultiHeadAttentionWeights::output, 1, 12, "weights.output: shape (7, 12), expected (7, 20)");
  refuse(&MultiHeadAttentionWeights::key_bias, 0, 20, "weights.key_bias: shape (20,), expected (10,)");
  refuse(&MultiHeadAttentionWeights::output_bias, 0, 12, "weights.output_bias: shape (12,), expected (7,)");
  refuse(&MultiHeadAttentionWeights::query_norm, 0, 20, "weights.query_norm: shape (20,), expected (5,)");
  refuse(&MultiHeadAttentionWeights::key_norm, 0, 4, "weights.key_norm: shape (4,), expected (5,)");
  config.norm_keys = false;
  refuse(&MultiHeadAttentionWeights::key_norm, 0, 5, "weights.key_norm: given, but config.norm_keys is false");
  config.norm_queries = false;
  refuse(&MultiHeadAttentionWeights::key_norm, 0, 5, "weights.query_norm: given, but config.norm_queries is false");
  config.qk_norm = false;
  refuse(&MultiHeadAttentionWeights::key_norm, 0, 5, "weights.query_norm: given, but config.qk_norm is false");
}

TEST_CASE("errors: positions and packed sequences of a layer") {
  Random random(95);
  Tensor table({6, 2});
  table.fill(random);
  MultiHeadAttentionConfig config = Layer::square(12, 3, Isa::best);
  const Layer plain(config, random);
  config.rotary.cosines = config.rotary.sines = table.view;
  const Layer rotating(config, random);
  Tensor queries({2, 3, 12}), keys({2, 5, 12});
  queries.fill(1.0f);
  keys.fill(1.0f);
  const std::int64_t numbers[] = {0, 1, 6, 3, -1, 2, 0, 0, 0, 0};
  const auto refuse = [&](const Layer& layer, const AttentionOptions& options, const std::string& message) {
    Tensor output({2, 3, 12});
    check_refused(layer.forward(queries, keys, keys, {}, output, options), invalid, message);
    CHECK(output.untouched());
  };
  AttentionOptions options;
  options.key_positions = IndexView(numbers, 5);
  refuse(plain, options, "key_positions: given, but only a layer with a rotary embedding has use for it");
  {
    Tensor output({2, 1, 3, 12});
    const TensorView q(queries.view.data, 2, 1, 3, 12), k(keys.view.data, 2, 1, 5, 12);
    Workspace workspace;
    check_refused(attention(q, k, k, {}, output.view, workspace, options), invalid,
                  "key_positions: given, but attention has no use for it");
    DotProductAttention dot_product;
    REQUIRE_OK(DotProductAttention::make(0.0f, &dot_product));
    Tensor rows({2, 3, 12});
    options = AttentionOptions();
    options.query_positions = IndexView(numbers, 3);
    check_refused(dot_product.forward(queries.view, keys.view, keys.view, {}, rows.view, workspace, options), invalid,
                  "query_positions: given, but DotProductAttention has no use for it");
  }
  refuse(rotating, options, "query_positions: [2] is 6, with offset 0 outside of [0, 6)");
  options.query_positions = IndexView(numbers, 2);
  refuse(rotating, options, "query_positions: shape (2,), expected (3,)");
  options.query_positions = IndexView(numbers, 3, 3);
  refuse(rotating, options, "query_positions: shape (3, 3), expected (2, 3)");
  options = AttentionOptions();
  options.key_positions = IndexView(numbers, 2, 5);
  refuse(rotating, options, "key_positions: [0, 2] is 6, with offset 0 outside of [0, 6)");
  options = AttentionOptions();
  options.offset = 4;
  refuse(rotating, options, "queries: row 2 of sequence 0 is at position 6, outside of the rotary tables' [0, 6)");
  const std::int64_t offsets[] = {-4, -5};
  options.offsets = IndexView(offsets, 2);
  refuse(rotating, options, "queries: row 0 of sequence 1 is at position -1, outside of the rotary tables' [0, 6)");
  Tensor many({2, 7, 12}), output({2, 7, 12});
  many.fill(1.0f);
  check_refused(rotating.forward(queries, many, many, {}, output), invalid, "output: shape (2, 7, 12), expected (2, 3, 12)");
  check_refused(rotating.forward(many, many, many, {}, output), invalid,
                "queries: row 6 of sequence 0 is at position 6, outside of the rotary tables' [0, 6)");
  options = AttentionOptions();
  const std::int64_t zeros[7] = {};
  options.query_positions = IndexView(zeros, 7);
  check_refused(rotating.forward(many, many, many, {}, output, options), invalid,
                "keys: row 6 of sequence 0 is at position 6, outside of the rotary tables' [0, 6)");
  CHECK(output.untouched());

  const std::int64_t starts[] = {0, 1, 3}, key_starts[] = {0, 4, 5};
  options = AttentionOptions();
  options.query_starts = IndexView(starts, 3);
  refuse(rotating, options, "query_starts: cannot go with no key_starts");
  options.key_starts = IndexView(key_starts, 3);
  refuse(rotating, options, "query_starts: shape (3,) with a batch of 2, expected one more than the sequences, and a batch of 1");
  CHECK(rotating.attention.workspace_bytes({2, 3, 5}, options) == 0);
  CHECK(rotating.attention.workspace_bytes({1, 4, 5}, options) == 0);
  CHECK(rotating.attention.workspace_bytes({1, 3, 5}, options) > 0);
}

TEST_CASE("errors: options that a kind of call has no use for are refused by name, all others are not") {
  static const float numbers[8] = {};
  static const std::int64_t integers[8] = {};
  static const std::uint8_t shown[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  static float written[64];
  const struct {
    std::string name;
    void (*give)(AttentionOptions& options);
  } all[] = {
      {"scale", [](AttentionOptions& options) { options.scale = not_a_number; }},
      {"softcap", [](AttentionOptions& options) { options.softcap = not_a_number; }},
      {"causal", [](AttentionOptions& options) { options.causal = true; }},
      {"offset", [](AttentionOptions& options) { options.offset = 1; }},
      {"offsets", [](AttentionOptions& options) { options.offsets = IndexView(integers, 1); }},
      {"window_left", [](AttentionOptions& options) { options.window_left = -7; }},
      {"window_right", [](AttentionOptions& options) { options.window_right = 0; }},
      {"mask", [](AttentionOptions& options) { options.mask = BoolMaskView(shown, 2); }},
      {"additive_mask", [](AttentionOptions& options) { options.additive_mask = ConstTensorView(numbers, 2); }},
      {"tree_parents", [](AttentionOptions& options) { options.tree_parents = IndexView(integers, 2); }},
      {"empty_rows", [](AttentionOptions& options) { options.empty_rows = EmptyRows::uniform; }},
      {"alibi_slopes", [](AttentionOptions& options) { options.alibi_slopes = ConstTensorView(numbers, 1); }},
      {"relative_position_bias.table", [](AttentionOptions& options) { options.relative_position_bias.table = ConstTensorView(numbers, 8, 1); }},
      {"relative_position_bias.bidirectional", [](AttentionOptions& options) { options.relative_position_bias.bidirectional = false; }},
      {"relative_position_bias.max_distance", [](AttentionOptions& options) { options.relative_position_bias.max_distance = 64; }},
      {"sinks", [](AttentionOptions& options) { options.sinks = ConstTensorView(numbers, 1); }},
      {"query_starts", [](AttentionOptions& options) { options.query_starts = IndexView(integers, 2); }},
      {"key_starts", [](AttentionOptions& options) { options.key_starts = IndexView(integers, 2); }},
      {"query_positions", [](AttentionOptions& options) { options.query_positions = IndexView(integers, 2); }},
      {"key_positions", [](AttentionOptions& options) { options.key_positions = IndexView(integers, 2); }},
      {"training", [](AttentionOptions& options) { options.training = true; }},
      {"dropout_seed", [](AttentionOptions& options) { options.dropout_seed = 5; }},
      {"attention_weights", [](AttentionOptions& options) { options.attention_weights = TensorView(written, 1, 1, 2, 2); }},
      {"average_weights", [](AttentionOptions& options) { options.average_weights = true; }},
      {"lse", [](AttentionOptions& options) { options.lse = TensorView(written + 16, 1, 1, 2); }},
  };

  Random random(96);
  MultiHeadAttentionConfig config = Layer::square(4, 1, Isa::best);
  config.rotary.inverse_frequencies = ConstTensorView(numbers, 2);
  const Layer layer(config, random);
  DotProductAttention dot_product;
  REQUIRE_OK(DotProductAttention::make(0.5f, &dot_product));
  Tensor rows({1, 2, 4}), output({1, 2, 4});
  rows.fill(random);
  const ConstTensorView x = rows.view, heads(rows.view.data, 1, 1, 2, 4);
  KeyValueCacheConfig sizes;
  sizes.num_kv_heads = 1;
  sizes.head_dim = 4;
  sizes.capacity = 2;
  KeyValueCache full, cache;  // one to read, one to append to
  REQUIRE_OK(KeyValueCache::make(sizes, &full));
  REQUIRE_OK(KeyValueCache::make(sizes, &cache));
  REQUIRE_OK(full.append(heads, heads));
  Workspace workspace;

  const std::string positions = " query_positions key_positions ", dropout = " training dropout_seed ", starts = " query_starts key_starts ";
  std::string all_but_key_positions = " ";
  for (const auto& option : all) {
    if (option.name != "key_positions") all_but_key_positions += option.name + " ";
  }
  using Bytes = std::function<std::size_t(const AttentionOptions&)>;
  const auto check = [&](const std::string& kind, const std::string& refused, const auto& call, const Bytes& bytes) {
    CAPTURE(kind);
    for (const auto& option : all) {
      CAPTURE(option.name);
      AttentionOptions options;
      option.give(options);
      const Status status = call(options);
      if (refused.find(" " + option.name + " ") != std::string::npos) {
        check_refused(status, invalid, option.name + ": given, but " + kind + " has no use for it");
        CHECK(output.untouched());
        if (bytes) CHECK(bytes(options) == 0);
      } else {
        CHECK(std::string(status.message()).find("no use") == std::string::npos);
      }
      CHECK(cache.length(0) == (kind == "project" && status.ok() ? 2 : 0));
      cache.clear();
      output = Tensor({1, 2, 4});
    }
    CHECK(call(AttentionOptions()).ok());
    if (bytes) CHECK(bytes(AttentionOptions()) > 0);
    cache.clear();
    output = Tensor({1, 2, 4});
  };
  const auto target = [&] { return output.view; };
  const auto head_target = [&] { return TensorView(output.view.data, 1, 1, 2, 4); };
  check("attention", positions + dropout,
        [&](const AttentionOptions& options) { return attention(heads, heads, heads, {}, head_target(), workspace, options); },
        [&](const AttentionOptions& options) { return attention_workspace_bytes(heads, heads, heads, options); });
  check("attention over a cache", positions + dropout + starts,
        [&](const AttentionOptions& options) { return attention_cached(heads, full, {}, head_target(), workspace, options); },
        [&](const AttentionOptions& options) { return attention_workspace_bytes(heads, full, options); });
  check("DotProductAttention", positions + " empty_rows average_weights ",
        [&](const AttentionOptions& options) { return dot_product.forward(x, x, x, {}, target(), workspace, options); },
        [&](const AttentionOptions& options) { return dot_product.workspace_bytes(x, x, x, options); });
  check("a forward", "", [&](const AttentionOptions& options) { return layer.attention.forward(x, x, x, {}, target(), workspace, options); },
        [&](const AttentionOptions& options) { return layer.attention.workspace_bytes({1, 2, 2}, options); });
  check("a forward over a cache", starts,
        [&](const AttentionOptions& options) { return layer.attention.forward_cached(x, {}, {}, {}, &full, target(), workspace, options); },
        [&](const AttentionOptions& options) { return layer.attention.workspace_bytes({1, 2, 0}, full, options); });
  check("project", all_but_key_positions,
        [&](const AttentionOptions& options) { return layer.attention.project(x, x, {}, &cache, workspace, options); }, nullptr);
}

TEST_CASE("errors: a make that fails leaves the object as it was") {
  LayerCall call;
  Tensor before({2, 3, 12});
  const TensorView output = call.output_view;
  call.output_view = before.view;
  REQUIRE_OK(call.run());
  MultiHeadAttentionWeights wrong = call.layer.weights;
  wrong.key = ConstTensorView();
  CHECK(!MultiHeadAttention::make(call.layer.config, wrong, &call.layer.attention).ok());
  call.output_view = output;
  REQUIRE_OK(call.run());
  CHECK_SAME_BITS(call.output, before);
}

TEST_CASE("errors: MultiHeadAttention::forward") {
  LayerCall call;
  const ConstTensorView queries = call.query_view, keys = call.key_view, values = call.value_view;
  const LengthsView lengths = call.lengths_view;
  const TensorView output = call.output_view, weights = call.options.attention_weights;
  const auto restore = [&] {
    call.query_view = queries;
    call.key_view = keys;
    call.value_view = values;
    call.lengths_view = lengths;
    call.output_view = output;
    call.options = AttentionOptions();
    call.options.attention_weights = weights;
  };

  SUBCASE("shapes") {
    call.query_view = with_size(queries, 2, 5);
    call.refuse("queries: shape (2, 3, 5), expected (2, 3, 6)");
    call.query_view = with_rank(queries, 2);
    call.refuse("queries: shape (2, 3) has 2 axes, expected 3");
    call.query_view = ConstTensorView();
    call.refuse("queries: shape () has 0 axes, expected 3");
    restore();
    call.key_view = with_size(keys, 2, 6);
    call.refuse("keys: shape (2, 5, 6), expected (2, 5, 7)");
    call.key_view = with_size(keys, 0, 1);
    call.refuse("keys: shape (1, 5, 7), expected (2, 5, 7)");
    restore();
    call.value_view = with_size(values, 1, 4);
    call.refuse("values: shape (2, 4, 8), expected (2, 5, 8)");
    call.value_view = with_size(values, 2, 7);
    call.refuse("values: shape (2, 5, 7), expected (2, 5, 8)");
    call.value_view = with_size(values, 0, 3);
    call.refuse("values: shape (3, 5, 8), expected (2, 5, 8)");
    restore();
    call.output_view = with_size(output, 1, 2);
    call.refuse("output: shape (2, 2, 12), expected (2, 3, 12)");
    call.output_view = with_size(output, 2, 11);
    call.refuse("output: shape (2, 3, 11), expected (2, 3, 12)");
    call.output_view = TensorView();
    call.refuse("output: shape () has 0 axes, expected 3");
    restore();
    call.options.attention_weights = with_size(weights, 1, 2);
    call.refuse("attention_weights: shape (2, 2, 3, 5), expected (2, 3, 3, 5)");
    call.options.attention_weights = with_rank(weights, 3);
    call.refuse("attention_weights: shape (2, 3, 3) has 3 axes, expected 4");
  }
  SUBCASE("views that make no sense") {
    call.query_view = with_rank(queries, 5);
    call.refuse("queries: rank 5, expected 0 to 4");
    call.query_view = with_rank(queries, -1);
    call.refuse("queries: rank -1, of an axis or a range that is not there, expected 0 to 4");
    call.query_view = with_size(queries, 1, -3);
    call.refuse("queries: shape (2, -3, 6) has a negative size");
    call.query_view = with_stride(queries, 0, -18);
    call.refuse("queries: stride -18 of axis 0, expected 0 or more");
    restore();
    call.key_view = with_stride(keys, 2, -1);
    call.refuse("keys: stride -1 of axis 2, expected 0 or more");
    restore();
    call.value_view = with_stride(values, 1, INT64_MIN);
    call.refuse("values: stride -9223372036854775808 of axis 1, expected 0 or more");
    restore();
    call.output_view = with_stride(output, 1, -12);
    call.refuse("output: stride -12 of axis 1, expected 0 or more");
    restore();
    call.options.attention_weights = with_stride(weights, 3, -1);
    call.refuse("attention_weights: stride -1 of axis 3, expected 0 or more");
  }
  SUBCASE("sizes and strides that overflow") {
    const std::string too_many = std::to_string(huge);
    call.query_view = with_size(queries, 1, huge);
    call.refuse("queries: shape (2, " + too_many + ", 6) overflows the address space");
    for (std::int64_t stride : {INT64_MAX, INT64_MAX - 1, INT64_MAX / 2 + 1, INT64_MAX / 4 + 1}) {
      call.query_view = with_stride(queries, 0, stride);
      call.refuse("queries: shape (2, 3, 6) overflows the address space");
      call.query_view = with_stride(with_stride(queries, 0, stride), 1, stride);
      call.refuse("queries: shape (2, 3, 6) overflows the address space");
    }
    restore();
    call.key_view = with_stride(with_size(keys, 1, huge), 1, 0);  // even where all of it is one row
    call.refuse("keys: shape (2, " + too_many + ", 7) overflows the address space");
    restore();
    call.output_view = with_stride(output, 0, INT64_MAX);
    call.refuse("output: shape (2, 3, 12) overflows the address space");
    restore();
    call.options.attention_weights = with_stride(weights, 0, INT64_MAX);
    call.refuse("attention_weights: shape (2, 3, 3, 5) overflows the address space");
    restore();
    // As many keys as can be counted, all the same, and too many to project.
    call.query_view = ConstTensorView(queries.data, 1, 1, 6);
    call.output_view = TensorView(output.data, 1, 1, 12);
    call.options.attention_weights = TensorView();
    call.lengths_view = LengthsView();
    for (std::int64_t count : {std::int64_t{1} << 40, std::int64_t{1} << 54, std::int64_t{1} << 57}) {
      CAPTURE(count);
      call.key_view = with_stride(with_size(ConstTensorView(keys.data, 1, 1, 7), 1, count), 1, 0);
      call.value_view = with_stride(with_size(ConstTensorView(values.data, 1, 1, 8), 1, count), 1, 0);
      const Status status = call.run();
      CHECK(!status.ok());
      CHECK(call.output.untouched());
    }
    check_refused(call.run(), invalid, "queries: a batch of 1 with 1 queries and 144115188075855872 keys is too large");
  }
  SUBCASE("null data") {
    call.query_view = with_data<const float>(queries, nullptr);
    call.refuse("queries: data is null, but its shape is (2, 3, 6)");
    restore();
    call.key_view = with_data<const float>(keys, nullptr);
    call.refuse("keys: data is null, but its shape is (2, 5, 7)");
    restore();
    call.value_view = with_data<const float>(values, nullptr);
    call.refuse("values: data is null, but its shape is (2, 5, 8)");
    restore();
    call.output_view = with_data<float>(output, nullptr);
    call.refuse("output: data is null, but its shape is (2, 3, 12)");
    restore();
    call.lengths_view = with_data<const std::int64_t>(lengths, nullptr);
    call.refuse("valid_lens: data is null, but its shape is (2,)");
    restore();
    call.options.attention_weights = with_data<float>(weights, nullptr);
    call.refuse("attention_weights: data is null, but its shape is (2, 3, 3, 5)");
  }
  SUBCASE("lengths") {
    const std::int64_t numbers[] = {5, -2, 0, 1, 2, -9};
    call.lengths_view = LengthsView(numbers, 2);
    call.refuse("valid_lens: [1] is -2, expected 0 or more");
    call.lengths_view = LengthsView(numbers, 2, 3);
    call.refuse("valid_lens: [0, 1] is -2, expected 0 or more");
    call.lengths_view = LengthsView(numbers, 3);
    call.refuse("valid_lens: shape (3,), expected (2,)");
    call.lengths_view = LengthsView(numbers, 3, 2);
    call.refuse("valid_lens: shape (3, 2), expected (2, 3)");
    call.lengths_view = LengthsView(numbers, 2, 1);
    call.refuse("valid_lens: shape (2, 1), expected (2, 3)");
    call.lengths_view = with_stride(LengthsView(numbers, 2), 0, -1);
    call.refuse("valid_lens: stride -1 of axis 0, expected 0 or more");
    call.lengths_view = LengthsView(numbers, 1, 2, 3);
    CHECK(!call.run().ok());
    const std::int64_t least[] = {INT64_MIN, 0};
    call.lengths_view = LengthsView(least, 2);
    call.refuse("valid_lens: [0] is -9223372036854775808, expected 0 or more");
  }
  SUBCASE("outputs that overlap themselves") {
    call.output_view = with_stride(output, 0, 0);
    call.refuse("output: stride 0 of axis 0 makes elements of an output share memory");
    call.output_view = with_stride(output, 1, 11);
    call.refuse("output: stride 11 of axis 1 makes elements of an output share memory");
    call.output_view = with_stride(output, 0, 35);
    call.refuse("output: stride 35 of axis 0 makes elements of an output share memory");
    restore();
    call.options.attention_weights = with_stride(weights, 1, 0);
    call.refuse("attention_weights: stride 0 of axis 1 makes elements of an output share memory");
  }
  SUBCASE("outputs that meet inputs, or each other") {
    call.output_view = with_data(output, const_cast<float*>(queries.data));
    call.refuse("output: its memory meets that of queries");
    call.output_view = with_data(output, const_cast<float*>(keys.data) + 69);  // its last element
    call.refuse("output: its memory meets that of keys");
    call.output_view = with_data(output, const_cast<float*>(values.data) - 71);  // its first element
    call.refuse("output: its memory meets that of values");
    std::int64_t numbers[40] = {};
    call.lengths_view = LengthsView(numbers, 2);
    call.output_view = with_data(output, reinterpret_cast<float*>(numbers));
    call.refuse("output: its memory meets that of valid_lens");
    restore();
    call.options.attention_weights = with_data(weights, const_cast<float*>(queries.data));
    call.refuse("attention_weights: its memory meets that of queries");
    call.options.attention_weights = with_data(weights, const_cast<float*>(keys.data));
    call.refuse("attention_weights: its memory meets that of keys");
    call.options.attention_weights = with_data(weights, const_cast<float*>(values.data));
    call.refuse("attention_weights: its memory meets that of values");
    call.options.attention_weights = with_data(weights, output.data + 71);
    call.refuse("attention_weights: its memory meets that of output");
    std::int64_t more_numbers[50] = {};
    call.lengths_view = LengthsView(more_numbers, 2);
    call.options.attention_weights = with_data(weights, reinterpret_cast<float*>(more_numbers));
    call.refuse("attention_weights: its memory meets that of valid_lens");
  }
  SUBCASE("options") {
    call.options.empty_rows = static_cast<EmptyRows>(7);
    call.refuse("empty_rows: 7 is not one of attend::EmptyRows");
    restore();
    for (const auto& [threads, message] : wrong_threads()) {
      call.options.threads = threads;
      call.refuse(message);
    }
  }
  SUBCASE("memory") {
    unsigned char little[64];
    Workspace workspace(little, sizeof little);
    const Status status = call.layer.attention.forward(queries, keys, values, lengths, output, workspace, call.options);
    CHECK(status.code() == StatusCode::out_of_memory);
    CHECK(std::string(status.message()).find("workspace: holds ") == 0);
    CHECK(call.output.untouched());
    CHECK(call.attention_weights.untouched());
  }
  restore();
  REQUIRE_OK(call.run());  // and all that was right is accepted
  CHECK(!call.output.untouched());
}

TEST_CASE("errors: DotProductAttention::forward") {
  CoreCall call;
  const ConstTensorView queries = call.query_view, keys = call.key_view, values = call.value_view;
  const LengthsView lengths = call.lengths_view;
  const TensorView output = call.output_view, weights = call.options.attention_weights;

  SUBCASE("queries") {
    call.query_view = with_rank(queries, 2);
    call.refuse("queries: shape (2, 3) has 2 axes, expected 3");
    call.query_view = with_size(queries, 2, 0);
    call.refuse("queries: width 0, expected 1 to 576");
    call.query_view = with_stride(with_size(queries, 2, 577), 2, 0);
    call.refuse("queries: width 577, expected 1 to 576");
    call.query_view = with_data<const float>(queries, nullptr);
    call.refuse("queries: data is null, but its shape is (2, 3, 6)");
  }
  SUBCASE("keys") {
    call.key_view = with_size(keys, 2, 5);
    call.refuse("keys: shape (2, 5, 5), expected (2, 5, 6)");
    call.key_view = with_size(keys, 0, 1);
    call.refuse("keys: shape (1, 5, 6), expected (2, 5, 6)");
    call.key_view = with_stride(keys, 1, -6);
    call.refuse("keys: stride -6 of axis 1, expected 0 or more");
  }
  SUBCASE("values") {
    call.value_view = with_size(values, 1, 4);
    call.refuse("values: shape (2, 4, 8), expected (2, 5, 8)");
    call.value_view = with_size(values, 2, 0);
    call.refuse("values: width 0, expected 1 to 576");
    call.value_view = with_stride(with_size(values, 2, 577), 2, 0);
    call.refuse("values: width 577, expected 1 to 576");
  }
  SUBCASE("lengths") {
    const std::int64_t numbers[] = {5, -2, 0, 1, 2, -9};
    call.lengths_view = LengthsView(numbers, 2);
    call.refuse("valid_lens: [1] is -2, expected 0 or more");
    call.lengths_view = LengthsView(numbers, 3, 2);
    call.refuse("valid_lens: shape (3, 2), expected (2, 3)");
  }
  SUBCASE("outputs") {
    call.output_view = with_size(output, 2, 7);
    call.refuse("output: shape (2, 3, 7), expected (2, 3, 8)");
    call.output_view = with_stride(output, 2, 0);
    call.refuse("output: stride 0 of axis 2 makes elements of an output share memory");
    call.output_view = with_data(output, const_cast<float*>(keys.data));
    call.refuse("output: its memory meets that of keys");
    call.output_view = output;
    call.options.attention_weights = with_size(weights, 2, 4);
    call.refuse("attention_weights: shape (2, 3, 4), expected (2, 3, 5)");
    call.options.attention_weights = with_data(weights, output.data);
    call.refuse("attention_weights: its memory meets that of output");
  }
  SUBCASE("options") {
    call.options.empty_rows = static_cast<EmptyRows>(-1);
    call.refuse("empty_rows: given, but DotProductAttention has no use for it");
    call.options.empty_rows = EmptyRows::zero;
    for (const auto& [threads, message] : wrong_threads()) {
      call.options.threads = threads;
      call.refuse(message);
    }
  }
  SUBCASE("copies that no memory can hold") {
    // Values that repeat within a row are copied: as many as can be counted, for one thread or for four,
    // where a product of sizes would wrap to a small one.
    call.query_view = ConstTensorView(queries.data, 1, 1, 6);
    call.output_view = TensorView(output.data, 1, 1, 8);
    call.options.attention_weights = TensorView();
    call.lengths_view = LengthsView();
    call.options.threads.parallel_for = run_in_order;
    for (std::int64_t count : {std::int64_t{1} << 50, std::int64_t{1} << 56, std::int64_t{1} << 57}) {
      for (int threads : {1, 4, 8, 256}) {
        CAPTURE(count);
        CAPTURE(threads);
        call.options.threads.count = threads;
        call.key_view = with_stride(with_size(ConstTensorView(keys.data, 1, 1, 6), 1, count), 1, 0);
        call.value_view = with_stride(with_stride(with_size(ConstTensorView(values.data, 1, 1, 8), 1, count), 1, 0), 2, 0);
        const Status status = call.attention.forward(call.query_view, call.key_view, call.value_view, call.lengths_view, call.output_view,
                                                     call.workspace, call.options);
        CHECK(!status.ok());
        CHECK(call.output.untouched());
      }
    }
    call.refuse("keys: shape (1, 144115188075855872, 6) is too large");
  }
  call.query_view = queries;
  call.key_view = keys;
  call.value_view = values;
  call.lengths_view = lengths;
  call.output_view = output;
  call.options = AttentionOptions();
  REQUIRE_OK(call.attention.forward(queries, keys, values, lengths, output, call.workspace, call.options));
}

TEST_CASE("errors: matmul") {
  Tensor a({2, 3, 4}), b({4, 5}), batched_b({2, 4, 5}), bias({5}), output({2, 3, 5});
  for (Tensor* tensor : {&a, &b, &batched_b, &bias}) tensor->fill(1.0f);
  Workspace workspace;
  const auto refuse = [&](const ConstTensorView& a_view, const ConstTensorView& b_view, const ConstTensorView& bias_view, const TensorView& output_view,
                          const std::string& message, bool transposed = false) {
    check_refused(matmul(a_view, b_view, transposed, bias_view, output_view, workspace), invalid, message);
    CHECK(output.untouched());
  };
  const ConstTensorView a_view = a.view, b_view = b.view, bias_view = bias.view;
  refuse(with_rank(a_view, 1), b_view, bias_view, output.view, "a: shape (2,) has 1 axes, expected 2 or 3");
  refuse(ConstTensorView(a_view.data, 1, 2, 3, 4), b_view, bias_view, output.view, "a: shape (1, 2, 3, 4) has 4 axes, expected 2 or 3");
  refuse(a_view, with_rank(b_view, 1), bias_view, output.view, "b: shape (4,) has 1 axes, expected 2 or 3");
  refuse(ConstTensorView(a_view.data, 3, 4), batched_b.view, bias_view, output.view, "b: shape (2, 4, 5) has 3 axes, expected 2");
  refuse(a_view, with_size(b_view, 0, 3), bias_view, output.view, "b: shape (3, 5), expected (4, 5)");
  refuse(a_view, b_view, bias_view, output.view, "b: shape (4, 5), expected (4, 4)", true);
  refuse(a_view, with_size(ConstTensorView(batched_b.view), 0, 1), bias_view, output.view, "b: shape (1, 4, 5), expected (2, 4, 5)");
  refuse(a_view, b_view, with_size(bias_view, 0, 4), output.view, "bias: shape (4,), expected (5,)");
  refuse(a_view, b_view, ConstTensorView(bias_view.data, 1, 5), output.view, "bias: shape (1, 5) has 2 axes, expected 1");
  refuse(a_view, b_view, bias_view, with_size(output.view, 1, 2), "output: shape (2, 2, 5), expected (2, 3, 5)");
  refuse(a_view, b_view, bias_view, with_rank(output.view, 2), "output: shape (2, 3) has 2 axes, expected 3");
  refuse(a_view, b_view, bias_view, with_stride(output.view, 1, 4), "output: stride 4 of axis 1 makes elements of an output share memory");
  refuse(a_view, b_view, bias_view, with_data(output.view, a.view.data), "output: its memory meets that of a");
  refuse(a_view, b_view, bias_view, with_data(output.view, b.view.data), "output: its memory meets that of b");
  refuse(a_view, b_view, bias_view, with_data(output.view, bias.view.data), "output: its memory meets that of bias");
  refuse(with_data<const float>(a_view, nullptr), b_view, bias_view, output.view, "a: data is null, but its shape is (2, 3, 4)");
  refuse(a_view, with_data<const float>(b_view, nullptr), bias_view, output.view, "b: data is null, but its shape is (4, 5)");
  refuse(a_view, b_view, with_data<const float>(bias_view, nullptr), output.view, "bias: data is null, but its shape is (5,)");
  refuse(a_view, b_view, bias_view, with_data<float>(output.view, nullptr), "output: data is null, but its shape is (2, 3, 5)");
  refuse(with_stride(a_view, 2, -1), b_view, bias_view, output.view, "a: stride -1 of axis 2, expected 0 or more");
  refuse(with_size(a_view, 1, -1), b_view, bias_view, output.view, "a: shape (2, -1, 4) has a negative size");
  refuse(with_stride(a_view, 1, INT64_MAX), b_view, bias_view, output.view, "a: shape (2, 3, 4) overflows the address space");

  // Products of as many terms as can be counted, of one number with itself: b packed would wrap to a few bytes.
  for (std::int64_t terms : {std::int64_t{1} << 45, std::int64_t{1} << 57, std::int64_t{1} << 58, std::int64_t{1} << 60}) {
    CAPTURE(terms);
    const ConstTensorView row = with_stride(with_size(ConstTensorView(a_view.data, 1, 1), 1, terms), 1, 0);
    ConstTensorView column = with_stride(with_size(ConstTensorView(b_view.data, 1, 1), 0, terms), 0, 0);
    const Status status = matmul(row, column, false, {}, TensorView(output.view.data, 1, 1), workspace);
    CHECK(!status.ok());
    CHECK(output.untouched());
  }
  refuse(with_stride(with_size(ConstTensorView(a_view.data, 1, 1), 1, std::int64_t{1} << 58), 1, 0),
         with_stride(with_size(ConstTensorView(b_view.data, 1, 1), 0, std::int64_t{1} << 58), 0, 0), {}, TensorView(output.view.data, 1, 1),
         "b: shape (288230376151711744, 1) is too large");
  for (const auto& [threads, message] : wrong_threads()) {
    OperationOptions options;
    options.threads = threads;
    check_refused(matmul(a_view, b_view, false, bias_view, output.view, workspace, options), invalid, message);
  }
  CHECK(output.untouched());
  REQUIRE_OK(matmul(a_view, b_view, false, bias_view, output.view, workspace));
}

TEST_CASE("errors: sequence_mask") {
  Tensor input({2, 3, 4}), output({2, 3, 4});
  input.fill(1.0f);
  const Lengths lengths({1, 2}, 2), negative({1, -1}, 2), three({1, 1, 1}, 3), by_query({1, 1, 1, 1, 1, 1}, 2, 3);
  const auto refuse = [&](const ConstTensorView& input_view, const LengthsView& lengths_view, const TensorView& output_view, const std::string& message) {
    check_refused(sequence_mask(input_view, lengths_view, 0.0f, output_view), invalid, message);
    CHECK(output.untouched());
  };
  const ConstTensorView view = input.view;
  refuse(with_rank(view, 1), lengths.view, output.view, "input: shape (2,) has 1 axes, expected 2 or 3");
  refuse(with_rank(view, 4), lengths.view, output.view, "input: shape (2, 3, 4, 0) has 4 axes, expected 2 or 3");
  refuse(view, lengths.view, with_size(output.view, 2, 3), "output: shape (2, 3, 3), expected (2, 3, 4)");
  refuse(view, lengths.view, with_rank(output.view, 2), "output: shape (2, 3) has 2 axes, expected 3");
  refuse(view, {}, output.view, "valid_lens: absent, expected (2,)");
  refuse(view, three.view, output.view, "valid_lens: shape (3,), expected (2,)");
  refuse(view, by_query.view, output.view, "valid_lens: shape (2, 3) has 2 axes, expected 1");
  refuse(view, negative.view, output.view, "valid_lens: [1] is -1, expected 0 or more");
  refuse(view, lengths.view, with_stride(output.view, 0, 3), "output: stride 3 of axis 0 makes elements of an output share memory");
  refuse(view, lengths.view, with_data(output.view, input.view.data + 1), "output: its memory meets that of input without being the same view");
  refuse(view, lengths.view, with_stride(with_data(output.view, input.view.data), 0, 13), "output: its memory meets that of input without being the same view");
  refuse(with_data<const float>(view, nullptr), lengths.view, output.view, "input: data is null, but its shape is (2, 3, 4)");
  refuse(view, lengths.view, with_data<float>(output.view, nullptr), "output: data is null, but its shape is (2, 3, 4)");
  refuse(with_stride(view, 1, -4), lengths.view, output.view, "input: stride -4 of axis 1, expected 0 or more");
  refuse(with_size(view, 0, huge), lengths.view, output.view, "input: shape (2305843009213693952, 3, 4) overflows the address space");
  std::int64_t numbers[20] = {};
  refuse(view, LengthsView(numbers, 2), with_data(output.view, reinterpret_cast<float*>(numbers)), "output: its memory meets that of valid_lens");
  for (const auto& [threads, message] : wrong_threads()) {
    OperationOptions options;
    options.threads = threads;
    check_refused(sequence_mask(view, lengths.view, 0.0f, output.view, options), invalid, message);
  }
  CHECK(output.untouched());
}

TEST_CASE("errors: masked_softmax") {
  Tensor input({2, 3, 4}), output({2, 3, 4});
  input.fill(1.0f);
  const Lengths lengths({1, 2}, 2), negative({1, 1, 1, 1, -7, 1}, 2, 3), three({1, 1, 1}, 3);
  const auto refuse = [&](const ConstTensorView& input_view, const LengthsView& lengths_view, const TensorView& output_view, const std::string& message) {
    check_refused(masked_softmax(input_view, lengths_view, output_view), invalid, message);
    CHECK(output.untouched());
  };
  const ConstTensorView view = input.view;
  refuse(with_rank(view, 2), lengths.view, output.view, "input: shape (2, 3) has 2 axes, expected 3");
  refuse(view, lengths.view, with_size(output.view, 2, 3), "output: shape (2, 3, 3), expected (2, 3, 4)");
  refuse(view, three.view, output.view, "valid_lens: shape (3,), expected (2,)");
  refuse(view, negative.view, output.view, "valid_lens: [1, 1] is -7, expected 0 or more");
  refuse(view, lengths.view, with_stride(output.view, 2, 0), "output: stride 0 of axis 2 makes elements of an output share memory");
  refuse(view, lengths.view, with_data(output.view, input.view.data + 23), "output: its memory meets that of input without being the same view");
  refuse(with_data<const float>(view, nullptr), lengths.view, output.view, "input: data is null, but its shape is (2, 3, 4)");
  refuse(view, lengths.view, with_data<float>(output.view, nullptr), "output: data is null, but its shape is (2, 3, 4)");
  refuse(with_stride(view, 0, -12), lengths.view, output.view, "input: stride -12 of axis 0, expected 0 or more");
  refuse(with_stride(view, 0, INT64_MAX), lengths.view, output.view, "input: shape (2, 3, 4) overflows the address space");
  std::int64_t numbers[20] = {};
  refuse(view, LengthsView(numbers, 2), with_data(output.view, reinterpret_cast<float*>(numbers)), "output: its memory meets that of valid_lens");
  for (const auto& [threads, message] : wrong_threads()) {
    OperationOptions options;
    options.threads = threads;
    check_refused(masked_softmax(view, lengths.view, output.view, options), invalid, message);
  }
  CHECK(output.untouched());
  // In place, an axis of one element may have any stride.
  Tensor row({1, 3, 4});
  row.fill(1.0f);
  REQUIRE_OK(masked_softmax(with_stride(ConstTensorView(row.view), 0, 77), {}, row.view));
}

TEST_CASE("errors: transpose_qkv and transpose_output") {
  Tensor wide({2, 3, 4}), split({4, 3, 2}), output({2, 3, 4});
  wide.fill(1.0f);
  split.fill(1.0f);
  const ConstTensorView wide_view = wide.view, split_view = split.view;
  const TensorView as_split(output.view.data, 4, 3, 2), as_wide = output.view;
  const auto refuse = [&](const Status& status, const std::string& message) {
    check_refused(status, invalid, message);
    CHECK(output.untouched());
  };
  refuse(transpose_qkv(wide_view, 0, as_split), "num_heads: 0, expected 1 or more");
  refuse(transpose_qkv(wide_view, -2, as_split), "num_heads: -2, expected 1 or more");
  refuse(transpose_qkv(wide_view, 3, as_split), "num_heads: 3 does not divide the width of input, 4");
  refuse(transpose_qkv(wide_view, INT64_MAX, as_split), "num_heads: 9223372036854775807 does not divide the width of input, 4");
  refuse(transpose_qkv(with_rank(wide_view, 2), 2, as_split), "input: shape (2, 3) has 2 axes, expected 3");
  refuse(transpose_qkv(wide_view, 2, as_wide), "output: shape (2, 3, 4), expected (4, 3, 2)");
  refuse(transpose_qkv(wide_view, 2, with_stride(as_split, 0, 5)), "output: stride 5 of axis 0 makes elements of an output share memory");
  refuse(transpose_qkv(wide_view, 2, with_data(as_split, wide.view.data)), "output: its memory meets that of input");
  refuse(transpose_qkv(with_data<const float>(wide_view, nullptr), 2, as_split), "input: data is null, but its shape is (2, 3, 4)");
  refuse(transpose_qkv(wide_view, 2, with_data<float>(as_split, nullptr)), "output: data is null, but its shape is (4, 3, 2)");
  refuse(transpose_qkv(with_size(wide_view, 2, 0), INT64_MAX, as_split), "num_heads: 9223372036854775807 is too large");

  refuse(transpose_output(split_view, 0, as_wide), "num_heads: 0, expected 1 or more");
  refuse(transpose_output(split_view, 3, as_wide), "num_heads: 3 does not divide the first size of input, 4");
  refuse(transpose_output(with_rank(split_view, 1), 2, as_wide), "input: shape (4,) has 1 axes, expected 3");
  refuse(transpose_output(split_view, 2, as_split), "output: shape (4, 3, 2), expected (2, 3, 4)");
  refuse(transpose_output(split_view, 2, with_stride(as_wide, 2, 0)), "output: stride 0 of axis 2 makes elements of an output share memory");
  refuse(transpose_output(split_view, 2, with_data(as_wide, split.view.data)), "output: its memory meets that of input");
  refuse(transpose_output(with_data<const float>(split_view, nullptr), 2, as_wide), "input: data is null, but its shape is (4, 3, 2)");
  refuse(transpose_output(with_size(split_view, 0, 0), INT64_MAX, as_wide), "num_heads: 9223372036854775807 is too large");
  for (const auto& [threads, message] : wrong_threads()) {
    OperationOptions options;
    options.threads = threads;
    refuse(transpose_qkv(wide_view, 2, as_split, options), message);
    refuse(transpose_output(split_view, 2, as_wide, options), message);
  }
}

TEST_CASE("errors: a padding mask of two axes is told how to be four") {
  Random random(97);
  Tensor q({2, 1, 3, 4}), k({2, 1, 5, 4}), output({2, 1, 3, 4});
  q.fill(random);
  k.fill(random);
  const std::uint8_t seen[10] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
  AttentionOptions options;
  options.mask = BoolMaskView(seen, 2, 5);
  Workspace workspace;
  const Status status = attention(q.view, k.view, k.view, {}, output.view, workspace, options);
  CHECK(std::string(status.message()) == "mask: shape (2, 5) does not broadcast to (B, H, L, S) = (2, 1, 3, 5); a padding mask (B, S) is key_padding_mask, or (B, 1, 1, S)");
  CHECK(output.untouched());
  options.mask = BoolMaskView(seen, 2, 1, 1, 5);
  REQUIRE_OK(attention(q.view, k.view, k.view, {}, output.view, workspace, options));
}
