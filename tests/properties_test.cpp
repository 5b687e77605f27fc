// Tests of what must hold whatever the numbers are: no oracle, but witnesses, invariants, equal bits, poison.

#include "engine_test.h"
#include "flush_denormals.h"
#include "kernels/kernels.h"

#include <algorithm>
#include <numeric>

#include <sys/mman.h>
#include <unistd.h>

using namespace engine_test;
using reference::Array;
using reference::Data;

namespace {

DotProductAttention make_dot_product(Isa isa) {
  DotProductAttention attention;
  REQUIRE_OK(DotProductAttention::make(0.0f, &attention, isa));
  return attention;
}

/// The arguments of one call, with random numbers.
struct Arguments {
  Tensor queries, keys, values;
  Lengths lengths;
  Arguments(std::int64_t B, std::int64_t L, std::int64_t S, std::int64_t D, std::int64_t Dv, Random& random)
      : queries({B, L, D}), keys({B, S, D}), values({B, S, Dv}) {
    queries.fill(random, 2.0f);
    keys.fill(random);
    values.fill(random);
  }
  std::int64_t batch() const { return queries.view.sizes[0]; }
  std::int64_t rows() const { return queries.view.sizes[1]; }
  std::int64_t key_count() const { return keys.view.sizes[1]; }
};

/// One of the two engines, so that a property is stated once.
class Engine {
 public:
  Engine(Isa isa, std::int64_t Dv) : dot_product_(make_dot_product(isa)), width_(Dv) {}
  explicit Engine(Layer layer) : layer_(new Layer(std::move(layer))), width_(layer_->config.num_hiddens) {}
  ~Engine() { delete layer_; }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Status forward(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values,
                 const LengthsView& lengths, const TensorView& output, Workspace& workspace,
                 const AttentionOptions& options = {}) const {
    if (layer_) return layer_->attention.forward(queries, keys, values, lengths, output, workspace, options);
    return dot_product_.forward(queries, keys, values, lengths, output, workspace, options);
  }
  Tensor run(const Arguments& arguments, const AttentionOptions& options = {}) const {
    Tensor output = output_for(arguments);
    Workspace workspace;
    REQUIRE_OK(forward(arguments.queries.view, arguments.keys.view, arguments.values.view, arguments.lengths.view, output.view,
                       workspace, options));
    return output;
  }
  Tensor output_for(const Arguments& arguments) const { return Tensor({arguments.batch(), arguments.rows(), width_}); }
  Tensor weights_for(const Arguments& arguments) const {
    if (!layer_) return Tensor({arguments.batch(), arguments.rows(), arguments.key_count()});
    return Tensor({arguments.batch(), layer_->config.num_heads, arguments.rows(), arguments.key_count()});
  }
  /// Else empty rows are uniform.
  bool has_choice_of_empty_rows() const { return layer_ != nullptr; }

 private:
  DotProductAttention dot_product_;
  Layer* layer_ = nullptr;
  std::int64_t width_;
};

/// Calls `check(engine, D, Dv)` for the core alone and for layers, of several head widths; of two in emulators.
template <class Check>
void for_each_engine(Isa isa, Check check) {
  const std::int64_t widths[] = {64, 7, 100, 160};
  for (int n = 0; n < std::max(2, share_of(4)); ++n) {
    const std::int64_t D = widths[n];
    CAPTURE(D);
    const Engine core(isa, D == 7 ? 33 : D);
    check(core, D, D == 7 ? 33 : D);
    Random random(41);
    const Engine layer(Layer(Layer::square(2 * D, 2, isa, true), random));
    check(layer, 2 * D, 2 * D);
  }
}

ConstTensorView entry_of(const ConstTensorView& view, std::int64_t b) {
  ConstTensorView entry = view;
  entry.data += b * view.strides[0];
  entry.sizes[0] = 1;
  return entry;
}

LengthsView entry_of(const LengthsView& view, std::int64_t b) {
  if (view.absent()) return view;
  LengthsView entry = view;
  entry.data += b * view.strides[0];
  entry.sizes[0] = 1;
  return entry;
}

Tensor copy_of(const Tensor& tensor) {
  Tensor copy(tensor.shape());
  copy.copy(tensor);
  return copy;
}

/// Whether one row of (B, L, E) has the same bits in both.
bool same_row(const Tensor& a, const Tensor& b, std::int64_t row) {
  const std::int64_t E = a.view.sizes[2];
  for (std::int64_t e = row * E; e < (row + 1) * E; ++e) {
    const float x = a[e], y = b[e];
    if (std::memcmp(&x, &y, sizeof x) != 0) return false;
  }
  return true;
}

}  // namespace

// Witnesses: a key with a logit far above all others is the answer, so a dropped or misplaced key shows.

