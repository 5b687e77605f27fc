// Attention with every option against what PyTorch computed in float64: the reference, and every ISA.
#include "engine_test.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "attend/io.hpp"
#include "reference_call.h"
#include "test_data.h"

using namespace engine_test;
using reference::Array;

namespace {

constexpr double allowed_reference = 1e-12;  // of the largest output
constexpr double allowed_engine = 4e-6;

io::Array read_golden(const std::string& name) {
  io::Array array;
  REQUIRE_OK(io::read_npy(test_data("golden/cores/" + name), &array));
  return array;
}

/// What the answers are cut from, one after the other.
template <class Element>
struct Answers {
  std::vector<Element> values;
  explicit Answers(const std::string& name) {
    const io::Array file = read_golden(name);
    REQUIRE(file.type == (sizeof(Element) == 8 ? io::ElementType::float64 : io::ElementType::int32));
    values.resize(file.bytes.size() / sizeof(Element));
    std::memcpy(values.data(), file.bytes.data(), file.bytes.size());
  }
  /// The next of that shape; `at` moves behind it.
  Array next(const Shape& shape, std::int64_t* at) const {
    const std::int64_t begin = *at, end = begin + reference::count_of(shape);
    REQUIRE(end <= static_cast<std::int64_t>(values.size()));
    *at = end;
    return Array(shape, std::vector<double>(values.begin() + begin, values.begin() + end));
  }
};

/// The lines of a case in cases.txt.
struct Parameters {
  std::map<std::string, std::string> texts;

  bool has(const std::string& key) const { return texts.count(key) == 1; }
  const std::string& text(const std::string& key) const {
    REQUIRE_MESSAGE(has(key), key);
    return texts.at(key);
  }
  std::int64_t number(const std::string& key) const { return std::stoll(text(key)); }
  std::int64_t number(const std::string& key, std::int64_t otherwise) const { return has(key) ? number(key) : otherwise; }
  /// "2,1,9" -> {2, 1, 9}; none if there is no such line.
  std::vector<std::int64_t> numbers(const std::string& key) const {
    std::vector<std::int64_t> list;
    if (!has(key)) return list;
    std::istringstream stream(text(key));
    for (std::string number; std::getline(stream, number, ',');) list.push_back(std::stoll(number));
    return list;
  }
};

/// All cases: groups of lines `key value`, an empty line between two.
std::vector<Parameters> cases_of(const std::string& kind) {
  std::vector<Parameters> cases;
  std::ifstream file(test_data("golden/cores/cases.txt"));
  Parameters parameters;
  for (bool more = true; more;) {
    std::string line, key, value;
    more = static_cast<bool>(std::getline(file, line));
    std::istringstream stream(line);
    if (stream >> key >> value) {
      parameters.texts[key] = value;
    } else if (parameters.has("kind")) {
      if (parameters.text("kind") == kind) cases.push_back(parameters);
      parameters = {};
    }
  }
  REQUIRE_MESSAGE(!cases.empty(), "no golden cases of kind " << kind);
  return cases;
}

Tensor drawn(const Shape& shape, Random& random, float times = 1.0f) {
  Tensor tensor(shape);
  tensor.fill(random, times);
  return tensor;
}

/// The options of a case, with the memory that they point to. Drawn after the operands.
struct Options {
  AttentionOptions options;
  Lengths valid_lens;

  Options(const Parameters& golden, Random& random, const Answers<double>& answers, std::int64_t* at) {
    const std::int64_t B = golden.number("batch"), H = golden.number("query_heads"), L = golden.number("queries");
    if (golden.has("scale")) options.scale = std::stof(golden.text("scale"));
    if (golden.has("scale") && options.scale == 0.0f) options.scale = 1e-30f;  // 0 is 1 / sqrt(D): as good as 0
    if (golden.has("softcap")) options.softcap = std::stof(golden.text("softcap"));
    options.causal = golden.number("causal", 0) != 0;
    options.offset = golden.number("offset", 0);
    options.window_left = golden.number("window_left", -1);
    options.window_right = golden.number("window_right", -1);
    if (golden.has("empty_rows")) options.empty_rows = EmptyRows::uniform;
    if (golden.has("valid_lens")) {
      const std::vector<std::int64_t> numbers = golden.numbers("valid_lens");
      valid_lens = golden.text("lens") == "batch" ? Lengths(numbers, B) : Lengths(numbers, B, L);
    }
    if (golden.has("offsets")) {
      offsets_ = golden.numbers("offsets");
      options.offsets = IndexView(offsets_.data(), B);
    }
    if (golden.has("mask")) {
      const Shape shape = golden.numbers("mask");
      for (std::int64_t n = 0; n < reference::count_of(shape); ++n) mask_.push_back(!random.one_in(4));
      options.mask = io::contiguous_view<const std::uint8_t>(mask_.data(), shape);
    }
    if (golden.has("additive_mask")) {
      Tensor& mask = keep(Tensor(golden.numbers("additive_mask")));
      for (std::int64_t n = 0; n < mask.count(); ++n) {
        const bool hidden = random.one_in(8);
        const float number = 2.0f * random.number();
        mask[n] = hidden ? -infinite : number;
      }
      options.additive_mask = mask.view;
    }
    if (golden.has("alibi")) {
      slopes = answers.next({H}, at);
      Tensor& rounded = keep(Tensor({H}));
      for (std::int64_t h = 0; h < H; ++h) rounded[h] = static_cast<float>(slopes.at(h));
      options.alibi_slopes = rounded.view;
    }
    if (golden.has("relative_buckets")) {
      options.relative_position_bias.table = keep(drawn({golden.number("relative_buckets"), H}, random, 2.0f)).view;
      options.relative_position_bias.bidirectional = golden.number("bidirectional") != 0;
      options.relative_position_bias.max_distance = golden.number("max_distance");
    }
    if (golden.has("sinks")) options.sinks = keep(drawn({H}, random, 2.0f)).view;
  }
  Options(Options&&) = default;

