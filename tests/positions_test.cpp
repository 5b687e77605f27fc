// Tests of rotary embedding, its frequencies and RMS norm: literals, the reference, invariants, errors.

#include "engine_test.h"

#include <algorithm>

using namespace engine_test;
using reference::Array;
using reference::Data;

namespace {

constexpr StatusCode invalid = StatusCode::invalid_argument;

OperationOptions options_of(Isa isa) {
  OperationOptions options;
  options.isa = isa;
  return options;
}

RotaryEmbedding by_frequencies(const Tensor& frequencies) {
  RotaryEmbedding rotary;
  rotary.inverse_frequencies = frequencies.view;
  return rotary;
}

/// Inverse frequencies as models have them.
Tensor frequencies_of(std::int64_t rotary_dim, double base = 10000.0, const RotaryScaling& scaling = {}) {
  Tensor frequencies({rotary_dim / 2});
  REQUIRE_OK(rotary_frequencies(rotary_dim, base, scaling, frequencies.view));
  return frequencies;
}

/// None, (L,) or (B, L) positions in [least, most].
Lengths random_positions(Random& random, std::int64_t B, std::int64_t L, std::int64_t least, std::int64_t most) {
  const std::int64_t rank = random.between(0, 2);
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(rank == 2 ? B * L : L));
  for (std::int64_t& number : numbers) number = random.between(least, most);
  if (rank == 0) return Lengths();
  return rank == 1 ? Lengths(numbers, L) : Lengths(numbers, B, L);
}

void check_refused(const Status& status, const std::string& message, StatusCode code = invalid) {
  CHECK(status.code() == code);
  CHECK(std::string(status.message()) == message);
}

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
View<Element> with_data(View<Element> view, Element* data) {
  view.data = data;
  return view;
}

}  // namespace

TEST_CASE("rotary_embedding: literals") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace;
    Tensor cosines({2, 2}), sines({2, 2}), input({1, 1, 2, 5}), output({1, 1, 2, 5});
    cosines.fill({1, 1, 0.5f, 0});
    sines.fill({0, 0, 0.25f, 1});
    input.fill({1, 10, 2, 20, 7, 1, 10, 2, 20, 7});
    RotaryEmbedding rotary;
    rotary.cosines = cosines.view;
    rotary.sines = sines.view;
    REQUIRE_OK(rotary_embedding(input.view, rotary, {}, 0, output.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(output, Tensor({1, 1, 2, 5}).fill({1, 10, 2, 20, 7, 0, -20, 1.25f, 10, 7}));

    rotary.interleaved = true;
    input.fill({1, 2, 10, 20, 7, 1, 2, 10, 20, 7});
    const std::int64_t positions[] = {2, 1};
    REQUIRE_OK(rotary_embedding(input.view, rotary, IndexView(positions, 2), -1, input.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(input, Tensor({1, 1, 2, 5}).fill({0, 1.25f, -20, 10, 7, 1, 2, 10, 20, 7}));
  }
}

TEST_CASE("rotary_embedding: random shapes, layouts, positions and forms, in place and apart") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(41);
    Workspace workspace;
    for (int round = 0; round < share_of(400); ++round) {
      CAPTURE(round);
      const std::int64_t B = random.between(1, 3), H = random.between(1, 5), L = random.between(1, 40);
      const std::int64_t half = random.between(0, 70), D = std::max<std::int64_t>(1, 2 * half + random.between(0, 1) * random.between(0, 30));
      Tensor input({B, H, L, D}, random), output({B, H, L, D}, random);
      input.fill(random, random.one_of({1.0f, 1e-30f, 1e30f}));
      const bool tables = random.one_in(2);
      const std::int64_t P = 100, far = tables ? 0 : random.one_of<std::int64_t>({0, 1000, 1000000, std::int64_t{1} << 40});
      const std::int64_t offset = tables ? random.between(0, 30) : random.between(-far, far);
      const Lengths positions = random_positions(random, B, L, tables ? -offset : -far, tables ? P - 1 - offset : far);
      Tensor frequencies({half}, random), cosines({P, half}, random), sines({P, half}, random);
      frequencies.fill(random);
      cosines.fill(random);
      sines.fill(random);
      RotaryEmbedding rotary;
      if (tables) {
        rotary.cosines = cosines.view;
        rotary.sines = sines.view;
      } else {
        rotary.inverse_frequencies = frequencies.view;
        rotary.attention_factor = random.one_of({1.0f, 1.25f, -0.3f});
      }
      rotary.interleaved = random.one_in(2);
      CAPTURE(text_of({B, H, L, D, half}));
      CAPTURE(tables);
      CAPTURE(rotary.interleaved);
      const reference::RotaryResult expected = reference::rotary_embedding(input.view, rotary, positions.view, offset);
      REQUIRE_OK(rotary_embedding(input.view, rotary, positions.view, offset, output.view, workspace, options_of(isa)));
      CHECK_CLOSE(output.view, expected.output, reference::rotary_bounds(expected));
      CHECK(output.gaps_untouched());
      REQUIRE_OK(rotary_embedding(input.view, rotary, positions.view, offset, input.view, workspace, options_of(isa)));
      CHECK_SAME_BITS(input, output);
      CHECK(input.gaps_untouched());
    }
  }
}

