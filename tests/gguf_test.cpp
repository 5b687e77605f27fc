// GGUF files: their blocks, what they say of a model, layers in them beside the same layers in .safetensors files, and hostile bytes.
#include <doctest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend.hpp"
#include "attend/io.hpp"
#include "engine_test.h"
#include "gguf_builder.h"
#include "io/narrow.h"
#include "test_data.h"

using namespace attend;
using namespace engine_test;
using namespace gguf_builder;

namespace {

// A layer of 4 heads of 4, two of keys.
Builder layer_of(const std::string& architecture, Random& random, const std::string& prefix = "blk.0.") {
  Builder builder;
  builder.word("general.architecture", architecture);
  builder.count(architecture + ".attention.head_count", 4);
  builder.count(architecture + ".attention.head_count_kv", 2);
  builder.floats(prefix + "attn_q.weight", {16, 16}, random);
  builder.floats(prefix + "attn_k.weight", {8, 16}, random);
  builder.floats(prefix + "attn_v.weight", {8, 16}, random);
  builder.floats(prefix + "attn_output.weight", {16, 16}, random);
  builder.floats(prefix + "ffn_up.weight", {32, 16}, random);
  builder.floats(prefix + "attn_norm.weight", {16}, random);
  return builder;
}

io::GgufFile opened(const Builder& builder) {
  io::GgufFile file;
  REQUIRE_OK(io::GgufFile::parse(builder.bytes(), "model.gguf", &file));
  return file;
}

Tensor output_of(const io::LoadedLayer& layer) {
  Random random(5);
  const std::int64_t width = layer.attention.config().query_size;
  Tensor x({2, 5, width}), output({2, 5, width});
  x.fill(random);
  AttentionOptions options = layer.options;
  options.causal = true;
  Workspace workspace;
  REQUIRE_OK(layer.attention.forward(x.view, x.view, x.view, {}, output.view, workspace, options));
  return output;
}

io::LoadedLayer made(const io::TensorFile& file, const io::LoadOptions& options = {}, const std::string& prefix = "blk.0") {
  io::LayerWeights found;
  io::LoadedLayer layer;
  REQUIRE_OK(io::find_layer(file, prefix, &found, 0, options));
  REQUIRE_OK(io::make_layer(file, std::move(found), 0, &layer, options));
  return layer;
}

const std::string llama = test_data("data/gguf/llama.gguf");

std::vector<float> frequencies_of(std::int64_t width, double base) {
  std::vector<float> frequencies(static_cast<std::size_t>(width / 2));
  REQUIRE_OK(rotary_frequencies(width, base, {}, TensorView(frequencies.data(), width / 2)));
  return frequencies;
}

}  // namespace