TEST_CASE("witness: the key with a logit of +40 is the row, every key in turn") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const DotProductAttention attention = make_dot_product(isa);
    Random random(42);
    Workspace workspace;
    for (std::int64_t D : {1, 3, 16}) {
      for (std::int64_t L : {1, 37}) {
        const std::int64_t S = 300, Dv = 5;
        Arguments arguments(1, L, S, D, Dv, random);
        arguments.keys.fill(0.0f);
        arguments.queries.fill(1.0f);
        Tensor output({1, L, Dv});
        for (std::int64_t j = 0; j < S; ++j) {
          arguments.keys.at(0, j, D - 1) = static_cast<float>(40.0 * std::sqrt(static_cast<double>(D)));
          REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, output.view, workspace));
          arguments.keys.at(0, j, D - 1) = 0.0f;
          double worst = 0.0;
          for (std::int64_t n = 0; n < output.count(); ++n) {
            const double error = std::abs(static_cast<double>(output[n]) - static_cast<double>(arguments.values.at(0, j, n % Dv)));
            if (!(error <= worst)) worst = error;
          }
          CAPTURE(text_of({D, L, j}));
          REQUIRE(worst <= 8 * u);
        }
      }
    }
  }
}

TEST_CASE("witness: each row of a layer finds its own key, wherever all scores lie") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(43);
    const std::int64_t widths[] = {100, 64, 192};
    for (int n = 0; n < share_of(3); ++n) {
      const std::int64_t D = widths[n], H = 2, E = H * D, S = 300, L = S;
      const Layer layer = Layer::identity(E, H, isa);
      Tensor queries({1, L, E}), keys({1, S, E}), values({1, S, E}), output({1, L, E});
      values.fill(random);
      // Keys are random signs, and query i is a multiple of one of them, another in each head; the last
      // column shifts all scores of a head.
      std::vector<std::vector<std::int64_t>> order(static_cast<std::size_t>(H));
      for (std::int64_t h = 0; h < H; ++h) {
        std::vector<std::int64_t>& found = order[static_cast<std::size_t>(h)];
        found.resize(static_cast<std::size_t>(L));
        std::iota(found.begin(), found.end(), 0);
        for (std::size_t i = found.size() - 1; i > 0; --i) std::swap(found[i], found[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(i)))]);
        for (std::int64_t j = 0; j < S; ++j) {
          for (std::int64_t d = 0; d < D - 1; ++d) keys.at(0, j, h * D + d) = random.one_in(2) ? 1.0f : -1.0f;
        }
        double gap = static_cast<double>(D);  // between the product with itself and any other
        for (std::int64_t i = 0; i < S; ++i) {
          for (std::int64_t j = 0; j < i; ++j) {
            double product = 0.0;
            for (std::int64_t d = 0; d < D - 1; ++d) product += keys.at(0, i, h * D + d) * keys.at(0, j, h * D + d);
            gap = std::min(gap, static_cast<double>(D - 1) - product);
          }
        }
        const float factor = static_cast<float>(40.0 * std::sqrt(static_cast<double>(D)) / gap);
        for (std::int64_t i = 0; i < L; ++i) {
          for (std::int64_t d = 0; d < D - 1; ++d) {
            queries.at(0, i, h * D + d) = factor * keys.at(0, found[static_cast<std::size_t>(i)], h * D + d);
          }
          queries.at(0, i, h * D + D - 1) = 1.0f;
        }
      }
      for (double shift : {0.0, 1000.0, -1000.0, 1e5, -1e5}) {
        CAPTURE(D);
        CAPTURE(shift);
        for (std::int64_t n = D - 1; n < keys.count(); n += D) keys[n] = static_cast<float>(shift * std::sqrt(static_cast<double>(D)));
        output.fill(not_a_number);
        REQUIRE_OK(layer.forward(queries, keys, values, {}, output));
        std::int64_t wrong = 0;
        for (std::int64_t n = 0; n < output.count(); ++n) {
          const std::int64_t i = n / E, h = n % E / D;
          const std::int64_t j = order[static_cast<std::size_t>(h)][static_cast<std::size_t>(i)];
          const double error = std::abs(static_cast<double>(output[n]) - static_cast<double>(values.at(0, j, n % E)));
          wrong += !(error <= 8 * u);
        }
        CHECK(wrong == 0);
      }
    }
  }
}

// Invariants.

TEST_CASE("invariant: values that are all 1 give 1") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(44);
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    for (int round = 0; round < share_of(60); ++round) {
      const std::int64_t L = random.between(1, 40), S = random.between(1, 400), D = random.between(1, 130), Dv = random.between(1, 40);
      Arguments arguments(2, L, S, D, Dv, random);
      arguments.queries.fill(random, random.one_of({1.0f, 20.0f}));
      arguments.values.fill(1.0f);
      const Lengths lengths = Lengths::random(random, 2, L, S);
      Tensor output({2, L, Dv});
      REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, lengths.view, output.view, workspace));
      CAPTURE(text_of({L, S, D, Dv}));
      CHECK_CLOSE(output.view, Array::filled({2, L, Dv}, 1.0), reference::core_bound(1.0, 0.0, D, S, Data::structured));
    }
  }
}