  Array slopes;  // as the paper's code has them

 private:
  Tensor& keep(Tensor tensor) {
    tensors_.push_back(std::move(tensor));
    return tensors_.back();
  }
  std::vector<Tensor> tensors_;  // their memory stays where it is when they move
  std::vector<std::uint8_t> mask_;
  std::vector<std::int64_t> offsets_;
};

/// What the relative position bias adds, (B, H, L, S), by the golden buckets; absent without it.
Array position_bias_of(const Parameters& golden, const AttentionOptions& options, const Answers<std::int32_t>& buckets) {
  if (!golden.has("relative_buckets")) return Array();
  const std::int64_t B = golden.number("batch"), H = golden.number("query_heads");
  const std::int64_t L = golden.number("queries"), S = golden.number("keys");
  std::int64_t at = golden.number("bucket_answers");
  const Array bucket = buckets.next({B, L, S}, &at), table = options.relative_position_bias.table;
  Array bias = Array::zeros({B, H, L, S});
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t i = 0; i < L; ++i) {
        for (std::int64_t j = 0; j < S; ++j) bias.at(b, h, i, j) = table.at(bucket.at(b, i, j), h);
      }
    }
  }
  return bias;
}

double largest_of(const Array& array) {
  double largest = 0.0;
  for (double value : array.values) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return largest;
}

/// The answers of a case; weights are absent where it does not ask for them.
struct Expected {
  Array output, lse, weights;

  /// Of the largest output and of the largest lse, or 1; of 1 for the weights.
  void check(const Array& actual_output, const Array& actual_lse, const Array& actual_weights, double allowed) const {
    CHECK_CLOSE(actual_output, output, allowed * largest_of(output));
    CHECK_CLOSE(actual_lse, lse, allowed * std::max(1.0, largest_of(lse)));
    if (!weights.absent()) CHECK_CLOSE(actual_weights, weights, allowed);
  }
};

struct Core {
  Tensor q, k, v;
  Options given;
  Expected expected;
  Array position_bias;

  static Core read(const Parameters& golden, const Answers<double>& answers, const Answers<std::int32_t>& buckets) {
    const std::int64_t B = golden.number("batch"), H = golden.number("query_heads"), G = golden.number("key_heads");
    const std::int64_t L = golden.number("queries"), S = golden.number("keys");
    const std::int64_t D = golden.number("width"), Dv = golden.number("value_width");
    Random random(static_cast<std::uint64_t>(golden.number("seed")));
    std::int64_t at = golden.number("answers");
    Tensor q = drawn({B, H, L, D}, random, 2.0f), k = drawn({B, G, S, D}, random), v = drawn({B, G, S, Dv}, random);
    Options given(golden, random, answers, &at);
    Expected expected;
    expected.output = answers.next({B, H, L, Dv}, &at);
    expected.lse = answers.next({B, H, L}, &at);
    if (golden.has("weights")) expected.weights = answers.next({B, H, L, S}, &at);
    Array bias = position_bias_of(golden, given.options, buckets);
    return {std::move(q), std::move(k), std::move(v), std::move(given), std::move(expected), std::move(bias)};
  }
};

/// A layer: like a core, with projections around it.
struct Module {
  MultiHeadAttentionConfig config;
  std::vector<Tensor> inputs;    // queries, keys, values
  std::vector<Tensor> matrices;  // of the four projections, then their biases
  MultiHeadAttentionWeights weights;
  Options given;
  Expected expected;
  Array position_bias;

