// A language model beside a plain one in torch, in parts and at once, in every precision; choices of tokens; models that are refused.
#include <doctest.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "../tools/chat_prompt.h"
#include "../tools/failure.h"
#include "../tools/language_model.h"
#include "../tools/prompt_look_up.h"
#include "../tools/token_choice.h"
#include "attend/io.hpp"
#include "engine_test.h"
#include "gguf_builder.h"
#include "test_data.h"

namespace {

using namespace attend;
using engine_test::Random;
using gguf_builder::Builder;
using tool::LanguageModel;
using tool::Reading;
using Ids = std::vector<std::int32_t>;

io::GgufFile golden_file() {
  io::GgufFile file;
  REQUIRE_OK(io::GgufFile::open(test_data("golden/language_model/model.gguf"), &file));
  return file;
}

/// What torch says of a prompt.
struct Golden {
  Ids prompt, answer;
  std::vector<double> scores;  // of the first tokens, where the last of the answer was chosen
};

std::vector<Golden> goldens() {
  std::vector<Golden> all;
  std::ifstream file(test_data("golden/language_model/answers.txt"));
  for (std::string line, kind; std::getline(file, line);) {
    std::istringstream fields(line);
    fields >> kind;
    if (kind == "prompt") all.emplace_back();
    REQUIRE_FALSE(all.empty());
    for (double number; fields >> number;) {
      if (kind == "prompt") all.back().prompt.push_back(static_cast<std::int32_t>(number));
      if (kind == "answer") all.back().answer.push_back(static_cast<std::int32_t>(number));
      if (kind == "scores") all.back().scores.push_back(number);
    }
  }
  CHECK(all.size() == 6);
  return all;
}

Ids greedy(const LanguageModel& model, const Ids& prompt, std::size_t count, Threads threads = {}, CacheType type = CacheType::float32) {
  Reading reading(model, static_cast<std::int64_t>(prompt.size() + count), type, threads);
  Ids answer, next = prompt;
  while (answer.size() < count) {
    answer.push_back(tool::likeliest(reading.read(next).data, model.vocabulary()));
    next = {answer.back()};
  }
  return answer;
}

std::vector<float> last_scores(const LanguageModel& model, const Ids& tokens, CacheType type = CacheType::float32) {
  Reading reading(model, static_cast<std::int64_t>(tokens.size()), type, {});
  const ConstTensorView scores = reading.read(tokens);
  return {scores.data, scores.data + scores.sizes[1]};
}

Ids random_tokens(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  Ids tokens(count);
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random.between(0, 479));
  return tokens;
}

/// The root mean square of the difference, of that of `expected`.
double error(const std::vector<float>& found, const std::vector<float>& expected) {
  double off = 0.0, all = 0.0;
  for (std::size_t n = 0; n < expected.size(); ++n) {
    off += std::pow(static_cast<double>(found[n]) - static_cast<double>(expected[n]), 2);
    all += std::pow(static_cast<double>(expected[n]), 2);
  }
  return std::sqrt(off / all);
}

/// A model of one block, 4 heads of 4, two of keys, which the test may change; one matrix may have other columns.
Builder small_model(const std::string& other = "", std::uint64_t columns = 0) {
  Random random(3);
  Builder builder;
  builder.word("general.architecture", "llama");
  builder.count("llama.block_count", 1);
  builder.count("llama.embedding_length", 16);
  builder.count("llama.feed_forward_length", 32);
  builder.count("llama.attention.head_count", 4);
  builder.count("llama.attention.head_count_kv", 2);
  builder.number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  builder.floats("token_embd.weight", {10, 16}, random);
  builder.floats("output_norm.weight", {16}, random);
  const std::pair<const char*, std::vector<std::uint64_t>> tensors[] = {{"attn_norm", {16}}, {"attn_q", {16, 16}}, {"attn_k", {8, 16}},  {"attn_v", {8, 16}},    {"attn_output", {16, 16}},
                                                                        {"ffn_norm", {16}},  {"ffn_up", {32, 16}}, {"ffn_gate", {32, 16}}, {"ffn_down", {16, 32}}};
  for (auto [name, shape] : tensors) {
    if (name == other) shape.back() = columns;
    builder.floats(std::string("blk.0.") + name + ".weight", shape, random);
  }
  return builder;
}