TEST_CASE("invariant: attention weights are at least 0, sum to 1, and give the output") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(45);
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    for (int round = 0; round < share_of(60); ++round) {
      const std::int64_t L = random.between(1, 40), S = random.between(1, 400), D = random.between(1, 80), Dv = random.between(1, 40);
      Arguments arguments(2, L, S, D, Dv, random);
      arguments.queries.fill(random, random.one_of({2.0f, 20.0f, 200.0f}));  // softmax sharpens, scores round more coarsely
      const Lengths lengths = Lengths::random(random, 2, L, S);
      Tensor output({2, L, Dv}), weights({2, L, S});
      AttentionOptions options;
      options.attention_weights = weights.view;
      REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, lengths.view, output.view, workspace, options));
      CAPTURE(text_of({L, S, D, Dv}));
      for (std::int64_t row = 0; row < 2 * L; ++row) {
        double sum = 0.0, least = 0.0;
        for (std::int64_t j = 0; j < S; ++j) {
          sum += weights[row * S + j];
          least = std::min(least, static_cast<double>(weights[row * S + j]));
        }
        CHECK(least == 0.0);
        CHECK(std::abs(sum - 1.0) <= reference::core_bound(1.0, 0.0, D, S, Data::structured));
      }
      Array bounds = reference::dot_product_attention_bounds(arguments.queries.view, arguments.keys.view, arguments.values.view, lengths.view, {}, Data::random).output;
      for (double& bound : bounds.values) bound *= 2.0;  // each is within one of the truth
      CHECK_CLOSE(output.view, reference::matmul(weights.view, arguments.values.view), bounds);
    }
  }
}

TEST_CASE("invariant: the order of the keys does not matter") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(46);
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    for (int round = 0; round < share_of(30); ++round) {
      const std::int64_t L = random.between(1, 40), S = random.between(2, 300), D = random.between(1, 80), Dv = random.between(1, 40);
      Arguments arguments(1, L, S, D, Dv, random), permuted(1, L, S, D, Dv, random);
      permuted.queries.copy(arguments.queries);
      std::vector<std::int64_t> order(static_cast<std::size_t>(S));
      std::iota(order.begin(), order.end(), 0);
      for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(i)))]);
      for (std::int64_t j = 0; j < S; ++j) {
        const std::int64_t from = order[static_cast<std::size_t>(j)];
        for (std::int64_t d = 0; d < D; ++d) permuted.keys.at(0, j, d) = arguments.keys.at(0, from, d);
        for (std::int64_t d = 0; d < Dv; ++d) permuted.values.at(0, j, d) = arguments.values.at(0, from, d);
      }
      Tensor first({1, L, Dv}), second({1, L, Dv});
      REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, first.view, workspace));
      REQUIRE_OK(attention.forward(permuted.queries.view, permuted.keys.view, permuted.values.view, {}, second.view, workspace));
      Array bounds = reference::dot_product_attention_bounds(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, {}, Data::random).output;
      for (double& bound : bounds.values) bound *= 2.0;  // each is within one of the truth
      CAPTURE(text_of({L, S, D, Dv}));
      CHECK_CLOSE(second.view, first.array(), bounds);
    }
  }
}

TEST_CASE("shifted logits: a constant added to all scores of a row") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(47);
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    for (double shift : {1000.0, -1000.0, 1e5, -1e5}) {
      for (std::int64_t L : {1, 5, 37}) {
        CAPTURE(shift);
        CAPTURE(L);
        const std::int64_t S = 300, D = 4, Dv = 3;
        Arguments arguments(1, L, S, D, Dv, random);
        for (std::int64_t i = 0; i < L; ++i) arguments.queries.at(0, i, 0) = i % 3 == 0 ? 1.0f : i % 3 == 1 ? -1.0f : 0.0f;
        for (std::int64_t j = 0; j < S; ++j) arguments.keys.at(0, j, 0) = static_cast<float>(2.0 * shift);  // times 1 / sqrt(D)
        Tensor output({1, L, Dv}), weights({1, L, S});
        AttentionOptions options;
        options.attention_weights = weights.view;
        REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, output.view, workspace, options));
        const Array q(arguments.queries.view), k(arguments.keys.view), v(arguments.values.view);
        const reference::DotProductAttentionResult expected = reference::dot_product_attention(q, k, v);
        const reference::DotProductAttentionBounds bounds = reference::dot_product_attention_bounds(q, k, v, {}, {}, Data::structured);
        CHECK_CLOSE(output.view, expected.output, bounds.output);
        CHECK_CLOSE(weights.view, expected.weights, bounds.weights);
      }
    }
  }
}