  static Module read(const Parameters& golden, const Answers<double>& answers, const Answers<std::int32_t>& buckets) {
    const std::int64_t B = golden.number("batch"), H = golden.number("query_heads"), G = golden.number("key_heads");
    const std::int64_t L = golden.number("queries"), S = golden.number("keys"), D = golden.number("width");
    MultiHeadAttentionConfig config;
    config.query_size = golden.number("query_size");
    config.key_size = golden.number("key_size");
    config.value_size = golden.number("value_size");
    config.num_hiddens = H * D;
    config.num_heads = H;
    config.num_kv_heads = G;
    config.bias = golden.number("bias") != 0;

    Random random(static_cast<std::uint64_t>(golden.number("seed")));
    std::vector<Tensor> inputs, matrices;
    inputs.push_back(drawn({B, L, config.query_size}, random));
    inputs.push_back(drawn({B, S, config.key_size}, random));
    inputs.push_back(drawn({B, S, config.value_size}, random));
    matrices.push_back(drawn({H * D, config.query_size}, random, 0.5f));
    matrices.push_back(drawn({G * D, config.key_size}, random, 0.5f));
    matrices.push_back(drawn({G * D, config.value_size}, random, 0.5f));
    matrices.push_back(drawn({H * D, H * D}, random, 0.5f));
    for (std::size_t n = 0; n < 4 && config.bias; ++n) matrices.push_back(drawn({matrices[n].view.sizes[0]}, random));
    MultiHeadAttentionWeights weights;
    ConstTensorView* const views[] = {&weights.query,      &weights.key,      &weights.value,      &weights.output,
                                      &weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
    for (std::size_t n = 0; n < matrices.size(); ++n) *views[n] = matrices[n].view;

    std::int64_t at = golden.number("answers");
    Options given(golden, random, answers, &at);
    Expected expected;
    expected.output = answers.next({B, L, H * D}, &at);
    expected.lse = answers.next({B, H, L}, &at);
    if (golden.has("weights")) expected.weights = answers.next({B, H, L, S}, &at);
    Array bias = position_bias_of(golden, given.options, buckets);
    return {config, std::move(inputs), std::move(matrices), weights, std::move(given), std::move(expected), std::move(bias)};
  }
};

}  // namespace

TEST_CASE("golden: the core with every option") {
  const Answers<double> answers("answers.npy");
  const Answers<std::int32_t> buckets("buckets.npy");
  for (const Parameters& golden : cases_of("core")) {
    CAPTURE(golden.text("seed"));
    const Core core = Core::read(golden, answers, buckets);
    const Options& given = core.given;
    {
      INFO("the reference");
      const reference::AttentionResult result =
          reference_attention(core.q.view, core.k.view, core.v.view, given.valid_lens.view, given.options, core.position_bias);
      core.expected.check(result.output, result.lse, result.weights, allowed_reference);
      if (!given.slopes.absent()) {
        CHECK_CLOSE(reference::default_alibi_slopes(golden.number("query_heads")), given.slopes, allowed_reference);
      }
    }
    for (Isa isa : usable_isas()) {
      CAPTURE(name_of(isa));
      AttentionOptions options = given.options;
      Tensor output(core.expected.output.shape), lse(core.expected.lse.shape), weights(core.expected.weights.shape);
      options.lse = lse.view;
      if (!core.expected.weights.absent()) options.attention_weights = weights.view;
      Workspace workspace;
      REQUIRE_OK(attention(core.q.view, core.k.view, core.v.view, given.valid_lens.view, output.view, workspace, on(isa, options)));
      core.expected.check(output.view, lse.view, weights.view, allowed_engine);
    }
    if (!given.slopes.absent()) {
      Tensor slopes(given.slopes.shape);
      REQUIRE_OK(default_alibi_slopes(golden.number("query_heads"), slopes.view));
      CHECK_CLOSE(slopes.view, given.slopes, u);
    }
  }
}

TEST_CASE("golden: the layer with every option") {
  const Answers<double> answers("answers.npy");
  const Answers<std::int32_t> buckets("buckets.npy");
  for (const Parameters& golden : cases_of("module")) {
    CAPTURE(golden.text("seed"));
    const Module module = Module::read(golden, answers, buckets);
    const Options& given = module.given;
    {
      INFO("the reference");
      Array output, lse, weights;
      for (std::int64_t b = 0; b < golden.number("batch"); ++b) {
        const auto input = [&](std::size_t n) { return Array(entry_of<const float>(module.inputs[n].view, b)); };
        const reference::LayerResult entry =
            reference::multi_head_attention(module.weights, module.config.num_heads, input(0), input(1), input(2),
                                            reference_options(given.options, given.valid_lens.view, b, module.position_bias));
        append_entry(entry.output, &output);
        append_entry(entry.attention.lse, &lse);
        append_entry(entry.attention.weights, &weights);
      }
      module.expected.check(output, lse, weights, allowed_reference);
    }
    for (Isa isa : usable_isas()) {
      CAPTURE(name_of(isa));
      MultiHeadAttentionConfig config = module.config;
      config.isa = isa;
      MultiHeadAttention layer;
      REQUIRE_OK(MultiHeadAttention::make(config, module.weights, &layer));
      AttentionOptions options = given.options;
      Tensor output(module.expected.output.shape), lse(module.expected.lse.shape), weights(module.expected.weights.shape);
      options.lse = lse.view;
      if (!module.expected.weights.absent()) options.attention_weights = weights.view;
      Workspace workspace;
      REQUIRE_OK(layer.forward(module.inputs[0].view, module.inputs[1].view, module.inputs[2].view, given.valid_lens.view,
                               output.view, workspace, options));
      module.expected.check(output.view, lse.view, weights.view, allowed_engine);
    }
  }
}
