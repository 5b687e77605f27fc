// The example that this library began with: D2L's MultiHeadAttention on queries and keys of ones.
#include "seed_example.h"

#include <cmath>
#include <cstdint>
#include <cstdio>

#include "failure.h"
#include "reference/reference.h"
#include "timing.h"

namespace attend::tool {
namespace {

constexpr std::int64_t batch = 2, query_count = 4, key_count = 6, hiddens = 100, heads = 5;
const std::int64_t valid_lens[batch] = {3, 2};

/// Numbers uniform in +-largest, the same on every machine (Knuth's linear congruential generator).
std::vector<float> random_numbers(std::int64_t count, float largest, std::uint64_t seed) {
  std::vector<float> numbers(static_cast<std::size_t>(count));
  for (float& number : numbers) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    number = largest * (static_cast<float>(seed >> 40) * (2.0f / 16777216.0f) - 1.0f);
  }
  return numbers;
}

struct Inputs {
  const char* name;
  reference::Data data;
  std::vector<float> queries, keys;
};

struct Answer {
  std::vector<float> output = std::vector<float>(batch * query_count * hiddens);
  std::vector<float> weights = std::vector<float>(batch * heads * query_count * key_count);
};

class Example {
 public:
  Example() {
    const float largest = std::sqrt(6.0f / (hiddens + hiddens));
    for (std::uint64_t i = 0; i < 4; ++i) projections_.push_back(random_numbers(hiddens * hiddens, largest, i + 1));
    const auto view = [&](std::size_t i) { return ConstTensorView(projections_[i].data(), hiddens, hiddens); };
    weights_.query = view(0);
    weights_.key = view(1);
    weights_.value = view(2);
    weights_.output = view(3);
  }

  /// Computes it, and gives the microseconds of the fastest run.
  double compute(const Inputs& inputs, Isa isa, const Threads& threads, Answer* answer) const {
    MultiHeadAttentionConfig config;
    config.key_size = config.query_size = config.value_size = config.num_hiddens = hiddens;
    config.num_heads = heads;
    config.dropout = 0.5f;
    config.isa = isa;
    MultiHeadAttention attention;
    require(MultiHeadAttention::make(config, weights_, &attention));
    Workspace workspace;
    AttentionOptions options;
    options.threads = threads;
    const ConstTensorView keys = keys_of(inputs);
    const auto forward = [&] {
      require(attention.forward(queries_of(inputs), keys, keys, lengths(),
                                TensorView(answer->output.data(), batch, query_count, hiddens), workspace, options));
    };
    const double microseconds = fastest_microseconds(forward);
    options.attention_weights = TensorView(answer->weights.data(), batch, heads, query_count, key_count);
    forward();
    return microseconds;
  }

  /// Prints how the answer compares with the reference; false if it does not agree.
  bool verify(const Inputs& inputs, const Answer& answer) const {
    reference::AttentionOptions options;
    options.valid_lens = lengths();
    const reference::Array queries = queries_of(inputs), keys = keys_of(inputs);
    const auto expected = reference::multi_head_attention(weights_, heads, queries, keys, keys, options);
    const auto bounds =
        reference::multi_head_attention_bounds(weights_, heads, queries, keys, keys, options, expected, inputs.data);
    const auto output = reference::compare(ConstTensorView(answer.output.data(), batch, query_count, hiddens),
                                           expected.output, bounds.output);
    const auto weights =
        reference::compare(ConstTensorView(answer.weights.data(), batch, heads, query_count, key_count),
                           expected.attention.weights, bounds.weights);
    if (output.ok && weights.ok) {
      std::printf("%s: ok, off by at most %.1e   ", inputs.name, output.worst_error);
    } else {
      std::printf("%s: FAILED, %s   ", inputs.name, (output.ok ? weights : output).message.c_str());
    }
    return output.ok && weights.ok;
  }

 private:
  static ConstTensorView queries_of(const Inputs& inputs) {
    return ConstTensorView(inputs.queries.data(), batch, query_count, hiddens);
  }
  static ConstTensorView keys_of(const Inputs& inputs) {
    return ConstTensorView(inputs.keys.data(), batch, key_count, hiddens);
  }
  static LengthsView lengths() { return LengthsView(valid_lens, batch); }
  std::vector<std::vector<float>> projections_;
  MultiHeadAttentionWeights weights_;
};

void print_output(const char* what, const Answer& answer) {
  std::printf("  %-14s -> output (%d, %d, %d), begins", what, static_cast<int>(batch),
              static_cast<int>(query_count), static_cast<int>(hiddens));
  for (std::size_t i = 0; i < 4; ++i) std::printf(" %.4f", static_cast<double>(answer.output[i]));
  std::printf(" ...\n");
}

void print_weights(const Answer& answer) {
  for (std::int64_t entry = 0; entry < batch; ++entry) {
    std::printf("  batch entry %d: the first %d keys are valid\n", static_cast<int>(entry),
                static_cast<int>(valid_lens[entry]));
    for (std::int64_t query = 0; query < query_count; ++query) {
      std::printf("    query %d ", static_cast<int>(query));
      const float* row = answer.weights.data() + (entry * heads * query_count + query) * key_count;
      for (std::int64_t key = 0; key < key_count; ++key) std::printf("  %.3f", static_cast<double>(row[key]));
      std::printf("\n");
    }
  }
}

}  // namespace

bool show_seed_example(const std::vector<Isa>& isas, const Threads& threads) {
  std::printf("1. The example of the book Dive into Deep Learning\n\n"
              "  MultiHeadAttention, %d hiddens, %d heads, random weights, dropout 0.5 (not training)\n"
              "  queries (2, 4, 100), keys = values (2, 6, 100), valid_lens [3, 2]\n\n",
              static_cast<int>(hiddens), static_cast<int>(heads));
  const std::int64_t queries = batch * query_count * hiddens, keys = batch * key_count * hiddens;
  const Inputs ones = {"all ones", reference::Data::structured,
                       std::vector<float>(static_cast<std::size_t>(queries), 1.0f),
                       std::vector<float>(static_cast<std::size_t>(keys), 1.0f)};
  const Inputs random = {"random numbers", reference::Data::random, random_numbers(queries, 1.0f, 11),
                         random_numbers(keys, 1.0f, 12)};
  const Example example;
  Answer answer;
  example.compute(ones, isas.front(), threads, &answer);
  print_output(ones.name, answer);
  example.compute(random, isas.front(), threads, &answer);
  print_output(random.name, answer);
  std::printf("\n  attention weights of head 0, random numbers; a column for each key\n");
  print_weights(answer);

  std::printf("\n  compared with plain loops in double precision\n");
  bool agree = true;
  for (const Isa isa : isas) {
    std::printf("    %-8s", isa_name(isa));
    double microseconds = 0.0;
    for (const Inputs* inputs : {&ones, &random}) {
      microseconds = example.compute(*inputs, isa, threads, &answer);
      agree = example.verify(*inputs, answer) && agree;
    }
    std::printf("%.1f us\n", microseconds);
    std::fflush(stdout);
  }
  return agree;
}

}  // namespace attend::tool