TEST_CASE("gguf: llama's layers have the bits of the same layer as transformers orders it") {
  const std::vector<float> frequencies = frequencies_of(8, 500.0);
  io::LoadOptions rotated, of_file;
  rotated.rotary.inverse_frequencies = ConstTensorView(frequencies.data(), 4);
  io::LoadedLayer original, plain, original_int4;
  REQUIRE_OK(io::load_layer(test_data("data/gguf/llama.safetensors"), "model.layers.0.self_attn", 4, &original, rotated));
  REQUIRE_OK(io::load_layer(test_data("data/gguf/llama.safetensors"), "model.layers.0.self_attn", 4, &plain));
  for (const char* block : {"blk.0", "blk.1", "blk.3", "blk.4"}) {
    CAPTURE(std::string(block));
    io::LoadedLayer layer;
    REQUIRE_OK(io::load_layer(llama, block, 0, &layer));
    CHECK(std::string(layer.convention) == "GGUF");
    CHECK(layer.attention.config().num_heads == 4);
    CHECK(layer.attention.config().num_kv_heads == 2);
    CHECK(layer.remarks[0] == "rotated by frequencies of base 500 over 8 elements of a head, as the file says");
    CHECK_SAME_BITS(output_of(layer), output_of(original));
    REQUIRE_OK(io::load_layer(llama, block, 4, &layer, rotated));
    CHECK_SAME_BITS(output_of(layer), output_of(original));
    io::LoadOptions unrotated;
    unrotated.unrotated = true;
    REQUIRE_OK(io::load_layer(llama, block, 4, &layer, unrotated));
    CHECK_SAME_BITS(output_of(layer), output_of(plain));
  }
  io::LoadedLayer blocks;
  REQUIRE_OK(io::load_layer(llama, "blk.3", 0, &blocks));
  REQUIRE(blocks.remarks.size() == 2);
  CHECK(blocks.remarks[1] == "'blk.3.attn_q.weight' and 3 more are of Q4_0: their numbers were taken as float32");

  // Q4_0 stays as it is, and Q4_1 where it is so many steps.
  if (int4_instructions(Arithmetic::int8) != nullptr) {
    io::LoadOptions int4 = {}, whatever = {};
    int4.weight_type = WeightType::int4;
    int4.arithmetic = whatever.arithmetic = Arithmetic::int8;
    int4.low_precision_int4 = whatever.low_precision_int4 = low_precision_int4();
    whatever.weight_type_of_file = true;
    io::LoadOptions rounded = int4;
    rounded.rotary = rotated.rotary;
    REQUIRE_OK(io::load_layer(test_data("data/gguf/llama.safetensors"), "model.layers.0.self_attn", 4, &original_int4, rounded));  // exact, for -8 / 16 is in each group
    for (const char* block : {"blk.3", "blk.4"}) {
      CAPTURE(std::string(block));
      for (const io::LoadOptions& options : {int4, whatever}) {
        io::LoadedLayer layer;
        REQUIRE_OK(io::load_layer(llama, block, 0, &layer, options));
        CHECK(layer.remarks.size() == 1);
        CHECK(layer.attention.config().weight_type == WeightType::int4);
        CHECK(layer.attention.config().weight_group == 32);
        CHECK_SAME_BITS(output_of(layer), output_of(original_int4));
      }
    }
    REQUIRE_OK(io::load_layer(llama, "blk.2", 0, &blocks, int4));
    CHECK(blocks.remarks[1] == "'blk.2.attn_q.weight' and 3 more are of Q8_0: their numbers were rounded to the layer's type");
  }

  // F16 stays as it is stored, in the other order.
  of_file.weight_type_of_file = true;
  of_file.low_precision = low_precision();
  if (product_instructions(WeightType::float16, Arithmetic::float32) == nullptr) return;
  io::LoadedLayer stored;
  REQUIRE_OK(io::load_layer(llama, "blk.1", 0, &stored, of_file));
  CHECK(stored.attention.config().weight_type == WeightType::float16);
  CHECK_SAME_BITS(output_of(stored), output_of(original));
  CHECK(std::string(io::load_layer(llama, "blk.0", 0, &stored, of_file).message()).find("stored as F16, but 'attn_q.weight' as F32") != std::string::npos);
}