TEST_CASE("huge scores: rows stay finite, and the largest score takes its row") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    // At 1e18 float32 scores are off by more than they differ from one another near the top, so what can be
    // asked of every row is a mean of values; at the scores' float64 gap, the value itself.
    for (float amplitude : {1e2f, 3e3f, 1e4f, 3e4f, 1e8f, 1e18f}) {
      CAPTURE(amplitude);
      Random random(53);
      const std::int64_t L = 37, S = 300, D = 64, Dv = 3;
      Arguments arguments(1, L, S, D, Dv, random);
      arguments.queries.fill(random, amplitude);
      arguments.keys.fill(random, amplitude);
      Tensor output({1, L, Dv}), weights({1, L, S});
      AttentionOptions options;
      options.attention_weights = weights.view;
      REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, output.view, workspace, options));
      for (std::int64_t i = 0; i < L; ++i) {
        // The weights asked for are those behind the output.
        double sum = 0.0, mean[Dv] = {};
        for (std::int64_t j = 0; j < S; ++j) {
          const double weight = static_cast<double>(weights.at(0, i, j));
          REQUIRE(weight >= 0.0);
          sum += weight;
          for (std::int64_t c = 0; c < Dv; ++c) mean[c] += weight * static_cast<double>(arguments.values.at(0, j, c));
        }
        CHECK(std::fabs(sum - 1.0) <= 1e-5);
        for (std::int64_t c = 0; c < Dv; ++c) CHECK(std::fabs(mean[c] - static_cast<double>(output.at(0, i, c))) <= 1e-5);
        double first = -infinite, second = -infinite, largest = 0.0;
        std::int64_t winner = 0;
        for (std::int64_t j = 0; j < S; ++j) {
          double score = 0.0, magnitude = 0.0;
          for (std::int64_t d = 0; d < D; ++d) {
            const double term = static_cast<double>(arguments.queries.at(0, i, d)) * static_cast<double>(arguments.keys.at(0, j, d));
            score += term / 8.0;
            magnitude += std::fabs(term) / 8.0;
          }
          largest = std::max(largest, magnitude);
          if (score > first) winner = j;
          second = score > first ? first : std::max(second, score);
          first = std::max(first, score);
        }
        for (std::int64_t c = 0; c < Dv; ++c) {
          const float got = output.at(0, i, c);
          REQUIRE(std::isfinite(got));
          CHECK(std::fabs(got) <= 4.0f);  // values are drawn from -2 to 2 at the most
          // Clear of every rounding: the row is the value of its largest score.
          if (first - second > 200.0 * u * largest + 40.0) CHECK(std::fabs(got - arguments.values.at(0, winner, c)) <= 1e-5f);
        }
      }
    }
  }
}

TEST_CASE("moving maximum: scores that rise, fall and jump within and across key blocks") {
  const std::int64_t S = 400, L = 37, Dv = 5;
  const std::vector<std::pair<const char*, float (*)(std::int64_t)>> patterns = {
      {"rising by 30 a key", [](std::int64_t j) { return 30.0f * static_cast<float>(j); }},
      {"falling by 30 a key", [](std::int64_t j) { return -30.0f * static_cast<float>(j); }},
      {"rising by 0.3 a key", [](std::int64_t j) { return 0.3f * static_cast<float>(j); }},
      {"a saw", [](std::int64_t j) { return 25.0f * static_cast<float>(j % 7); }},
      {"a saw across blocks", [](std::int64_t j) { return 3.0f * static_cast<float>(j % 150); }},
      {"far below at first", [](std::int64_t j) { return j < 130 ? -1000.0f : 0.01f * static_cast<float>(j % 10); }},
      {"very far below at first", [](std::int64_t j) { return j < 130 ? -1e5f : 0.01f * static_cast<float>(j % 10); }},
      {"far below, then far above", [](std::int64_t j) { return j < 130 ? -1e5f : j < 260 ? 0.5f : 1e5f; }},
      {"far above, then far below", [](std::int64_t j) { return j < 130 ? 1e5f : j < 260 ? 0.5f : -1e5f; }},
      {"all just below the headroom", [](std::int64_t j) { return -16.6f + 0.001f * static_cast<float>(j % 9); }},
      {"all far below", [](std::int64_t j) { return -800.0f + 0.1f * static_cast<float>(j % 9); }},
      {"one spike", [](std::int64_t j) { return j == 199 ? 200.0f : 0.0f; }},
      {"one spike in the last key", [](std::int64_t j) { return j == 399 ? 90.0f : -90.0f; }},
  };
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(48);
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    for (const auto& pattern : patterns) {
      CAPTURE(std::string(pattern.first));
      Arguments arguments(1, L, S, 1, Dv, random);  // D = 1: a score is the product itself
      const std::initializer_list<float> factors = {1.0f, -1.0f, 0.5f, 0.0f, 0.01f};
      for (std::int64_t i = 0; i < L; ++i) arguments.queries[i] = factors.begin()[i % 5];
      for (std::int64_t j = 0; j < S; ++j) arguments.keys[j] = pattern.second(j);
      Tensor output({1, L, Dv}), weights({1, L, S});
      AttentionOptions options;
      options.attention_weights = weights.view;
      REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, output.view, workspace, options));
      const Array q(arguments.queries.view), k(arguments.keys.view), v(arguments.values.view);
      const reference::DotProductAttentionResult expected = reference::dot_product_attention(q, k, v);
      const reference::DotProductAttentionBounds bounds = reference::dot_product_attention_bounds(q, k, v, {}, {}, Data::structured);
      CHECK_CLOSE(output.view, expected.output, bounds.output);
      CHECK_CLOSE(weights.view, expected.weights, bounds.weights);
    }
  }
}

// Equal bits.