std::string refusal(const Builder& builder) {
  io::GgufFile file;
  REQUIRE_OK(io::GgufFile::parse(builder.bytes(), "m.gguf", &file));
  try {
    LanguageModel(file, {}, Isa::best);
  } catch (const tool::Failure& failure) {
    const std::string text = failure.what();
    CHECK(text.find('\n') == std::string::npos);
    return text;
  }
  return "accepted";
}

/// Writes other bytes in place of the first ones, which are as many.
Builder replaced(Builder builder, const std::string& before, const std::string& after) {
  REQUIRE(before.size() == after.size());
  for (std::string* bytes : {&builder.values, &builder.infos}) {
    const std::size_t at = bytes->find(before);
    if (at == std::string::npos) continue;
    bytes->replace(at, after.size(), after);
    return builder;
  }
  FAIL("nothing of " << before);
  return builder;
}

}  // namespace

TEST_CASE("language model: greedy tokens are those of a plain model in torch, on every ISA, cache and thread") {
  const io::GgufFile file = golden_file();
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(3, &pool));
  for (const Isa isa : engine_test::usable_isas()) {
    CAPTURE(engine_test::name_of(isa));
    const LanguageModel model(file, {}, isa);
    CHECK(model.vocabulary() == 480);
    CHECK(LanguageModel::context(file) == 1000);
    CHECK(model.isa() == isa);
    for (const Golden& golden : goldens()) {
      const Ids answer = greedy(model, golden.prompt, golden.answer.size());
      CHECK(answer == golden.answer);
      CHECK(greedy(model, golden.prompt, golden.answer.size(), pool.threads()) == answer);
      Ids all = golden.prompt;
      all.insert(all.end(), golden.answer.begin(), golden.answer.end() - 1);
      const std::vector<float> scores = last_scores(model, all);
      for (std::size_t n = 0; n < golden.scores.size(); ++n) CHECK(std::fabs(static_cast<double>(scores[n]) - golden.scores[n]) < 1e-4);
    }
  }
}

TEST_CASE("language model: tokens one by one, each of several, and all at once give the same scores") {
  const io::GgufFile file = golden_file();
  const Ids tokens = random_tokens(700, 1);  // more than are read at a time
  const std::int64_t count = static_cast<std::int64_t>(tokens.size());
  std::vector<tool::Precision> precisions = {{}};
  for (const tool::Precision& precision : tool::low_precisions) {
    if (tool::instructions_of(precision, Isa::best) != nullptr) precisions.push_back(precision);
  }
  for (const tool::Precision& precision : precisions) {
    CAPTURE(std::string(tool::name_of(precision.weight_type)));
    CAPTURE(std::string(tool::name_of(precision.arithmetic)));
    const LanguageModel model(file, precision, Isa::best);
    const std::int64_t vocabulary = model.vocabulary();
    const auto row_of = [&](const ConstTensorView& scores, std::int64_t row) { return std::vector<float>(scores.data + row * vocabulary, scores.data + (row + 1) * vocabulary); };
    Reading one_by_one(model, count, CacheType::float32, {}), each(model, count, CacheType::float32, {}), at_once(model, count, CacheType::float32, {});
    std::vector<float> last;
    for (std::int64_t first = 0, part = 1; first < count; first += part, part = std::min(part % 9 + 1, count - first)) {
      const Ids some(tokens.begin() + first, tokens.begin() + first + part);
      const ConstTensorView scores = each.read_each(some);
      REQUIRE(scores.sizes[0] == part);
      for (std::int64_t n = 0; n < part; ++n) {
        last = row_of(one_by_one.read({some[static_cast<std::size_t>(n)]}), 0);
        CHECK(row_of(scores, n) == last);
      }
    }
    CHECK(each.length() == count);
    const bool rounds_rows = precision.arithmetic != Arithmetic::float32;  // so that a last bit may move a number by a whole step
    CHECK(error(row_of(at_once.read(tokens), 0), last) < (rounds_rows ? 0.03 : 1e-5));
    CHECK(at_once.length() == count);
    // What was forgotten is as if it had never been.
    one_by_one.forget_after(699);
    CHECK(one_by_one.length() == 699);
    CHECK(row_of(one_by_one.read({tokens.back()}), 0) == last);
    CHECK_THROWS_AS(one_by_one.read({1}), tool::Failure);  // it is full
  }
}