TEST_CASE("rotary_embedding: inputs that repeat along an axis") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(42);
    Workspace workspace;
    const Tensor frequencies = frequencies_of(16);
    for (int axis = 0; axis < 4; ++axis) {
      CAPTURE(axis);
      Tensor input({2, 3, 5, 20}), output({2, 3, 5, 20});
      input.fill(random);
      const ConstTensorView repeated = with_stride(ConstTensorView(input.view), axis, 0);
      const reference::RotaryResult expected = reference::rotary_embedding(repeated, by_frequencies(frequencies));
      REQUIRE_OK(rotary_embedding(repeated, by_frequencies(frequencies), {}, 0, output.view, workspace, options_of(isa)));
      CHECK_CLOSE(output.view, expected.output, reference::rotary_bounds(expected));
    }
  }
}

TEST_CASE("rotary_embedding: tables are frequencies at all positions") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(43);
    Workspace workspace;
    const std::int64_t B = 2, H = 3, L = 20, R = 24, D = 40, P = 90;
    const Tensor frequencies = frequencies_of(R);
    Tensor cosines({P, R / 2}), sines({P, R / 2}), input({B, H, L, D}), first({B, H, L, D}), second({B, H, L, D});
    input.fill(random);
    for (std::int64_t p = 0; p < P; ++p) {
      for (std::int64_t n = 0; n < R / 2; ++n) {
        const double angle = static_cast<double>(p) * static_cast<double>(frequencies[n]);
        cosines.at(p, n) = static_cast<float>(std::cos(angle) * 1.5);
        sines.at(p, n) = static_cast<float>(std::sin(angle) * 1.5);
      }
    }
    RotaryEmbedding computed = by_frequencies(frequencies), given;
    computed.attention_factor = 1.5f;
    given.cosines = cosines.view;
    given.sines = sines.view;
    REQUIRE_OK(rotary_embedding(input.view, computed, {}, 70, first.view, workspace, options_of(isa)));
    REQUIRE_OK(rotary_embedding(input.view, given, {}, 70, second.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(first, second);
    // The positions of rows one by one are those of the offset; (L,) and (B, L) are the same.
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < B * L; ++i) rows.push_back(i % L);
    REQUIRE_OK(rotary_embedding(input.view, given, IndexView(rows.data(), L), 70, second.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(first, second);
    REQUIRE_OK(rotary_embedding(input.view, given, IndexView(rows.data(), B, L), 70, second.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(first, second);
  }
}

TEST_CASE("rotary_embedding and rms_norm: the same bits for any number of threads") {
  Random random(44);
  ThreadPool pool;
  REQUIRE_OK(ThreadPool::make(3, &pool));
  Workspace workspace;
  const Tensor frequencies = frequencies_of(32);
  Tensor input({3, 2, 50, 48}), one({3, 2, 50, 48}), three({3, 2, 50, 48});
  input.fill(random);
  std::vector<std::int64_t> numbers;
  for (std::int64_t i = 0; i < 150; ++i) numbers.push_back(i * 7 % 150);
  const IndexView positions(numbers.data(), 3, 50);
  OperationOptions threaded;
  threaded.threads = pool.threads();
  REQUIRE_OK(rotary_embedding(input.view, by_frequencies(frequencies), positions, 0, one.view, workspace));
  REQUIRE_OK(rotary_embedding(input.view, by_frequencies(frequencies), positions, 0, three.view, workspace, threaded));
  CHECK_SAME_BITS(one, three);
  REQUIRE_OK(rms_norm(input.view, {}, 1e-6f, one.view));
  REQUIRE_OK(rms_norm(input.view, {}, 1e-6f, three.view, threaded));
  CHECK_SAME_BITS(one, three);
}

TEST_CASE("rotary_embedding and rms_norm: nothing to do") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Workspace workspace(nullptr, 0);
    for (const Shape& shape : {Shape{0, 2, 3, 4}, Shape{2, 0, 3, 4}, Shape{2, 3, 0, 4}, Shape{2, 3, 4, 0}}) {
      CAPTURE(text_of(shape));
      const Tensor frequencies({shape[3] / 2});
      Tensor input(shape), output(shape);
      REQUIRE_OK(rotary_embedding(input.view, by_frequencies(frequencies), {}, 0, output.view, workspace, options_of(isa)));
      REQUIRE_OK(rms_norm(input.view, {}, 0.0f, output.view, options_of(isa)));
      CHECK(output.untouched());
    }
    // No frequencies: every element passes, and no workspace is needed.
    Random random(45);
    Tensor input({1, 2, 3, 4}), output({1, 2, 3, 4});
    input.fill(random);
    RotaryEmbedding none;
    none.inverse_frequencies = ConstTensorView(nullptr, 0);
    REQUIRE_OK(rotary_embedding(input.view, none, {}, 9, output.view, workspace, options_of(isa)));
    CHECK_SAME_BITS(output, input);
  }
}

TEST_CASE("rotary_embedding: its workspace") {
  Random random(46);
  const Tensor frequencies = frequencies_of(16);
  Tensor input({2, 4, 10, 20}), output({2, 4, 10, 20}), one_head({2, 1, 10, 20});
  input.fill(random);
  std::vector<std::int64_t> numbers(20, 5);
  const RotaryEmbedding rotary = by_frequencies(frequencies);
  const std::size_t row = 16 * sizeof(float);
  for (const IndexView& positions : {IndexView(), IndexView(numbers.data(), 10), IndexView(numbers.data(), 2, 10)}) {
    CAPTURE(positions.rank);
    const std::size_t bytes = rotary_workspace_bytes(input.view, rotary, positions);
    CHECK(bytes == (positions.rank == 2 ? 20 : 10) * row + 63);
    CHECK(rotary_workspace_bytes(one_head.view, rotary, positions) == bytes);  // whatever the heads are
    alignas(64) char memory[20 * 16 * sizeof(float) + 64];
    Workspace enough(memory + 1, bytes), small(memory, bytes - 64);
    check_refused(rotary_embedding(input.view, rotary, positions, 0, output.view, small),
                  "workspace: holds " + std::to_string(bytes - 64) + " bytes, " + std::to_string(bytes - 63) + " are needed",
                  StatusCode::out_of_memory);
    CHECK(output.untouched());
    REQUIRE_OK(rotary_embedding(input.view, rotary, positions, 0, output.view, enough));
    output = Tensor({2, 4, 10, 20});
  }
  CHECK(rotary_workspace_bytes(input.view, {}, {}) == 0);
}

TEST_CASE("rotary_embedding: the norm of each pair stays, and it turns back") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(47);
    Workspace workspace;
    const std::int64_t L = 60, R = 48, D = 64;
    const Tensor frequencies = frequencies_of(R);
    RotaryEmbedding rotary = by_frequencies(frequencies);
    for (const bool interleaved : {false, true}) {
      rotary.interleaved = interleaved;
      Tensor input({1, 2, L, D}), turned({1, 2, L, D}), back({1, 2, L, D});
      input.fill(random);
      REQUIRE_OK(rotary_embedding(input.view, rotary, {}, 5000, turned.view, workspace, options_of(isa)));
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t i = 0; i < L; ++i) {
          for (std::int64_t n = 0; n < R / 2; ++n) {
            const std::int64_t x = interleaved ? 2 * n : n, y = interleaved ? 2 * n + 1 : n + R / 2;
            const double before = std::hypot(input.at(0, h, i, x), input.at(0, h, i, y));
            CHECK(std::abs(std::hypot(turned.at(0, h, i, x), turned.at(0, h, i, y)) - before) <= 8 * u * before);
          }
        }
      }
      std::vector<std::int64_t> opposite;
      for (std::int64_t i = 0; i < L; ++i) opposite.push_back(-i);
      REQUIRE_OK(rotary_embedding(turned.view, rotary, IndexView(opposite.data(), L), -5000, back.view, workspace, options_of(isa)));
      CHECK_CLOSE(back.view, input.array(), 16 * u);
    }
  }
}