TEST_CASE("bits: strided arguments give those of contiguous ones") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(51);
      for (int round = 0; round < share_of(12); ++round) {
        const std::int64_t B = random.between(1, 2), L = random.one_of<std::int64_t>({1, 3, 17, 40});
        const std::int64_t S = random.one_of<std::int64_t>({2, 50, 130, 520});  // from 512 on, strided keys are copied
        CAPTURE(text_of({B, L, S}));
        Arguments arguments(B, L, S, D, Dv, random);
        arguments.lengths = Lengths::random(random, B, L, S);
        Tensor weights = engine.weights_for(arguments);
        AttentionOptions options;
        options.attention_weights = weights.view;
        const Tensor expected = engine.run(arguments, options);

        Tensor queries({B, L, D}, random), keys({B, S, D}, random), values({B, S, Dv}, random);
        Tensor output(expected.shape(), random), strided_weights(weights.shape(), random);
        queries.copy(arguments.queries);
        keys.copy(arguments.keys);
        values.copy(arguments.values);
        options.attention_weights = strided_weights.view;
        Workspace workspace;
        REQUIRE_OK(engine.forward(queries.view, keys.view, values.view, arguments.lengths.view, output.view, workspace, options));
        CHECK_SAME_BITS(output, expected);
        CHECK_SAME_BITS(strided_weights, weights);
      }
    });
  }
}

TEST_CASE("bits: a row stride of whole pages gives those of contiguous arguments") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(52);
    const DotProductAttention attention = make_dot_product(isa);
    const std::int64_t L = 40, S = 70, D = 20;
    Arguments arguments(1, L, S, D, D, random);
    Tensor expected({1, L, D}), output({1, L, D}), wide({1, S, 2048});
    Workspace workspace;
    REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, expected.view, workspace));
    ConstTensorView keys = wide.view, values = wide.view;
    keys.sizes[2] = values.sizes[2] = D;
    values.data += D;
    for (std::int64_t n = 0; n < S * D; ++n) {
      wide.at(0, n / D, n % D) = arguments.keys[n];
      wide.at(0, n / D, D + n % D) = arguments.values[n];
    }
    REQUIRE_OK(attention.forward(arguments.queries.view, keys, values, {}, output.view, workspace));
    CHECK_SAME_BITS(output, expected);
  }
}

TEST_CASE("bits: matmul strided gives those of contiguous, and a row alone those of the row among others") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(53);
    OperationOptions options;
    options.isa = isa;
    Workspace workspace;
    for (int round = 0; round < share_of(40); ++round) {
      const std::int64_t B = random.between(1, 3), L = random.between(1, 40), K = random.between(0, 200), N = random.between(1, 100);
      CAPTURE(text_of({B, L, K, N}));
      Tensor a({B, L, K}), b({K, N}), expected({B, L, N});
      a.fill(random);
      b.fill(random);
      REQUIRE_OK(matmul(a.view, b.view, false, {}, expected.view, workspace, options));
      Tensor strided_a({B, L, K}, random), strided_b({N, K}, random), output({B, L, N}, random);
      strided_a.copy(a);
      for (std::int64_t k = 0; k < K; ++k) {
        for (std::int64_t n = 0; n < N; ++n) strided_b.at(n, k) = b.at(k, n);
      }
      REQUIRE_OK(matmul(strided_a.view, strided_b.view, true, {}, output.view, workspace, options));
      CHECK_SAME_BITS(output, expected);
      Tensor row({1, N});
      const std::int64_t at = random.between(0, B * L - 1);
      REQUIRE_OK(matmul(ConstTensorView(a.view.data + at * K, 1, K), b.view, false, {}, row.view, workspace, options));
      for (std::int64_t n = 0; n < N; ++n) REQUIRE(row[n] == expected[at * N + n]);
    }
  }
}

TEST_CASE("bits: a batch gives those of its entries one by one") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(54);
      for (int round = 0; round < share_of(6); ++round) {
        const std::int64_t B = 4, L = random.one_of<std::int64_t>({1, 6, 33}), S = random.one_of<std::int64_t>({5, 140});
        CAPTURE(text_of({B, L, S}));
        Arguments arguments(B, L, S, D, Dv, random);
        arguments.lengths = Lengths::random(random, B, L, S);
        for (EmptyRows empty_rows : {EmptyRows::zero, EmptyRows::uniform}) {
          if (empty_rows == EmptyRows::uniform && !engine.has_choice_of_empty_rows()) continue;
          AttentionOptions options;
          options.empty_rows = empty_rows;
          const Tensor together = engine.run(arguments, options);
          Tensor one_by_one = engine.output_for(arguments);
          for (std::int64_t b = 0; b < B; ++b) {
            TensorView output = one_by_one.view;
            output.data += b * output.strides[0];
            output.sizes[0] = 1;
            Workspace workspace;
            REQUIRE_OK(engine.forward(entry_of(arguments.queries.view, b), entry_of(arguments.keys.view, b), entry_of(arguments.values.view, b),
                                      entry_of(arguments.lengths.view, b), output, workspace, options));
          }
          CHECK_SAME_BITS(one_by_one, together);
        }
      }
    });
  }
}