TEST_CASE("language model: low precision of weights and caches is near float32") {
  const io::GgufFile file = golden_file();
  const LanguageModel model(file, {}, Isa::best);
  const Ids tokens = random_tokens(100, 2);
  const std::vector<float> expected = last_scores(model, tokens);
  for (const tool::Precision& precision : tool::low_precisions) {
    if (tool::instructions_of(precision, Isa::best) == nullptr) continue;
    CAPTURE(std::string(tool::name_of(precision.weight_type)));
    CAPTURE(std::string(tool::name_of(precision.arithmetic)));
    const LanguageModel low(file, precision, Isa::best);
    const double off = error(last_scores(low, tokens), expected);
    CHECK(off > 0.0);
    CHECK(off < (precision.weight_type == WeightType::int4 ? 0.5 : precision.weight_type == WeightType::float16 ? 0.001 : 0.05));
    CHECK(low.weight_bytes() < model.weight_bytes());
  }
  if (low_precision() == nullptr) return;
  const std::size_t bytes = Reading(model, 640, CacheType::float32, {}).cache_bytes();
  CHECK(bytes >= 640 * 2 * 2 * 2 * 8 * sizeof(float));  // tokens, layers, keys and values, heads, elements
  CHECK(bytes < 640 * 2 * 2 * 2 * 8 * sizeof(float) * 11 / 10);
  for (const CacheType type : {CacheType::bfloat16, CacheType::float16, CacheType::int8}) {
    const double off = error(last_scores(model, tokens, type), expected);
    CHECK(off > 0.0);
    CHECK(off < (type == CacheType::float16 ? 0.001 : 0.02));
    CHECK(Reading(model, 640, type, {}).cache_bytes() <= bytes);  // rows of 8 are filled up
  }
}

