// Tests of T5's relative position bias: the table that a call makes, of its own distances alone.

#include "base/dispatch.h"
#include "data/biases.h"
#include "engine_test.h"
#include "reference_call.h"

using namespace engine_test;

TEST_CASE("relative bias: the table holds the bucket of every distance of a call, and is written no farther") {
  Random random(81);
  const std::vector<Isa> usable = usable_isas();
  for (int round = 0; round < share_of(300); ++round) {
    const Kernels& kernels = *find_kernels(usable[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(usable.size()) - 1))]);
    RelativePositionBias bias;
    bias.bidirectional = random.one_in(2);
    const std::int64_t heads = random.between(1, 3), buckets = random.between(bias.bidirectional ? 4 : 2, 40);
    bias.max_distance = random.one_in(3) ? random.between(100, 20000) : random.between(buckets, 200);
    Tensor table({buckets, heads}, random);
    for (std::int64_t n = 0; n < buckets; ++n) {
      for (std::int64_t h = 0; h < heads; ++h) table.at(n, h) = static_cast<float>(100 * n + h);
    }
    bias.table = table.view;
    const std::int64_t queries = random.between(1, 40), keys = random.between(1, 400), far = random.one_in(3) ? std::int64_t{1} << random.between(8, 40) : 300;
    Visibility visibility;
    visibility.sequences.count = 1;
    visibility.sequences.queries = queries;
    visibility.sequences.keys = keys;
    visibility.offset = random.between(-far, far);
    std::vector<float> memory(static_cast<std::size_t>(relative_table_size(kernels, bias)), not_a_number);
    Biases biases;
    make_relative_table(kernels, bias, visibility, memory.data(), &biases);
    std::vector<bool> wanted(static_cast<std::size_t>(biases.relative_row), false);
    for (std::int64_t distance = -visibility.offset - queries + 1; distance < keys - visibility.offset; ++distance) {
      const std::int64_t from = std::max(-biases.reach - kernels.lanes, std::min(distance, biases.reach));
      for (std::int64_t n = from; n <= from + kernels.lanes; ++n) wanted[static_cast<std::size_t>(n + (biases.relative_row - 1) / 2)] = true;
    }
    for (std::int64_t h = 0; h < heads; ++h) {
      std::int64_t wrong = 0;
      for (std::int64_t n = 0; n < biases.relative_row; ++n) {
        const float found = memory[static_cast<std::size_t>(h * biases.relative_row + n)];
        const std::int64_t distance = std::max(-biases.reach, std::min(n - (biases.relative_row - 1) / 2, biases.reach));
        const float expected = static_cast<float>(100 * relative_bucket(distance, buckets, bias.bidirectional, bias.max_distance) + h);
        if (wanted[static_cast<std::size_t>(n)] ? found != expected : !std::isnan(found)) ++wrong;
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("relative bias: calls near and far from their keys read nothing that was not written") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    Random random(82);
    for (int round = 0; round < share_of(60); ++round) {
      const std::int64_t L = random.one_in(2) ? 1 : random.between(1, 70), S = random.between(1, 300), H = 2, D = 12;
      Tensor q({1, H, L, D}), k({1, H, S, D}), table({8, H}), output({1, H, L, D});
      for (Tensor* tensor : {&q, &k, &table}) tensor->fill(random);
      AttentionOptions options = on(isa);
      options.relative_position_bias.table = table.view;
      options.relative_position_bias.max_distance = random.between(9, 400);
      options.offset = random.one_of<std::int64_t>({0, S - L, -2000, 2000, random.between(-400, 400)});
      if (random.one_in(3)) options.window_left = random.between(0, 40);
      std::vector<float> memory(attention_workspace_bytes(q.view, k.view, k.view, options) / sizeof(float) + 1, not_a_number);
      Workspace workspace(memory.data(), memory.size() * sizeof(float));
      REQUIRE_OK(attention(q.view, k.view, k.view, {}, output.view, workspace, options));
      Tensor bias({1, H, L, S});
      for (std::int64_t h = 0; h < H; ++h) {
        for (std::int64_t i = 0; i < L; ++i) {
          for (std::int64_t j = 0; j < S; ++j) {
            bias.at(0, h, i, j) = table.at(relative_bucket(j - i - options.offset, 8, true, options.relative_position_bias.max_distance), h);
          }
        }
      }
      const reference::AttentionResult expected = reference_attention(q.view, k.view, k.view, {}, options, reference::Array(bias.view));
      CHECK_CLOSE(reference::Array(output.view), expected.output, 1e-5);
    }
  }
}