TEST_CASE("rotary_embedding: q.k depends on the difference of the positions alone") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(48);
    Workspace workspace;
    const std::int64_t D = 128;
    const Tensor frequencies = frequencies_of(D);
    RotaryEmbedding rotary = by_frequencies(frequencies);
    Tensor q({1, 1, 1, D}), k({1, 1, 1, D}), turned_q({1, 1, 1, D}), turned_k({1, 1, 1, D});
    q.fill(random);
    k.fill(random);
    double magnitude = 0.0;  // |q| |k|
    for (const Tensor* x : {&q, &k}) {
      double squares = 0.0;
      for (std::int64_t d = 0; d < D; ++d) squares += static_cast<double>((*x)[d]) * static_cast<double>((*x)[d]);
      magnitude = magnitude == 0.0 ? std::sqrt(squares) : magnitude * std::sqrt(squares);
    }
    for (const bool interleaved : {false, true}) {
      rotary.interleaved = interleaved;
      for (const std::int64_t difference : {0, 1, 17, 1000}) {
        double first = 0.0;
        for (const std::int64_t at : {0, 1, 37, -500, 100000}) {
          REQUIRE_OK(rotary_embedding(q.view, rotary, {}, at + difference, turned_q.view, workspace, options_of(isa)));
          REQUIRE_OK(rotary_embedding(k.view, rotary, {}, at, turned_k.view, workspace, options_of(isa)));
          double product = 0.0;
          for (std::int64_t d = 0; d < D; ++d) product += static_cast<double>(turned_q[d]) * static_cast<double>(turned_k[d]);
          if (at == 0) first = product;
          CAPTURE(at);
          CHECK(std::abs(product - first) <= 16 * u * magnitude);
        }
      }
    }
  }
}