TEST_CASE("language model: files that are refused") {
  CHECK(refusal(small_model()) == "accepted");
  const auto with = [](const std::string& before, const std::string& after) { return refusal(replaced(small_model(), before, after)); };
  CHECK(refusal([] {
          Builder builder;
          builder.word("general.architecture", "gemma");
          return builder;
        }()) == "'m.gguf': a model of the architecture 'gemma'; there is llama");
  CHECK(with("llama.block_count", "llama.block_comma") == "'m.gguf': no llama.block_count");
  CHECK(with("llama.embedding_length", "llama.embedding_breadt") == "'m.gguf': no llama.embedding_length");
  CHECK(with("norm_rms_epsilon", "norm_rms_epsilom") == "'m.gguf': no llama.attention.layer_norm_rms_epsilon");
  const auto count_of = [&](const std::string& key, std::uint32_t before, std::uint32_t after) { return with(key + gguf_builder::bits<std::uint32_t>(4) + gguf_builder::bits(before), key + gguf_builder::bits<std::uint32_t>(4) + gguf_builder::bits(after)); };
  CHECK(count_of("block_count", 1, 0) == "'m.gguf': llama.block_count: expected a count from 1 to 2^24");
  CHECK(count_of("block_count", 1, 0xFFFFFFFFu) == "'m.gguf': llama.block_count: expected a count from 1 to 2^24");
  CHECK(count_of("block_count", 1, 1u << 24) == "'m.gguf': no attention layer under prefix 'blk.1'; try 'blk.0'");
  CHECK(count_of("embedding_length", 16, 32) == "'m.gguf': tensor 'token_embd.weight': rows of 16, expected llama.embedding_length, 32");
  CHECK(count_of("feed_forward_length", 32, 16) == "'m.gguf': tensor 'blk.0.ffn_gate.weight': shape (32, 16), expected (16, 16)");
  CHECK(with("blk.0.ffn_norm.weight", "blk.0.ffn_gift.weight") ==
        "'m.gguf': tensor 'blk.0.ffn_gift.weight': a model of llama's architecture and 1 blocks has none of that name");
  CHECK(with("token_embd.weight", "token_made.weight") == "'m.gguf': tensor 'token_embd.weight': there is none of that name");
  CHECK(with("blk.0.attn_k.weight", "blk.0.attn_z.weight").find("'m.gguf'") == 0);
  for (const char* side : {"attn_q", "attn_k", "attn_v"}) {
    CHECK(refusal(small_model(side, 32)) == "'m.gguf': the attention of 'blk.0.' takes or gives rows of 32, expected llama.embedding_length, 16");
  }
  const auto also = [](const std::string& name, const std::vector<std::uint64_t>& shape) {
    Builder builder = small_model();
    Random random(1);
    builder.floats(name, shape, random);
    return refusal(builder);
  };
  CHECK(also("output.weight", {10, 16}) == "accepted");
  CHECK(also("output.weight", {11, 16}) == "'m.gguf': tensor 'output.weight': shape (11, 16), expected (10, 16)");
  CHECK(also("blk.0.ffn_up.bias", {32}) == "'m.gguf': tensor 'blk.0.ffn_up.bias': a model of llama's architecture and 1 blocks has none of that name");
  CHECK(also("blk.1.ffn_up.weight", {32, 16}) == "'m.gguf': tensor 'blk.1.ffn_up.weight': a model of llama's architecture and 1 blocks has none of that name");
  CHECK(also("blk.0.attn_q.bias", {16}) == "accepted");
  CHECK(also("blk.0.attn_x.weight", {16}).find("attn_x") != std::string::npos);
  CHECK(also("blk.1.attn_q.weight", {16, 16}) == "'m.gguf': tensor 'blk.1.attn_q.weight': a model of llama's architecture and 1 blocks has none of that name");
  CHECK(also("blk.00.ffn_up.weight", {32, 16}) == "'m.gguf': tensor 'blk.00.ffn_up.weight': a model of llama's architecture and 1 blocks has none of that name");
  CHECK(also("blk.0.ffn_up", {32, 16}) == "'m.gguf': tensor 'blk.0.ffn_up': a model of llama's architecture and 1 blocks has none of that name");
}