TEST_CASE("gguf: blocks are int4 where their numbers are exactly that, and else floats") {
  // Rows of 32: number i is (5 n + 7 i) % 16, in block n of scale d, with `added` (Q4_1) or 8 for zero.
  const auto block = [](int n, float d, const float* added) {
    std::string bytes = half(d) + (added == nullptr ? "" : half(*added));
    for (int i = 0; i < 16; ++i) bytes += static_cast<char>((5 * n + 7 * i) % 16 | (5 * n + 7 * (i + 16)) % 16 << 4);
    return bytes;
  };
  const auto file_of = [&](const std::function<std::string(int n)>& of_v, std::uint32_t type_of_v) {
    Builder builder;
    builder.word("general.architecture", "qwen2");
    builder.count("qwen2.attention.head_count", 1);
    const char* const names[] = {"attn_q", "attn_k", "attn_output", "attn_v"};
    for (int which = 0; which < 4; ++which) {
      std::string bytes;
      for (int n = 0; n < 32; ++n) bytes += which < 3 ? block(n + which, 0.01f * static_cast<float>(n - 9), nullptr) : of_v(n);
      builder.tensor(std::string("blk.0.") + names[which] + ".weight", {32, 32}, which < 3 ? 2 : type_of_v, bytes);
    }
    return opened(builder);
  };
  io::LoadOptions int4, of_file;
  int4.weight_type = WeightType::int4;
  of_file.weight_type_of_file = true;
  const auto found_in = [&](const io::GgufFile& file) {
    io::LayerWeights found;
    REQUIRE_OK(io::find_layer(file, "blk.0", &found, 0, int4));
    return found;
  };
  const auto steps = [&](int n) {
    const float d = 0.25f * static_cast<float>(n % 3), added = -d * static_cast<float>(n % 16);
    return block(n, d, &added);
  };
  const io::GgufFile exact = file_of(steps, 3);
  io::LayerWeights found = found_in(exact);
  REQUIRE(found.weights.stored_value != nullptr);
  REQUIRE(found.weights.stored_query != nullptr);
  const StoredMatrix &query = *found.weights.stored_query, &value = *found.weights.stored_value;
  for (int n = 0; n < 32; ++n) {
    for (int i = 0; i < 32; ++i) CHECK((query.nibbles.data[n * 16 + i / 2] >> i % 2 * 4 & 15) == (5 * n + 7 * i) % 16);
    CHECK(query.scales.data[n] == float_from_float16(float16_from_float(0.01f * static_cast<float>(n - 9))));
    CHECK(query.zeros.data[n] == 8);
    if (n % 3 != 0) CHECK(value.zeros.data[n] == n % 16);
    CHECK(value.scales.data[n] == 0.25f * static_cast<float>(n % 3));
  }
  io::FloatTensor numbers;
  REQUIRE_OK(exact.read("blk.0.attn_v.weight", &numbers));
  for (int n = 0; n < 32 * 32; ++n) {
    const int number = value.nibbles.data[n / 2] >> n % 2 * 4 & 15;
    CHECK(numbers.view.data[n] == value.scales.data[n / 32] * static_cast<float>(number - value.zeros.data[n / 32]));
  }
  // Written as they are stored, zeros and all, they are read as they were.
  io::NarrowedMatrix narrowed[4];
  std::vector<io::SafetensorsTensor> tensors;
  const char* const names[] = {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"};
  for (std::size_t which = 0; which < 4; ++which) {
    REQUIRE_OK(io::narrow(found.projections[which], WeightType::int4, 32, false, &narrowed[which]));
    CHECK(narrowed[which].zeros.empty() == (which != 2));  // of Q4_0 all are 8
    for (const io::SafetensorsTensor& tensor : narrowed[which].tensors(names[which])) tensors.push_back(tensor);
  }
  Bytes bytes;
  io::SafetensorsFile written;
  REQUIRE_OK(io::write_safetensors(&bytes, tensors));
  REQUIRE_OK(io::SafetensorsFile::parse(std::move(bytes), "written", &written));
  io::LayerWeights again;
  REQUIRE_OK(io::find_layer(written, "", &again, 1, int4));
  REQUIRE(again.weights.stored_value != nullptr);
  const StoredMatrix& read = *again.weights.stored_value;
  REQUIRE_FALSE(read.zeros.absent());
  for (int n = 0; n < 32 * 16; ++n) CHECK(read.nibbles.data[n] == value.nibbles.data[n]);
  for (int n = 0; n < 32; ++n) {
    CHECK(read.scales.data[n] == value.scales.data[n]);
    CHECK(read.zeros.data[n] == value.zeros.data[n]);
  }
  CHECK(again.weights.stored_query->zeros.absent());
  io::LayerWeights whole;
  REQUIRE_OK(io::find_layer(exact, "blk.0", &whole, 0, of_file));
  CHECK(whole.config.weight_type == WeightType::int4);
  // A half step, 16 steps, a step up, infinity and NaN: of one block alone all of the matrix becomes floats.
  for (const std::pair<float, float>& one : {std::pair(0.25f, -0.125f), std::pair(0.25f, -4.0f), std::pair(0.25f, 0.25f), std::pair(INFINITY, 0.0f), std::pair(0.25f, NAN), std::pair(0.0f, 1.0f)}) {
    CAPTURE(one.second);
    const io::GgufFile file = file_of([&](int n) { return n == 31 ? block(n, one.first, &one.second) : steps(n); }, 3);
    found = found_in(file);
    CHECK(found.weights.stored_value == nullptr);
    CHECK(found.weights.stored_query != nullptr);
    CHECK(std::string(io::find_layer(file, "blk.0", &found, 0, of_file).message()).find("'blk.0.attn_v.weight': stored as Q4_1, here float32, but 'attn_k.weight' as Q4_0, here int4") !=
          std::string::npos);
  }
  // In groups of another size, or of another type, they are floats.
  int4.weight_group = 64;
  CHECK(found_in(exact).weights.stored_query == nullptr);
}

TEST_CASE("gguf: rows for pairs, put in order for halves, are what they are for pairs") {
  Random random(1);
  Builder builder = layer_of("llama", random);
  builder.count("llama.rope.dimension_count", 2);  // of heads of 4
  builder.number("llama.rope.freq_base", 100.0f);
  builder.floats("blk.0.attn_q.bias", {16}, random);
  builder.floats("blk.0.attn_k.bias", {8}, random);
  builder.floats("blk.0.attn_q_norm.weight", {4}, random);
  const io::GgufFile file = opened(builder);
  io::FloatTensor tensors[7];
  const char* const names[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "attn_q.bias", "attn_k.bias", "attn_q_norm.weight"};
  for (int n = 0; n < 7; ++n) REQUIRE_OK(file.read(std::string("blk.0.") + names[n], &tensors[n]));
  for (const std::int64_t rotated : {std::int64_t{2}, std::int64_t{4}}) {
    Builder whole = builder;
    if (rotated == 4) whole.values.replace(whole.values.find(bits<std::uint32_t>(2), whole.values.find("dimension_count") + 19), 4, bits<std::uint32_t>(4));
    const io::GgufFile other = opened(whole);
    const std::vector<float> frequencies = frequencies_of(rotated, 100.0);
    MultiHeadAttentionConfig config = Layer::square(16, 4, Isa::best, true);
    config.num_kv_heads = 2;
    config.qk_norm = true;
    config.norm_keys = false;
    config.rotary.inverse_frequencies = ConstTensorView(frequencies.data(), rotated / 2);
    config.rotary.interleaved = true;
    MultiHeadAttentionWeights weights;
    weights.query = tensors[0].view;
    weights.key = tensors[1].view;
    weights.value = tensors[2].view;
    weights.output = tensors[3].view;
    weights.query_bias = tensors[4].view;
    weights.key_bias = tensors[5].view;
    weights.query_norm = tensors[6].view;
    io::LoadedLayer pairs;
    REQUIRE_OK(MultiHeadAttention::make(config, weights, &pairs.attention));
    const Tensor expected = output_of(pairs), found = output_of(made(other));
    for (std::int64_t n = 0; n < expected.count(); ++n) CHECK(std::abs(found[n] - expected[n]) < 2e-6f);  // the norm and scores sum in another order
  }
}

TEST_CASE("gguf: the numbers of blocks, worked out by hand") {
  Builder builder;
  builder.word("general.architecture", "llama");
  std::string q8 = half(0.5f), q4_0 = half(-2.0f), q4_1 = half(0.25f) + half(-1.0f);
  for (int i = 0; i < 32; ++i) q8 += static_cast<char>(i == 31 ? -128 : i);
  for (int i = 0; i < 16; ++i) q4_0 += static_cast<char>(i | (15 - i) << 4);
  for (int i = 0; i < 16; ++i) q4_1 += static_cast<char>(15 | i << 4);
  builder.tensor("a", {1, 32}, 8, q8);
  builder.tensor("b", {32}, 2, q4_0);
  builder.tensor("c", {2, 32}, 3, q4_1 + q4_1);
  builder.tensor("d", {1, 2}, 28, bits(0.1) + bits(3.0));
  builder.tensor("e", {256}, 12, std::string(144, '\0'));
  const io::GgufFile file = opened(builder);
  io::FloatTensor a, b, c, d, e;
  REQUIRE_OK(file.read("a", &a));
  CHECK(a.shape() == std::vector<std::int64_t>{1, 32});
  CHECK(a.view.data[3] == 1.5f);
  CHECK(a.view.data[31] == -64.0f);
  REQUIRE_OK(file.read("b", &b));
  CHECK(b.view.data[0] == 16.0f);   // -2 (0 - 8)
  CHECK(b.view.data[15] == -14.0f);  // -2 (15 - 8)
  CHECK(b.view.data[16] == -14.0f);
  CHECK(b.view.data[31] == 16.0f);
  REQUIRE_OK(file.read("c", &c));
  CHECK(c.view.data[32] == 2.75f);  // 0.25 15 - 1
  CHECK(c.view.data[48] == -1.0f);
  CHECK(c.view.data[63] == 2.75f);
  REQUIRE_OK(file.read("d", &d));
  CHECK(d.view.data[0] == 0.1f);
  CHECK(file.find("e")->dtype == "Q4_K");
  CHECK(std::string(file.read("e", &e).message()) == "'model.gguf': tensor 'e': dtype 'Q4_K', expected F32, F16, BF16 or F64, or blocks of Q8_0, Q4_0 or Q4_1");
}

TEST_CASE("gguf: what the file says of its model is the layer's") {
  Random random(2);
  {  // heads, one count a layer; scale, softcap, the norms' epsilon; rows of halves stay
    Builder builder = layer_of("qwen3", random, "blk.1.");
    builder.values.clear();
    builder.num_values = 0;
    builder.word("general.architecture", "qwen3");
    builder.counts("qwen3.attention.head_count", {8, 4});
    builder.counts("qwen3.attention.head_count_kv", {8, 2});
    builder.count("qwen3.attention.key_length", 4);
    builder.number("qwen3.attention.scale", 0.75f);
    builder.number("qwen3.attn_logit_softcapping", 30.0f);
    builder.number("qwen3.attention.layer_norm_rms_epsilon", 1e-5f);
    builder.number("qwen3.rope.freq_base", 1000.0f);
    builder.word("qwen3.rope.scaling.type", "linear");
    builder.number("qwen3.rope.scaling.factor", 4.0f);
    builder.floats("blk.1.attn_k_norm.weight", {4}, random);
    builder.floats("blk.1.attn_sinks.weight", {4}, random);
    const io::GgufFile file = opened(builder);
    const io::LoadedLayer layer = made(file, {}, "blk.1.");
    CHECK(layer.attention.config().num_heads == 4);
    CHECK(layer.attention.config().norm_epsilon == 1e-5f);
    CHECK(layer.options.scale == 0.75f);
    CHECK(layer.options.softcap == 30.0f);
    CHECK(layer.options.sinks.sizes[0] == 4);
    CHECK(layer.remarks == std::vector<std::string>{"rotated by frequencies of base 1000 over 4 elements of a head, scaled linearly, as the file says"});
    std::vector<float> frequencies = frequencies_of(4, 1000.0);
    for (float& frequency : frequencies) frequency /= 4.0f;
    io::LoadOptions own;
    own.rotary.inverse_frequencies = ConstTensorView(frequencies.data(), 2);
    own.norm_epsilon = 1e-5f;
    CHECK_SAME_BITS(output_of(layer), output_of(made(file, own, "blk.1")));
    for (const float epsilon : {1e-3f, 1e-6f}) {
      own.norm_epsilon = epsilon;
      CHECK(made(file, own, "blk.1").attention.config().norm_epsilon == epsilon);
    }
  }
  {  // factors of frequencies, and 10000 where no base is said
    Builder builder = layer_of("llama", random);
    builder.tensor("rope_freqs.weight", {2}, 0, bits(2.0f) + bits(8.0f));
    const io::LoadedLayer layer = made(opened(builder));
    CHECK(layer.remarks == std::vector<std::string>{"rotated by frequencies of base 10000 over 4 elements of a head, divided by rope_freqs, as the file says"});
    std::vector<float> frequencies = frequencies_of(4, 10000.0);
    frequencies[0] /= 2.0f;
    frequencies[1] /= 8.0f;
    io::LoadOptions own;
    own.rotary.inverse_frequencies = ConstTensorView(frequencies.data(), 2);
    CHECK_SAME_BITS(output_of(layer), output_of(made(opened(builder), own)));
  }
  {  // one tensor of three projections; no rotation
    Builder builder;
    builder.word("general.architecture", "gpt2");
    builder.count("gpt2.attention.head_count", 4);
    builder.floats("blk.0.attn_qkv.weight", {48, 16}, random);
    builder.floats("blk.0.attn_qkv.bias", {48}, random);
    builder.floats("blk.0.attn_output.weight", {16, 16}, random);
    builder.floats("blk.0.attn_output.bias", {16}, random);
    const io::GgufFile file = opened(builder);
    const io::LoadedLayer layer = made(file);
    CHECK(layer.remarks.empty());
    io::FloatTensor qkv, bias, output, output_bias;
    REQUIRE_OK(file.read("blk.0.attn_qkv.weight", &qkv));
    REQUIRE_OK(file.read("blk.0.attn_qkv.bias", &bias));
    REQUIRE_OK(file.read("blk.0.attn_output.weight", &output));
    REQUIRE_OK(file.read("blk.0.attn_output.bias", &output_bias));
    MultiHeadAttentionWeights weights;
    ConstTensorView* const matrices[] = {&weights.query, &weights.key, &weights.value};
    ConstTensorView* const biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias};
    for (int n = 0; n < 3; ++n) *matrices[n] = qkv.view.slice(0, 16 * n, 16), *biases[n] = bias.view.slice(0, 16 * n, 16);
    weights.output = output.view;
    weights.output_bias = output_bias.view;
    io::LoadedLayer expected;
    REQUIRE_OK(MultiHeadAttention::make(Layer::square(16, 4, Isa::best, true), weights, &expected.attention));
    CHECK_SAME_BITS(output_of(layer), output_of(expected));
  }
}