TEST_CASE("rms_norm: literals") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Tensor input({1, 2, 1, 4}), weight({4}), output({1, 2, 1, 4});
    input.fill({1, 1, 3, 5, 0, 0, 0, 0});  // mean of squares: 9
    weight.fill({16, 1, -2, 0});
    REQUIRE_OK(rms_norm(input.view, {}, 7.0f, output.view, options_of(isa)));
    CHECK_SAME_BITS(output, Tensor({1, 2, 1, 4}).fill({0.25f, 0.25f, 0.75f, 1.25f, 0, 0, 0, 0}));
    REQUIRE_OK(rms_norm(input.view, weight.view, 7.0f, input.view, options_of(isa)));
    CHECK_SAME_BITS(input, Tensor({1, 2, 1, 4}).fill({4, 0.25f, -1.5f, 0, 0, 0, -0.0f, 0}));

    REQUIRE_OK(rms_norm(Tensor({1, 1, 1, 3}).fill(0.0f).view, {}, 0.0f, TensorView(output.view.data, 1, 1, 1, 3), options_of(isa)));
    for (int d = 0; d < 3; ++d) CHECK(std::isnan(output[d]));
  }
}

TEST_CASE("rms_norm: random shapes and layouts, in place and apart") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(49);
    for (int round = 0; round < share_of(300); ++round) {
      CAPTURE(round);
      const std::int64_t B = random.between(1, 3), H = random.between(1, 5), L = random.between(1, 40);
      const std::int64_t D = random.one_in(10) ? random.between(500, 1100) : random.between(1, 140);
      Tensor input({B, H, L, D}, random), weight({D}, random), output({B, H, L, D}, random);
      input.fill(random, random.one_of({1.0f, 1e-12f, 1e12f}));
      weight.fill(random);
      if (random.one_in(8)) weight.view.strides[0] = 0;
      const bool constant = random.one_in(8);
      if (constant) input.fill(0.7f);
      const ConstTensorView weights = random.one_in(3) ? ConstTensorView() : ConstTensorView(weight.view);
      const float epsilon = random.one_of({0.0f, 1e-6f, 1e-5f, 2.0f});
      CAPTURE(text_of({B, H, L, D}));
      const Array expected = reference::rms_norm(input.view, weights, epsilon);
      REQUIRE_OK(rms_norm(input.view, weights, epsilon, output.view, options_of(isa)));
      CHECK_CLOSE(output.view, expected, reference::rms_norm_bounds(expected, constant ? Data::structured : Data::random));
      CHECK(output.gaps_untouched());
      REQUIRE_OK(rms_norm(input.view, weights, epsilon, input.view, options_of(isa)));
      CHECK_SAME_BITS(input, output);
      CHECK(input.gaps_untouched());
    }
  }
}