TEST_CASE("bits: some rows alone give those of the rows among others, and asking for weights changes none") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(55);
      const std::int64_t L = 37, S = 200;
      for (int round = 2; round >= 3 - share_of(3); --round) {
        CAPTURE(round);
        Arguments arguments(1, L, S, D, Dv, random);
        std::vector<std::int64_t> numbers;
        for (std::int64_t i = 0; i < L; ++i) numbers.push_back(random.between(0, S));
        if (round > 0) arguments.lengths = round == 1 ? Lengths({150}, 1) : Lengths(numbers, 1, L);
        const Tensor together = engine.run(arguments);
        Tensor weights = engine.weights_for(arguments);
        AttentionOptions options;
        options.attention_weights = weights.view;
        CHECK_SAME_BITS(engine.run(arguments, options), together);

        Tensor alone = engine.output_for(arguments);
        const std::int64_t rows = decode_rows + 1;  // fewer would be decoded
        for (std::int64_t i = 0; i < L; i += i + rows < L && i + 2 * rows > L ? L - rows - i : rows) {
          ConstTensorView query = arguments.queries.view;
          TensorView output = alone.view;
          LengthsView lengths = arguments.lengths.view;
          query.data += i * query.strides[1];
          output.data += i * output.strides[1];
          query.sizes[1] = output.sizes[1] = rows;
          if (lengths.rank == 2) {
            lengths.data += i;
            lengths.sizes[1] = rows;
          }
          Workspace workspace;
          REQUIRE_OK(engine.forward(query, arguments.keys.view, arguments.values.view, lengths, output, workspace));
        }
        CHECK_SAME_BITS(alone, together);
      }
    });
  }
}

TEST_CASE("bits: keys beyond the length change none, whether they are there or not") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(56);
      const std::int64_t L = 20, S = 200, shorter = 131;
      Arguments all(1, L, S, D, Dv, random), some(1, L, shorter, D, Dv, random);
      all.lengths = Lengths({shorter}, 1);
      some.queries.copy(all.queries);
      for (std::int64_t n = 0; n < some.keys.count(); ++n) some.keys[n] = all.keys[n];
      for (std::int64_t n = 0; n < some.values.count(); ++n) some.values[n] = all.values[n];
      CHECK_SAME_BITS(engine.run(all), engine.run(some));
    });
  }
}

TEST_CASE("bits: the caller's flushing of denormals changes none, and stays as it was") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(57);
      Arguments arguments(2, 20, 150, D, Dv, random);
      for (std::int64_t n = 0; n < arguments.values.count(); ++n) arguments.values[n] *= 1e-39f;
      for (std::int64_t n = 0; n < arguments.keys.count(); n += 2) arguments.keys[n] *= 1e-39f;
      const Tensor expected = engine.run(arguments);
      Tensor output = engine.output_for(arguments), pooled = engine.output_for(arguments);
      bool still_active = false;
      ThreadPool pool;
      REQUIRE_OK(ThreadPool::make(2, &pool));
      {
        const FlushDenormals flush;
        Workspace workspace;
        REQUIRE_OK(engine.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, output.view, workspace));
        AttentionOptions options;
        options.threads = pool.threads();
        REQUIRE_OK(engine.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, pooled.view, workspace, options));
        still_active = FlushDenormals::active();
      }
      CHECK(still_active);
      CHECK_SAME_BITS(output, expected);
      CHECK_SAME_BITS(pooled, expected);
    });
    // The numbers above are such that flushing would show.
    Random random(58);
    OperationOptions options;
    options.isa = isa;
    Tensor a({4, 3}), b({3, 5}), expected({4, 5}), output({4, 5});
    a.fill(random, 1e-20f);
    b.fill(random, 1e-20f);
    Workspace workspace;
    REQUIRE_OK(matmul(a.view, b.view, false, {}, expected.view, workspace, options));
    CHECK(expected[0] != 0.0f);
    {
      const FlushDenormals flush;
      REQUIRE_OK(matmul(a.view, b.view, false, {}, output.view, workspace, options));
    }
    CHECK_SAME_BITS(output, expected);
  }
}

// Poison.

TEST_CASE("poison: what lies past the lengths of an entry changes no bit") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(61);
      const std::int64_t B = 3, S = 300;
      for (std::int64_t L : {1, 5, 37}) {
        CAPTURE(L);
        Arguments arguments(B, L, S, D, Dv, random);
        arguments.lengths = Lengths({1, 128, 201}, B);
        Tensor weights = engine.weights_for(arguments), clean_weights = engine.weights_for(arguments);
        AttentionOptions options;
        options.attention_weights = clean_weights.view;
        const Tensor clean = engine.run(arguments, options);
        options.attention_weights = weights.view;
        for (float poison : {not_a_number, infinite, -infinite, 3e38f}) {
          CAPTURE(poison);
          for (std::int64_t b = 0; b < B; ++b) {
            for (std::int64_t j = arguments.lengths.values[static_cast<std::size_t>(b)]; j < S; ++j) {
              for (std::int64_t d = 0; d < D; ++d) arguments.keys.at(b, j, d) = poison;
              for (std::int64_t d = 0; d < Dv; ++d) arguments.values.at(b, j, d) = poison;
            }
          }
          CHECK_SAME_BITS(engine.run(arguments, options), clean);
          CHECK_SAME_BITS(weights, clean_weights);
        }
      }
    });
  }
}