TEST_CASE("gguf: layers that cannot be made are refused by name") {
  Random random(3);
  const auto refused = [&](const Builder& builder, const std::string& part, std::int64_t num_heads = 0, const std::string& prefix = "blk.0", const io::LoadOptions& options = {}) {
    const io::GgufFile file = opened(builder);
    io::LayerWeights found;
    io::LoadedLayer layer;
    Status status = io::find_layer(file, prefix, &found, num_heads, options);
    if (status.ok()) status = io::make_layer(file, std::move(found), num_heads, &layer, options);
    CHECK_FALSE(status.ok());
    CHECK_MESSAGE(std::string(status.message()).find(part) != std::string::npos, std::string(status.message()));
  };
  const Builder good = layer_of("llama", random);
  refused(good, "no attention layer under prefix ''; try 'blk.0'", 0, "");
  refused(good, "num_heads 8, but the file says 4", 8);
  refused(layer_of("novel", random), "architecture 'novel': how its layers are rotated is not known here; there are llama, ");
  io::LoadOptions wrong;
  wrong.num_kv_heads = 4;
  refused(good, "the keys' 8 rows are no 4 heads", 0, "blk.0", wrong);
  const auto with = [&](const std::function<void(Builder&)>& change) {
    Builder builder = good;
    change(builder);
    return builder;
  };
  refused(with([](Builder& b) { b.count("llama.attention.key_length", 5); }), "tensor 'blk.0.attn_q.weight': shape (16, 16), expected rows of 4 heads");
  refused(with([](Builder& b) { b.count("llama.rope.dimension_count", 3); }), "llama.rope.dimension_count: 3, expected an even number of at most a head's 4");
  refused(with([](Builder& b) { b.count("llama.rope.dimension_count", 6); }), "llama.rope.dimension_count: 6, expected");
  refused(with([](Builder& b) { b.word("llama.rope.scaling.type", "yarn"); }), "llama.rope.scaling.type 'yarn': there are none and linear; rotary takes frequencies of your own");
  refused(with([](Builder& b) { b.tensor("rope_freqs.weight", {1}, 0, bits(2.0f)); }), "tensor 'rope_freqs.weight': shape (1,), expected (2,)");
  refused(with([](Builder& b) { b.tensor("blk.0.attn_sub_norm.weight", {1}, 0, bits(2.0f)); }), "does not use 'attn_sub_norm.weight'");
  refused(with([](Builder& b) { b.infos.replace(b.infos.find("attn_v"), 6, "attn_x"); }), "no attention layer under prefix 'blk.0' (GGUF names lack 'attn_v.weight')");
  Builder silent = good;
  silent.values = text("general.architecture") + bits<std::uint32_t>(8) + text("llama");
  silent.num_values = 1;
  refused(silent, "no llama.attention.head_count of that layer, expected num_heads");
  Builder keys = good;
  keys.values.replace(keys.values.rfind(bits<std::uint32_t>(2)), 4, bits<std::uint32_t>(1));
  refused(keys, "the keys' rows are 2 heads, but the file says 1");
  Builder packed = good;
  packed.infos.replace(packed.infos.find(text("blk.0.attn_k.weight")) - 12, 4, bits<std::uint32_t>(24));  // I8
  io::GgufFile file;
  REQUIRE_OK(io::GgufFile::parse(packed.bytes(), "m", &file));
  refused(packed, "tensor 'blk.0.attn_q.weight': integers without 'blk.0.attn_q.weight_scale'");
}