TEST_CASE("token choice: the likeliest, or drawn by probability among the likely") {
  const float infinite = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores = {0.0f, std::log(4.0f), std::log(2.0f), std::log(3.0f)};
  CHECK(tool::likeliest(scores.data(), 4) == 1);
  CHECK(tool::likeliest(std::vector<float>{1.0f, 2.0f, 2.0f}.data(), 3) == 1);
  const auto drawn = [&](const tool::ChoiceOptions& options) {
    std::vector<double> shares(4);
    tool::TokenChoice choice(options);
    for (int n = 0; n < 20000; ++n) shares[static_cast<std::size_t>(choice.choose(scores.data(), 4))] += 1.0 / 20000;
    return shares;
  };
  const auto check = [&](const tool::ChoiceOptions& options, const std::vector<double>& expected) {
    const std::vector<double> shares = drawn(options);
    for (std::size_t n = 0; n < 4; ++n) CHECK(std::fabs(shares[n] - expected[n]) < (expected[n] == 0.0 || expected[n] == 1.0 ? 1e-9 : 0.015));
  };
  check({0.0, 0, 1.0, 1}, {0.0, 1.0, 0.0, 0.0});
  check({1.0, 0, 1.0, 1}, {0.1, 0.4, 0.2, 0.3});
  check({0.5, 0, 1.0, 1}, {1.0 / 30, 16.0 / 30, 4.0 / 30, 9.0 / 30});
  check({1.0, 2, 1.0, 1}, {0.0, 4.0 / 7, 0.0, 3.0 / 7});
  check({1.0, 1, 1.0, 1}, {0.0, 1.0, 0.0, 0.0});
  check({1.0, 9, 0.5, 1}, {0.0, 4.0 / 7, 0.0, 3.0 / 7});
  check({1.0, 0, 0.0, 1}, {0.0, 1.0, 0.0, 0.0});
  check({1e-300, 0, 1.0, 1}, {0.0, 1.0, 0.0, 0.0});
  CHECK(drawn({1.0, 0, 1.0, 5}) == drawn({1.0, 0, 1.0, 5}));
  CHECK(drawn({1.0, 0, 1.0, 5}) != drawn({1.0, 0, 1.0, 6}));
  for (const std::vector<float>& odd : {std::vector<float>{nan, nan}, {nan, 1.0f}, {infinite, -infinite}, {-infinite, -infinite}, {nan, infinite}}) {
    tool::TokenChoice choice({1.0, 0, 0.9, 1});
    const std::int32_t id = choice.choose(odd.data(), 2);
    CHECK(id >= 0);
    CHECK(id < 2);
  }
}

TEST_CASE("prompt look-up: what followed the last tokens before") {
  CHECK(tool::look_up({1, 2, 3, 4, 1, 2, 3}, 2) == Ids{4, 1});
  CHECK(tool::look_up({1, 2, 3, 4, 1, 2, 3}, 9) == Ids{4, 1, 2, 3});
  CHECK(tool::look_up({7, 3, 5, 2, 3, 6, 9, 3, 2, 3}, 1) == Ids{6});     // two tokens before one
  CHECK(tool::look_up({3, 5, 3, 6, 3}, 1) == Ids{6});                    // where they came last
  CHECK(tool::look_up({5, 5, 5}, 3) == Ids{5});
  CHECK(tool::look_up({1, 2, 3}, 3).empty());
  CHECK(tool::look_up({1}, 3).empty());
  CHECK(tool::look_up({1, 2, 1}, 0).empty());
}

TEST_CASE("chat prompt: ChatML, with what the template has the system say") {
  const std::string answer = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
  CHECK(tool::chat_prompt(golden_file(), "", "Hi") == "<|im_start|>system\nYou answer.<|im_end|>\n" + answer);
  CHECK(tool::chat_prompt(golden_file(), "Be kind.", "Hi") == "<|im_start|>system\nBe kind.<|im_end|>\n" + answer);
  const auto of = [](const std::string& chat) {
    Builder builder = small_model();
    if (!chat.empty()) builder.word("tokenizer.chat_template", chat);
    io::GgufFile file;
    REQUIRE_OK(io::GgufFile::parse(builder.bytes(), "m.gguf", &file));
    try {
      return tool::chat_prompt(file, "", "Hi");
    } catch (const tool::Failure& failure) {
      return std::string(failure.what());
    }
  };
  CHECK(of("{{'<|im_start|>' + message['role']}}") == answer);
  CHECK(of("{{'<|im_start|>system\\n' + text + '<|im_end|>'}}") == answer);
  CHECK(of("{{'<|im_start|>system\\nBe brief.<|im_end|>'}}") == "<|im_start|>system\nBe brief.<|im_end|>\n" + answer);
  CHECK(of("[INST]") == "'m.gguf': tokenizer.chat_template is not ChatML; --chat takes models whose messages begin with <|im_start|>");
  CHECK(of("") == "'m.gguf': tokenizer.chat_template is missing; --chat takes models whose messages begin with <|im_start|>");
}