TEST_CASE("poison: a key that only some rows see reaches those and no other") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(62);
      const std::int64_t S = 300;
      for (std::int64_t L : {2, 5, 37}) {
        Arguments arguments(1, L, S, D, Dv, random);
        std::vector<std::int64_t> numbers;
        for (std::int64_t i = 0; i < L; ++i) numbers.push_back(i % 5 == 4 ? 0 : random.between(1, S));
        numbers[0] = S;
        arguments.lengths = Lengths(numbers, 1, L);
        Tensor weights = engine.weights_for(arguments), clean_weights = engine.weights_for(arguments);
        AttentionOptions options;
        options.attention_weights = clean_weights.view;
        const Tensor clean = engine.run(arguments, options);
        const std::int64_t heads = weights.count() / (L * S);
        options.attention_weights = weights.view;
        for (int round = 0; round < share_of(40); ++round) {
          const float poison = random.one_of({not_a_number, infinite, -infinite, 3e38f});
          const bool in_keys = random.one_in(2);
          const std::int64_t j = random.one_of<std::int64_t>({0, 1, 127, 128, random.between(2, S - 1), S - 1});
          CAPTURE(L);
          CAPTURE(poison);
          CAPTURE(in_keys);
          CAPTURE(j);
          Tensor& poisoned = in_keys ? arguments.keys : arguments.values;
          const std::int64_t width = in_keys ? D : Dv;
          const Tensor before = copy_of(poisoned);
          for (std::int64_t d = 0; d < width; ++d) poisoned.at(0, j, d) = poison;
          const Tensor output = engine.run(arguments, options);
          poisoned.copy(before);
          std::int64_t leaked = 0, missed = 0;
          for (std::int64_t i = 0; i < L; ++i) {
            const std::int64_t length = numbers[static_cast<std::size_t>(i)];
            // A row of length 0 takes all values alike in DotProductAttention, and none in a layer.
            const bool sees = j < length || (length == 0 && !in_keys && heads == 1);
            if (!sees) leaked += !same_row(output, clean, i);
            if (sees && std::isnan(poison)) missed += !std::isnan(output.at(0, i, 0));
            for (std::int64_t h = 0; h < heads && !sees; ++h) {
              for (std::int64_t key = 0; key < S; ++key) {
                const std::int64_t n = (h * L + i) * S + key;
                leaked += weights[n] != clean_weights[n];
              }
            }
          }
          CHECK(leaked == 0);
          CHECK(missed == 0);
        }
      }
    });
  }
}

TEST_CASE("poison: a value that is not finite stays in its column, in rows that see it and in those that do not") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(63);
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    const std::int64_t L = 37, S = 150, D = 8, Dv = 20;
    for (float poison : {not_a_number, infinite, -infinite}) {
      for (bool cut : {false, true}) {
        CAPTURE(poison);
        CAPTURE(cut);
        Arguments arguments(1, L, S, D, Dv, random);
        std::vector<std::int64_t> numbers;
        for (std::int64_t i = 0; i < L; ++i) numbers.push_back(cut ? random.between(1, S) : S);
        arguments.lengths = Lengths(numbers, 1, L);
        Tensor clean({1, L, Dv}), output({1, L, Dv});
        REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, arguments.lengths.view, clean.view, workspace));
        arguments.values.at(0, 70, 13) = poison;
        REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, arguments.lengths.view, output.view, workspace));
        for (std::int64_t i = 0; i < L; ++i) {
          if (numbers[static_cast<std::size_t>(i)] <= 70) continue;
          const float found = output.at(0, i, 13);
          const bool arrived = std::isnan(poison) ? std::isnan(found) : found == poison;
          CHECK(arrived);
          clean.at(0, i, 13) = found;
        }
        CHECK_SAME_BITS(output, clean);
      }
    }
  }
}

TEST_CASE("poison: NaN in a query reaches its own row alone") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(64);
      const std::int64_t B = 2, L = 37, S = 150;
      Arguments arguments(B, L, S, D, Dv, random);
      arguments.lengths = Lengths({S, 99}, B);
      const Tensor clean = engine.run(arguments);
      for (std::int64_t row : {0, 20, 36, 50}) {
        CAPTURE(row);
        const float before = arguments.queries[row * D + D - 1];
        arguments.queries[row * D + D - 1] = not_a_number;
        const Tensor output = engine.run(arguments);
        arguments.queries[row * D + D - 1] = before;
        for (std::int64_t i = 0; i < B * L; ++i) {
          if (i != row) CHECK(same_row(output, clean, i));
        }
        CHECK(std::isnan(output[row * output.view.sizes[2]]));
      }
    });
  }
}

TEST_CASE("poison: infinite scores, as the reference has them") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(65);
    const DotProductAttention attention = make_dot_product(isa);
    Workspace workspace;
    const std::int64_t L = 20, S = 140, Dv = 3;
    for (int where : {0, 1, 130, 139, -1}) {
      CAPTURE(where);
      Arguments arguments(1, L, S, 1, Dv, random);
      for (std::int64_t i = 0; i < L; ++i) arguments.queries[i] = i % 2 == 0 ? 1.0f : -1.0f;  // +inf and -inf
      for (std::int64_t j = 0; j < S; ++j) {
        if (where == j || where < 0) arguments.keys[j] = infinite;
      }
      Tensor output({1, L, Dv}), weights({1, L, S});
      AttentionOptions options;
      options.attention_weights = weights.view;
      REQUIRE_OK(attention.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, {}, output.view, workspace, options));
      const Array q(arguments.queries.view), k(arguments.keys.view), v(arguments.values.view);
      const reference::DotProductAttentionResult expected = reference::dot_product_attention(q, k, v);
      const reference::DotProductAttentionBounds bounds = reference::dot_product_attention_bounds(q, k, v, {}, {}, Data::random);
      CHECK_CLOSE(output.view, expected.output, bounds.output);
      for (std::int64_t i = 0; i < L; ++i) {
        for (std::int64_t j = 0; j < S; ++j) {
          const double weight = static_cast<double>(weights.at(0, i, j));
          if (i % 2 == 0 || where < 0) CHECK(std::isnan(weight));
          else CHECK(std::fabs(weight - expected.weights.at(0, i, j)) <= bounds.weights.at(0, i, j));
        }
      }
    }
  }
}