TEST_CASE("gguf: files that are none, and hostile ones, are refused in a line") {
  Random random(4);
  io::GgufFile file;
  const auto refused = [&](const Bytes& bytes, const std::string& part) {
    const Status status = io::GgufFile::parse(bytes, "m.gguf", &file);
    CHECK_FALSE(status.ok());
    CHECK_MESSAGE(std::string(status.message()).find("'m.gguf': " + part) == 0, std::string(status.message()));
  };
  const auto of = [](const std::string& words) { return Bytes(words.begin(), words.end()); };
  refused({}, "not a GGUF file");
  refused(of("{\"a\": 1}"), "not a GGUF file (it is JSON");
  refused(of("GGUF"), "cut short: its header goes beyond its 4 bytes");
  const auto with = [&](const std::function<void(Builder&)>& change, const std::string& part) {
    Builder builder;
    builder.word("general.architecture", "llama");
    change(builder);
    refused(builder.bytes(), part);
  };
  with([](Builder& b) { b.version = 1; }, "GGUF of version 1, expected 2 or 3");
  with([](Builder& b) { b.version = 3u << 24; }, "GGUF of version 50331648, expected 2 or 3 (its numbers are big-endian)");
  with([](Builder& b) { b.num_tensors = UINT64_MAX; }, "cut short");
  with([](Builder& b) { b.num_values = UINT64_MAX; }, "");
  with([](Builder& b) { b.word("general.architecture", "again"); }, "two values 'general.architecture'");
  with([](Builder& b) { b.value("x", 13, ""); }, "value 'x': of no type that there is");
  with([](Builder& b) { b.value("x", 9, bits<std::uint32_t>(9) + bits<std::uint64_t>(1)); }, "value 'x': of no type that there is");
  with([](Builder& b) { b.value("x", 9, bits<std::uint32_t>(0) + bits(UINT64_MAX)); }, "cut short");
  with([](Builder& b) { b.value("x", 9, bits<std::uint32_t>(12) + bits(UINT64_MAX / 4)); }, "cut short");
  with([](Builder& b) { b.value("x", 9, bits<std::uint32_t>(8) + bits(UINT64_MAX)); }, "cut short");
  with([](Builder& b) { b.value("x", 8, bits(UINT64_MAX)); }, "cut short");
  with([](Builder& b) { b.count("general.alignment", 24); }, "general.alignment: expected a power of two");
  with([](Builder& b) { b.count("general.alignment", 0); }, "general.alignment: expected a number of at least 1");
  with([](Builder& b) { b.word("llama.rope.freq_base", "ten"); }, "llama.rope.freq_base: expected a number of at least 1");
  with([](Builder& b) { b.number("llama.rope.freq_base", INFINITY); }, "llama.rope.freq_base: expected a number");
  with([](Builder& b) { b.number("llama.attention.head_count", -1.0f); }, "llama.attention.head_count: expected counts");
  with([](Builder& b) { b.values.clear(), b.num_values = 0; }, "no general.architecture, which says whose model it is");
  const std::string four(4, '\0');
  with([&](Builder& b) { b.tensor("x", {1}, 0, four), b.tensor("x", {1}, 0, four); }, "two tensors 'x'");
  with([&](Builder& b) { b.tensor("x", {2}, 0, four), b.data.resize(4); }, "tensor 'x': bytes 0 to 8, but only 4 follow the header");
  with([&](Builder& b) { b.tensor("x", {31}, 8, four); }, "tensor 'x': shape (31,), expected rows of whole blocks of 32 in Q8_0");
  with([&](Builder& b) { b.tensor("x", {}, 8, four); }, "tensor 'x': shape (), expected rows of whole blocks");
  with([&](Builder& b) { b.tensor("x", {1, 1, 1, 1, 1}, 0, four); }, "tensor 'x': 5 axes, expected at most four");
  with([&](Builder& b) { b.tensor("x", {UINT64_MAX}, 0, four); }, "tensor 'x': a size of 18446744073709551615");
  with([&](Builder& b) { b.tensor("x", {1ull << 40, 1ull << 40}, 0, four); }, "tensor 'x': shape (1099511627776, 1099511627776) is too large");
  with([&](Builder& b) { b.tensor("\xff", {1}, 0, four); }, "a tensor's name is not UTF-8");
  with([](Builder& b) { b.word("\xff", "x"); }, "a value's key is not UTF-8");
  with([](Builder& b) { b.values.clear(), b.num_values = 0, b.word("general.architecture", "\xff"); }, "no general.architecture");
  with([&](Builder& b) { b.data.resize(8), b.tensor("x", {1}, 0, four); }, "tensor 'x': begins at byte 8, expected a multiple of 32");
  with([&](Builder& b) { b.tensor("x", {1}, 0, four), b.infos.replace(b.infos.size() - 8, 8, bits<std::uint64_t>(UINT64_MAX - 31)); }, "tensor 'x': ");

  // Cut anywhere, or with a byte changed: never more than a message.
  Builder builder = layer_of("llama", random);
  builder.counts("other", {1, 2, 3});
  const Bytes whole = builder.bytes();
  REQUIRE_OK(io::GgufFile::parse(whole, "m.gguf", &file));
  const std::size_t header = builder.header().size();
  for (std::size_t size = 0; size < whole.size(); size += size < header + 64 ? 1 : 97) {
    CHECK_FALSE(io::GgufFile::parse(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), "m.gguf", &file).ok());
  }
  for (std::size_t at = 0; at < header; ++at) {
    for (const int mask : {1, 0x80, 0xff}) {
      Bytes changed = whole;
      changed[at] = static_cast<unsigned char>(changed[at] ^ mask);
      io::GgufFile one;
      if (!io::GgufFile::parse(changed, "m.gguf", &one).ok()) continue;
      io::LayerWeights found;
      io::LoadedLayer layer;
      if (io::find_layer(one, "blk.0", &found).ok()) static_cast<void>(io::make_layer(one, std::move(found), 0, &layer).ok());
    }
  }
  // Any alignment: elements that lie at odd bytes are copied.
  Random again(4);
  Builder odd = layer_of("llama", again);
  odd.alignment = 32;
  const io::LoadedLayer expected = made(opened(odd));
  Builder shifted;
  shifted.alignment = 1;
  Random third(4);
  shifted.word("general.architecture", "llama");
  shifted.count("general.alignment", 1);
  shifted.count("llama.attention.head_count", 4);
  shifted.tensor("a", {1}, 24, "x");
  for (const auto& [name, rows] : {std::pair<const char*, std::uint64_t>{"q", 16}, {"k", 8}, {"v", 8}, {"output", 16}}) {
    shifted.floats(std::string("blk.0.attn_") + name + ".weight", {rows, 16}, third);
  }
  CHECK_SAME_BITS(output_of(made(opened(shifted))), output_of(expected));
}