TEST_CASE("rms_norm: a power of two changes nothing, and a row reaches no other") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(50);
    Tensor input({1, 3, 4, 37}), scaled({1, 3, 4, 37}), first({1, 3, 4, 37}), second({1, 3, 4, 37});
    input.fill(random);
    for (std::int64_t n = 0; n < input.count(); ++n) scaled[n] = std::ldexp(input[n], 40);
    REQUIRE_OK(rms_norm(input.view, {}, 0.0f, first.view, options_of(isa)));
    REQUIRE_OK(rms_norm(scaled.view, {}, 0.0f, second.view, options_of(isa)));
    CHECK_SAME_BITS(first, second);
    input.at(0, 1, 2, 20) = not_a_number;
    REQUIRE_OK(rms_norm(input.view, {}, 0.0f, second.view, options_of(isa)));
    for (std::int64_t n = 0; n < first.count(); ++n) {
      CHECK((n / 37 == 4 + 2 ? std::isnan(second[n]) : second[n] == first[n]));
    }
  }
}

namespace {

/// That these are the frequencies, rounded to float once.
void check_frequencies(const Tensor& actual, std::initializer_list<double> expected) {
  REQUIRE(actual.count() == static_cast<std::int64_t>(expected.size()));
  for (std::int64_t n = 0; n < actual.count(); ++n) {
    CAPTURE(n);
    const double frequency = expected.begin()[n];
    CHECK(std::abs(actual[n] - frequency) <= 1.00001 * u * frequency);
  }
}

/// Those at `indices` alone.
void check_some(const Tensor& actual, std::initializer_list<std::int64_t> indices, std::initializer_list<double> expected) {
  Tensor some({static_cast<std::int64_t>(indices.size())});
  for (std::size_t n = 0; n < indices.size(); ++n) some[static_cast<std::int64_t>(n)] = actual[indices.begin()[n]];
  check_frequencies(some, expected);
}

RotaryScaling scaling_of(RotaryScalingKind kind, double factor, std::int64_t original_max_position = 0) {
  RotaryScaling scaling;
  scaling.kind = kind;
  scaling.factor = factor;
  scaling.original_max_position = original_max_position;
  return scaling;
}

}  // namespace

TEST_CASE("rotary_frequencies: literals") {
  check_frequencies(frequencies_of(8), {1.0, 0.1, 0.01, 0.001});
  check_frequencies(frequencies_of(2), {1.0});
  check_frequencies(frequencies_of(8, 10000.0, scaling_of(RotaryScalingKind::linear, 4.0)), {0.25, 0.025, 0.0025, 0.00025});
  check_frequencies(frequencies_of(8, 10000.0, scaling_of(RotaryScalingKind::ntk, 4.0)),
                    {1.0, 0.06299605249474366, 0.003968502629920499, 0.00025});
  check_frequencies(frequencies_of(2, 10000.0, scaling_of(RotaryScalingKind::ntk, 4.0)), {1.0});

  RotaryScaling yarn = scaling_of(RotaryScalingKind::yarn, 16.0, 4096);
  check_some(frequencies_of(128, 10000.0, yarn), {0, 1, 20, 21, 30, 40, 45, 46, 63},
             {1.0, 0.8659643233600653, 0.056234132519034905, 0.046940859997959404, 0.00852684377296741,
              0.0008817889629315673, 0.00015177160473182487, 8.334508951020775e-05, 7.217387404309114e-06});
  yarn = scaling_of(RotaryScalingKind::yarn, 32.0, 4096);
  yarn.truncate = false;
  check_frequencies(frequencies_of(16, 150000.0, yarn),
                    {1.0, 0.2254180002028708, 0.050813274815461475, 0.006794959489732219, 0.00045648391922324086,
                     1.818833668168956e-05, 4.0999784818029795e-06, 9.242089502428301e-07});
  check_frequencies(frequencies_of(8, 10000.0, scaling_of(RotaryScalingKind::yarn, 4.0, 2)), {1.0, 0.025, 0.0025, 0.00025});

  check_some(frequencies_of(128, 500000.0, scaling_of(RotaryScalingKind::llama3, 8.0, 8192)), {0, 1, 28, 29, 31, 33, 35, 36, 63},
             {1.0, 0.8146172338565447, 0.0032114459947525913, 0.002166570763503359, 0.0008567514129196324,
              0.00031269375038406517, 9.556212353964683e-05, 7.78465527393245e-05, 3.068925988914511e-07});
}

TEST_CASE("rotary_attention_factor") {
  CHECK(rotary_attention_factor({}) == 1.0f);
  CHECK(rotary_attention_factor(scaling_of(RotaryScalingKind::yarn, 16.0)) == 1.2772588722239782f);
  CHECK(rotary_attention_factor(scaling_of(RotaryScalingKind::yarn, 0.5)) == 1.0f);
  CHECK(rotary_attention_factor(scaling_of(RotaryScalingKind::linear, 16.0)) == 1.0f);
  CHECK(rotary_attention_factor(scaling_of(RotaryScalingKind::llama3, 16.0)) == 1.0f);
}