namespace {

/// Random rows (2, S, width): the first `visible` of entry 0 end where its first page ends, and entry 1
/// starts as many pages later as each entry has.
class MappedRows {
 public:
  static constexpr std::int64_t pages = 4;
  ConstTensorView view;

  static std::int64_t page_floats() { return sysconf(_SC_PAGESIZE) / static_cast<std::int64_t>(sizeof(float)); }

  MappedRows(std::int64_t visible, std::int64_t S, std::int64_t width, Random& random) {
    void* mapped = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(mapped != MAP_FAILED);
    memory_ = static_cast<float*>(mapped);
    for (std::int64_t n = 0; n < 2 * pages * page_floats(); ++n) memory_[n] = random.number();
    view = ConstTensorView(memory_ + page_floats() - visible * width, 2, S, width);
    view.strides[0] = pages * page_floats();
  }
  ~MappedRows() { munmap(memory_, bytes()); }
  MappedRows(const MappedRows&) = delete;
  MappedRows& operator=(const MappedRows&) = delete;

  /// From now on reading pages [from, to) faults.
  void close(std::int64_t from, std::int64_t to) {
    const std::size_t page = static_cast<std::size_t>(page_floats()) * sizeof(float);
    REQUIRE(mprotect(memory_ + from * page_floats(), static_cast<std::size_t>(to - from) * page, PROT_NONE) == 0);
  }

 private:
  static std::size_t bytes() { return static_cast<std::size_t>(2 * pages * page_floats()) * sizeof(float); }
  float* memory_;
};

}  // namespace

TEST_CASE("poison: rows past the lengths are never read") {
  const std::int64_t width = 16, rows_in_page = MappedRows::page_floats() / width, pages = MappedRows::pages, B = 2, L = 5;
  const std::int64_t short_length = 10, long_length = short_length + rows_in_page, S = 2 * rows_in_page + 40;

  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(66);
    const Engine core(isa, width);
    const Engine layer(Layer(Layer::square(width, 2, isa, true), random));
    for (const Engine* engine : {&core, &layer}) {
      for (bool by_query : {false, true}) {
        MappedRows keys(short_length, S, width, random), values(short_length, S, width, random);
        Tensor queries({B, L, width}), expected({B, L, width}), output({B, L, width});
        queries.fill(random);
        const Lengths lengths = by_query ? Lengths({1, 2, short_length, 4, 5, 1, 2, long_length, 4, 5}, B, L) : Lengths({short_length, long_length}, B);
        Workspace workspace;
        REQUIRE_OK(engine->forward(queries.view, keys.view, values.view, lengths.view, expected.view, workspace));
        for (MappedRows* mapped : {&keys, &values}) {
          mapped->close(1, pages);
          mapped->close(pages + 2, 2 * pages);
        }
        REQUIRE_OK(engine->forward(queries.view, keys.view, values.view, lengths.view, output.view, workspace));
        CHECK_SAME_BITS(output, expected);
      }
    }
  }
}

TEST_CASE("poison: a workspace full of NaN gives the same bits") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    for_each_engine(isa, [](const Engine& engine, std::int64_t D, std::int64_t Dv) {
      Random random(67);
      std::vector<unsigned char> memory(4u << 20);
      for (int round = 0; round < share_of(10); ++round) {
        const std::int64_t B = random.between(1, 2), L = random.one_of<std::int64_t>({1, 4, 17, 40}), S = random.one_of<std::int64_t>({1, 30, 129, 250});
        CAPTURE(text_of({B, L, S}));
        Arguments arguments(B, L, S, D, Dv, random);
        arguments.lengths = Lengths::random(random, B, L, S);
        Tensor weights = engine.weights_for(arguments), clean_weights = engine.weights_for(arguments);
        AttentionOptions options;
        options.attention_weights = clean_weights.view;
        const Tensor clean = engine.run(arguments, options);
        options.attention_weights = weights.view;
        std::fill(memory.begin(), memory.end(), static_cast<unsigned char>(0xff));
        Workspace workspace(memory.data(), memory.size());
        Tensor output = engine.output_for(arguments);
        REQUIRE_OK(engine.forward(arguments.queries.view, arguments.keys.view, arguments.values.view, arguments.lengths.view, output.view, workspace, options));
        CHECK_SAME_BITS(output, clean);
        CHECK_SAME_BITS(weights, clean_weights);
      }
    });
  }
}