TEST_CASE("gguf: TensorFile::open tells files by their beginning") {
  io::TensorFile file;
  REQUIRE_OK(io::TensorFile::open(llama, &file));
  CHECK(file.model().architecture == "llama");
  CHECK(file.find("blk.2.attn_k.weight")->dtype == "Q8_0");
  REQUIRE_OK(io::TensorFile::open(test_data("data/gguf/llama.safetensors"), &file));
  CHECK(file.model().architecture.empty());
  CHECK(file.entries().size() == 4);
  CHECK_FALSE(io::TensorFile::open("/nowhere", &file).ok());
  CHECK(file.entries().size() == 4);  // as it was
  io::SafetensorsFile safetensors;
  CHECK(std::string(io::SafetensorsFile::open(llama, &safetensors).message()).find("(it is a GGUF file)") != std::string::npos);
}

TEST_CASE("gguf: values of the header are read when they are asked for") {
  Random random(1);
  Builder builder = layer_of("llama", random);
  const std::string long_text(10000, 'x');
  std::vector<std::uint32_t> many(5000);
  for (std::size_t n = 0; n < many.size(); ++n) many[n] = static_cast<std::uint32_t>(n);
  builder.word("name", "SmolLM2");
  builder.words("tokens", {"a", "", "\xff", long_text});
  builder.words("nothing", {});
  builder.counts("numbers", many);
  builder.number("half", 0.5f);
  builder.value("flag", 7, bits<std::uint8_t>(1));
  builder.value("small", 1, bits<std::int8_t>(-3));
  const io::GgufFile file = opened(builder);
  std::vector<std::string_view> texts;
  REQUIRE_OK(file.read_texts("name", &texts));
  CHECK(texts == std::vector<std::string_view>{"SmolLM2"});
  REQUIRE_OK(file.read_texts("tokens", &texts));
  CHECK(texts == std::vector<std::string_view>{"a", "", "\xff", long_text});
  REQUIRE_OK(file.read_texts("nothing", &texts));
  CHECK(texts.empty());
  std::vector<double> numbers;
  REQUIRE_OK(file.read_numbers("numbers", &numbers));
  CHECK(numbers == std::vector<double>(many.begin(), many.end()));
  for (const auto& [key, number] : {std::pair<const char*, double>{"half", 0.5}, {"flag", 1.0}, {"small", -3.0}, {"llama.attention.head_count", 4.0}}) {
    REQUIRE_OK(file.read_numbers(key, &numbers));
    CHECK(numbers == std::vector<double>{number});
  }
  CHECK(file.find_value("flag") != nullptr);
  CHECK(file.find_value("fla") == nullptr);
  CHECK(std::string(file.read_numbers("fla", &numbers).message()) == "'model.gguf': no fla");
  CHECK(std::string(file.read_texts("fla", &texts).message()) == "'model.gguf': no fla");
  CHECK(std::string(file.read_numbers("name", &numbers).message()) == "'model.gguf': name: expected numbers");
  CHECK(std::string(file.read_texts("half", &texts).message()) == "'model.gguf': half: expected texts");
  CHECK(numbers == std::vector<double>{4.0});  // as it was
  CHECK(texts.empty());
}