TEST_CASE("rotary_frequencies: random scalings, strided") {
  Random random(51);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    const std::int64_t R = 2 * random.between(1, 80);
    const double base = random.one_of({10.0, 10000.0, 500000.0, 1e6});
    RotaryScaling scaling = scaling_of(static_cast<RotaryScalingKind>(random.between(0, 4)), random.one_of({0.5, 1.0, 4.0, 40.0}),
                                       random.one_of<std::int64_t>({1, 512, 4096, 32768}));
    scaling.truncate = random.one_in(2);
    if (random.one_in(2)) {
      scaling.beta_fast = 20.0 + random.number();
      scaling.beta_slow = 2.0 + random.number();
      scaling.low_frequency_factor = 2.0 + random.number();
      scaling.high_frequency_factor = 9.0 + random.number();
    }
    CAPTURE(R);
    CAPTURE(base);
    CAPTURE(static_cast<int>(scaling.kind));
    Tensor frequencies({R / 2}, random);
    REQUIRE_OK(rotary_frequencies(R, base, scaling, frequencies.view));
    const Array expected = reference::rotary_frequencies(R, base, scaling);
    Array bounds = expected;
    for (double& bound : bounds.values) bound *= 1.00001 * u;
    CHECK_CLOSE(frequencies.view, expected, bounds);
    CHECK(frequencies.gaps_untouched());
    CHECK(rotary_attention_factor(scaling) == static_cast<float>(reference::rotary_attention_factor(scaling)));
  }
}

namespace {

/// Arguments that are right; a test makes one of them wrong.
struct RotaryCall {
  Tensor frequencies{Shape{4}}, cosines{Shape{20, 4}}, sines{Shape{20, 4}}, input{Shape{2, 3, 5, 10}}, output{Shape{2, 3, 5, 10}};
  std::vector<std::int64_t> numbers = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  Workspace workspace;
  RotaryEmbedding rotary;
  IndexView positions;
  std::int64_t offset = 0;
  ConstTensorView input_view;
  TensorView output_view;
  OperationOptions options;

  explicit RotaryCall(bool tables = false) {
    for (Tensor* tensor : {&frequencies, &cosines, &sines, &input}) tensor->fill(0.5f);
    if (tables) {
      rotary.cosines = cosines.view;
      rotary.sines = sines.view;
    } else {
      rotary.inverse_frequencies = frequencies.view;
    }
    positions = IndexView(numbers.data(), 2, 5);
    input_view = input.view;
    output_view = output.view;
  }
  Status run() { return rotary_embedding(input_view, rotary, positions, offset, output_view, workspace, options); }
  void refuse(const std::string& message, StatusCode code = invalid) {
    check_refused(run(), message, code);
    CHECK(output.untouched());
  }
};

template <class Change>
void refuse_rotary(const std::string& message, Change change, bool tables = false) {
  RotaryCall call(tables);
  change(call);
  call.refuse(message);
}

}  // namespace

TEST_CASE("rotary_embedding: errors") {
  REQUIRE_OK(RotaryCall().run());
  REQUIRE_OK(RotaryCall(true).run());
  using Call = RotaryCall&;
  refuse_rotary("input: shape (2, 3, 5) has 3 axes, expected 4", [](Call c) { c.input_view = ConstTensorView(c.input.view.data, 2, 3, 5); });
  refuse_rotary("input: data is null, but its shape is (2, 3, 5, 10)", [](Call c) { c.input_view.data = nullptr; });
  refuse_rotary("output: shape (2, 3, 5, 9), expected (2, 3, 5, 10)", [](Call c) { c.output_view = with_size(c.output_view, 3, 9); });
  refuse_rotary("output: stride 5 of axis 2 makes elements of an output share memory", [](Call c) { c.output_view = with_stride(c.output_view, 2, 5); });
  refuse_rotary("output: its memory meets that of input without being the same view", [](Call c) { c.input_view = with_data(ConstTensorView(c.output.view), static_cast<const float*>(c.output.view.data + 1)); });
  refuse_rotary("inverse_frequencies: absent, and cosines and sines are, too", [](Call c) { c.rotary.inverse_frequencies = {}; });
  refuse_rotary("inverse_frequencies: given together with cosines or sines, expected one of the two", [](Call c) { c.rotary.sines = c.sines.view; });
  refuse_rotary("inverse_frequencies: shape (20, 4) has 2 axes, expected 1", [](Call c) { c.rotary.inverse_frequencies = c.cosines.view; });
  refuse_rotary("inverse_frequencies: shape (6,) rotates more than the width of input, 10", [](Call c) { c.rotary.inverse_frequencies = with_size(c.rotary.inverse_frequencies, 0, 6); });
  refuse_rotary("inverse_frequencies: stride -1 of axis 0, expected 0 or more", [](Call c) { c.rotary.inverse_frequencies.strides[0] = -1; });
  refuse_rotary("output: its memory meets that of inverse_frequencies", [](Call c) { c.rotary.inverse_frequencies.data = c.output.view.data; });
  refuse_rotary("attention_factor: inf, expected a finite number", [](Call c) { c.rotary.attention_factor = infinite; });
  refuse_rotary("attention_factor: nan, expected a finite number", [](Call c) { c.rotary.attention_factor = not_a_number; });
  refuse_rotary("positions: shape () has 0 axes, expected 1 or 2", [](Call c) { c.positions.rank = 0; });
  refuse_rotary("positions: shape (4,), expected (5,)", [](Call c) { c.positions = IndexView(c.numbers.data(), 4); });
  refuse_rotary("positions: shape (2, 4), expected (2, 5)", [](Call c) { c.positions = IndexView(c.numbers.data(), 2, 4); });
  refuse_rotary("positions: data is null, but its shape is (2, 5)", [](Call c) { c.positions.data = nullptr; });
  refuse_rotary("output: its memory meets that of positions", [](Call c) { c.positions.data = reinterpret_cast<const std::int64_t*>(c.output.view.data); });
  refuse_rotary("positions: [1, 0] is 9, with offset 9223372036854775800 outside of 64 bits", [](Call c) { c.offset = INT64_MAX - 7; });
  refuse_rotary("offset: 9223372036854775804 puts row 4 outside of 64 bits", [](Call c) {
    c.positions = {};
    c.offset = INT64_MAX - 3;
  });
  refuse_rotary("threads: count 0, expected 1 to 256", [](Call c) { c.options.threads.count = 0; });
  refuse_rotary("isa: 9 is none that there is", [](Call c) { c.options.isa = static_cast<Isa>(9); });

  const bool tables = true;
  refuse_rotary("cosines: shape () has 0 axes, expected 2", [](Call c) { c.rotary.cosines = {}; }, tables);
  refuse_rotary("sines: shape () has 0 axes, expected 2", [](Call c) { c.rotary.sines = {}; }, tables);
  refuse_rotary("sines: shape (19, 4), expected (20, 4)", [](Call c) { c.rotary.sines = with_size(c.rotary.sines, 0, 19); }, tables);
  refuse_rotary("cosines: shape (20, 6) rotates more than the width of input, 10", [](Call c) { c.rotary.cosines.sizes[1] = c.rotary.sines.sizes[1] = 6; }, tables);
  refuse_rotary("attention_factor: 1.5, expected 1 with cosines and sines, which include it", [](Call c) { c.rotary.attention_factor = 1.5f; }, tables);
  refuse_rotary("output: its memory meets that of cosines", [](Call c) { c.rotary.cosines.data = c.output.view.data; }, tables);
  refuse_rotary("output: its memory meets that of sines", [](Call c) { c.rotary.sines.data = c.output.view.data; }, tables);
  refuse_rotary("positions: [1, 2] is 20, with offset 0 outside of [0, 20)", [](Call c) { c.numbers[7] = 20; }, tables);
  refuse_rotary("positions: [0, 1] is 1, with offset -2 outside of [0, 20)", [](Call c) { c.offset = -2; }, tables);
  refuse_rotary("positions: [2] is -1, with offset 0 outside of [0, 20)", [](Call c) {
    c.numbers[2] = -1;
    c.positions = IndexView(c.numbers.data(), 5);
  }, tables);
  refuse_rotary("offset: 16 puts row 4 outside of [0, 20)", [](Call c) { c.positions = {}; c.offset = 16; }, tables);
  refuse_rotary("offset: -1 puts row 0 outside of [0, 20)", [](Call c) { c.positions = {}; c.offset = -1; }, tables);
}

TEST_CASE("rms_norm: errors") {
  Tensor input({2, 3, 5, 10}), weight({10}), output({2, 3, 5, 10});
  input.fill(1.0f);
  weight.fill(1.0f);
  const auto refuse = [&](const std::string& message, const ConstTensorView& x, const ConstTensorView& w, float epsilon,
                          const TensorView& y, const OperationOptions& options = {}) {
    check_refused(rms_norm(x, w, epsilon, y, options), message);
    CHECK(output.untouched());
  };
  const ConstTensorView x = input.view, w = weight.view;
  const TensorView y = output.view;
  refuse("input: shape (2, 3, 5) has 3 axes, expected 4", ConstTensorView(x.data, 2, 3, 5), w, 0.0f, y);
  refuse("weight: shape (9,), expected (10,)", x, with_size(w, 0, 9), 0.0f, y);
  refuse("weight: data is null, but its shape is (10,)", x, with_data(w, static_cast<const float*>(nullptr)), 0.0f, y);
  refuse("epsilon: -1, expected a finite number, 0 or more", x, w, -1.0f, y);
  refuse("epsilon: inf, expected a finite number, 0 or more", x, w, infinite, y);
  refuse("epsilon: nan, expected a finite number, 0 or more", x, w, not_a_number, y);
  refuse("output: shape (2, 3, 4, 10), expected (2, 3, 5, 10)", x, w, 0.0f, with_size(y, 2, 4));
  refuse("output: stride 0 of axis 0 makes elements of an output share memory", x, w, 0.0f, with_stride(y, 0, 0));
  refuse("output: its memory meets that of input without being the same view", with_data(x, static_cast<const float*>(y.data + 10)), w, 0.0f, y);
  refuse("output: its memory meets that of weight", x, with_data(w, static_cast<const float*>(y.data)), 0.0f, y);
  OperationOptions options;
  options.threads.count = 257;
  refuse("threads: count 257, expected 1 to 256", x, w, 0.0f, y, options);
  options = {};
  options.isa = static_cast<Isa>(-1);
  refuse("isa: -1 is none that there is", x, w, 0.0f, y, options);
}

TEST_CASE("rotary_frequencies: errors") {
  Tensor frequencies({8});
  const auto refuse = [&](const std::string& message, std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                          const TensorView& view) {
    check_refused(rotary_frequencies(rotary_dim, base, scaling, view), message);
    CHECK(frequencies.untouched());
  };
  const TensorView view = frequencies.view;
  for (const std::int64_t R : {-2, 0, 15}) {
    refuse("rotary_dim: " + std::to_string(R) + ", expected an even number, 2 or more", R, 10000.0, {}, view);
  }
  refuse("base: 1, expected a finite number above 1", 16, 1.0, {}, view);
  refuse("base: inf, expected a finite number above 1", 16, static_cast<double>(infinite), {}, view);
  refuse("base: nan, expected a finite number above 1", 16, static_cast<double>(not_a_number), {}, view);
  refuse("inverse_frequencies: shape (8,), expected (7,)", 14, 10000.0, {}, view);
  refuse("inverse_frequencies: stride 0 of axis 0 makes elements of an output share memory", 16, 10000.0, {}, with_stride(view, 0, 0));
  refuse("kind: 5 is not one of attend::RotaryScalingKind", 16, 10000.0, scaling_of(static_cast<RotaryScalingKind>(5), 1.0), view);
  refuse("factor: 0, expected a finite number above 0", 16, 10000.0, scaling_of(RotaryScalingKind::linear, 0.0), view);
  refuse("factor: inf, expected a finite number above 0", 16, 10000.0, scaling_of(RotaryScalingKind::ntk, static_cast<double>(infinite)), view);
  refuse("factor: nan, expected a finite number above 0", 16, 10000.0, scaling_of(RotaryScalingKind::llama3, static_cast<double>(not_a_number), 9), view);
  refuse("original_max_position: 0, expected 1 or more", 16, 10000.0, scaling_of(RotaryScalingKind::yarn, 2.0), view);
  refuse("original_max_position: -1, expected 1 or more", 16, 10000.0, scaling_of(RotaryScalingKind::llama3, 2.0, -1), view);
  RotaryScaling scaling = scaling_of(RotaryScalingKind::yarn, 2.0, 512);
  scaling.beta_slow = 0.0;
  refuse("beta_slow: 0, expected a number above 0", 16, 10000.0, scaling, view);
  scaling.beta_slow = 32.0;
  refuse("beta_fast: 32, expected a finite number above beta_slow, 32", 16, 10000.0, scaling, view);
  scaling = scaling_of(RotaryScalingKind::llama3, 2.0, 512);
  scaling.low_frequency_factor = static_cast<double>(not_a_number);
  refuse("low_frequency_factor: nan, expected a number above 0", 16, 10000.0, scaling, view);
  scaling.low_frequency_factor = 1.0;
  scaling.high_frequency_factor = static_cast<double>(infinite);
  refuse("high_frequency_factor: inf, expected a finite number above low_frequency_factor, 1", 16, 10000.0, scaling, view);
}
