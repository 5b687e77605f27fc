// Tests of the plans: the scratch bound of attention's tiles, and the grid of key blocks.
#include <doctest.h>

#include <cstdint>
#include <string>

#include "attend/attend.hpp"
#include "call/describe.h"
#include "kernels/kernels.h"
#include "plan/forward_plan.h"
#include "plan/plan.h"
#include "plan/scratch.h"

// Every table of this build, whether this CPU can run it or not: a plan is arithmetic.
namespace attend {
#define ATTEND_DECLARE(isa) namespace isa { extern const Kernels kernels; }
ATTEND_BUILT_ISAS(ATTEND_DECLARE)
}  // namespace attend

using namespace attend;

namespace {

#define ATTEND_TABLE(isa) &isa::kernels,
const Kernels* const tables[] = {ATTEND_BUILT_ISAS(ATTEND_TABLE)};

bool plan_layer(const Kernels& table, const MultiHeadAttentionConfig& config, const ForwardShape& shape, int threads, ForwardPlan* plan) {
  const LayerSizes sizes(config);
  return plan_forward(table, sizes, LayerLayout(table, config).projections, shape, shape_of(describe(table, sizes, {shape, {}})), 0, threads, plan);
}

std::string name_of(const Kernels* table) { return isa_name(table->isa); }

/// One head, contiguous.
AttentionShape shape_of(std::int64_t queries, std::int64_t keys, std::int64_t depth, std::int64_t value_depth) {
  return {1, 1, 1, queries, keys, depth, value_depth, depth, value_depth, 1, KeySource::given, false, false, false, false, false, 0, false};
}

}  // namespace

TEST_CASE("plan: attention's tiles fit into 64 KiB a thread, or 80 KiB where D + Dv > 512, and 16 KiB more over caches of low precision") {
  for (const Kernels* table : tables) {
    CAPTURE(name_of(table));
    std::size_t largest_narrow = 0, largest_wide = 0;
    std::int64_t wrong = 0;
    for (std::int64_t D = 1; D <= largest_head; ++D) {
      for (std::int64_t Dv = 1; Dv <= largest_head; ++Dv) {
        for (std::int64_t queries : {std::int64_t{1}, std::int64_t{table->narrow_tile}, std::int64_t{table->narrow_tile} + 1, std::int64_t{table->middle_tile} + 1, std::int64_t{1000}}) {
          const AttentionPlan plan = plan_attention(*table, shape_of(queries, 1000, D, Dv));  // too few keys for copies
          std::size_t& largest = D + Dv <= 512 ? largest_narrow : largest_wide;
          if (plan.thread_bytes > largest) largest = plan.thread_bytes;
          wrong += plan.copy_keys || plan.copy_values;  // contiguous: nothing to copy
          wrong += plan.thread_bytes < TileScratch::bytes(plan.tile, plan.key_block, D, plan.value_stride);
          wrong += plan.thread_bytes % 64 != 0;
          wrong += plan.tile != table->narrow_tile && plan.tile != table->wide_tile;
          wrong += plan.value_stride < Dv || plan.value_stride % table->lanes != 0;
          wrong += plan.tiles * plan.tile < queries || (plan.tiles - 1) * plan.tile >= queries;
          wrong += plan.tasks != plan.tiles;
          AttentionShape stored = shape_of(queries, 1000, D, Dv);  // what a tile widens of a cache that is not float32 comes on top
          stored.source = KeySource::cached;
          stored.stored = true;
          wrong += plan_attention(*table, stored).thread_bytes != plan.thread_bytes + 16 * 1024;
          wrong += widened_rows(plan.value_stride) * plan.value_stride > widened_floats;
        }
      }
    }
    CHECK(wrong == 0);
    CHECK(largest_narrow <= 64 * 1024);
    CHECK(largest_wide <= 80 * 1024);
  }
}

TEST_CASE("plan: the key block is that of D, whatever else the shape is, but for values wider than 512") {
  for (const Kernels* table : tables) {
    CAPTURE(name_of(table));
    std::int64_t wrong = 0;
    for (std::int64_t D = 1; D <= largest_head; ++D) {
      const std::int64_t usual = plan_attention(*table, shape_of(1, 1, D, 1)).key_block;
      const std::int64_t widest = plan_attention(*table, shape_of(1, 1, D, largest_head)).key_block;
      for (std::int64_t Dv : {std::int64_t{1}, std::int64_t{64}, D, std::int64_t{512}, std::int64_t{513}, std::int64_t{560}, largest_head}) {
        const std::int64_t expected = Dv > 512 ? widest : usual;
        wrong += expected > table->key_block || 3 * expected < table->key_block || expected % 8 != 0;
        for (std::int64_t queries : {1, 8, 17, 1000}) {
          for (std::int64_t keys : {1, 128, 100000}) {
            AttentionShape shape = shape_of(queries, keys, D, Dv);
            shape.batch = 3;
            shape.kv_heads = 5;
            wrong += plan_attention(*table, shape).key_block != expected;
            shape.key_row_stride = shape.value_row_stride = 4096;
            shape.value_stride = 2;
            wrong += plan_attention(*table, shape).key_block != expected;
          }
        }
      }
    }
    CHECK(wrong == 0);
  }
}

// Where they change, so do bits: of heads as wide as that.
TEST_CASE("plan: the widths at which key blocks shrink") {
  const struct {
    Isa isa;
    std::int64_t wide_tile, depth, value_depth, block;
  } widths[] = {
      {Isa::avx2, 24, 216, 216, 96},   {Isa::avx2, 24, 217, 217, 72},   {Isa::avx2, 24, 240, 240, 72},   {Isa::avx2, 24, 241, 241, 48},
      {Isa::avx2, 24, 256, 256, 48},   {Isa::avx2, 24, 257, 257, 96},   {Isa::avx2, 24, 300, 300, 96},   {Isa::avx2, 24, 301, 301, 72},
      {Isa::avx2, 24, 324, 324, 72},   {Isa::avx2, 24, 325, 325, 48},   {Isa::avx2, 24, 350, 350, 48},   {Isa::avx2, 24, 351, 351, 96},
      {Isa::avx2, 24, 576, 576, 96},   {Isa::avx512, 32, 128, 128, 96}, {Isa::avx512, 32, 129, 129, 72}, {Isa::avx512, 32, 154, 154, 72},
      {Isa::avx512, 32, 155, 155, 48}, {Isa::avx512, 32, 176, 176, 48}, {Isa::avx512, 32, 177, 177, 96}, {Isa::avx512, 32, 512, 512, 96},
      {Isa::avx512, 32, 519, 512, 96}, {Isa::avx512, 32, 520, 512, 72}, {Isa::avx512, 32, 568, 512, 72}, {Isa::avx512, 32, 569, 512, 48},
      {Isa::avx512, 32, 576, 512, 48}, {Isa::avx512, 32, 455, 513, 96}, {Isa::avx512, 32, 456, 513, 72}, {Isa::avx512, 32, 504, 513, 72},
      {Isa::avx512, 32, 505, 513, 48}, {Isa::avx512, 32, 554, 513, 48}, {Isa::avx512, 32, 555, 513, 32}, {Isa::avx512, 32, 576, 576, 32},
  };
  for (const Kernels* table : tables) {
    for (const auto& width : widths) {
      if (table->isa != width.isa || table->wide_tile != width.wide_tile) continue;
      CAPTURE(name_of(table));
      CAPTURE(width.depth);
      CHECK(plan_attention(*table, shape_of(1000, 1000, width.depth, width.value_depth)).key_block == width.block);
    }
  }
}

TEST_CASE("plan: one query a sequence decodes: its scratch is bounded, its chunks are on an absolute grid") {
  for (const Kernels* table : tables) {
    CAPTURE(name_of(table));
    std::int64_t wrong = 0;
    for (std::int64_t D = 1; D <= largest_head; ++D) {
      for (std::int64_t Dv = 1; Dv <= largest_head; ++Dv) {
        AttentionShape shape = shape_of(1, 5000, D, Dv);
        shape.heads_per_kv_head = decode_rows;
        shape.may_decode = true;
        const AttentionPlan plan = plan_attention(*table, shape);
        wrong += plan.thread_bytes > (D + Dv <= 512 ? 64u : 80u) * 1024;
        wrong += plan.chunks != 5 || plan.slots != 5 || plan.tasks != 5 || plan.copy_keys || plan.copy_values;
      }
    }
    CHECK(wrong == 0);
    AttentionShape shape = shape_of(1, 5000, 64, 64);
    shape.may_decode = true;
    shape.heads_per_kv_head = decode_rows + 1;
    CHECK(plan_attention(*table, shape).slots == 0);
    // Several queries decode while they are few rows, beside enough keys and wide enough heads.
    shape.heads_per_kv_head = 2;
    const int few = table->few_rows[0], of_many = table->few_rows[1];
    shape.queries = of_many / 2;
    CHECK(plan_attention(*table, shape).slots == 5);
    CHECK(plan_attention(*table, shape).decode_rows == of_many / 2 * 2);
    shape.keys = many_keys - 1;
    CHECK((plan_attention(*table, shape).slots == 0) == (of_many > few));
    shape.queries = few / 2;
    CHECK(plan_attention(*table, shape).slots == 4);
    shape.keys = 16 * (few / 2 * 2) - 1;
    CHECK(plan_attention(*table, shape).slots == 0);
    shape.keys = 5000;
    shape.depth = 16 * (few / 2 * 2) - shape.value_depth - 1;
    CHECK((shape.depth < 1 || plan_attention(*table, shape).slots == 0));
    shape.depth = 64;
    shape.queries = of_many / 2 + 1;
    CHECK(plan_attention(*table, shape).slots == 0);
    shape.heads_per_kv_head = 1;
    // Packed: any sequence may be one of one query. Those before may leave a part of a chunk each.
    shape.batch = 3;
    shape.mixed = true;
    shape.packed_keys = 7000;
    const AttentionPlan plan = plan_attention(*table, shape);
    CHECK(plan.slots == 6 + 3);
    CHECK(plan.thread_bytes >= TileScratch::bytes(plan.tile, plan.key_block, 64, 64));
  }
}

TEST_CASE("plan: copies of keys and values are in the thread's bytes") {
  for (const Kernels* table : tables) {
    CAPTURE(name_of(table));
    const AttentionPlan plain = plan_attention(*table, shape_of(100, 600, 64, 48));
    AttentionShape strided = shape_of(100, 600, 64, 48);
    strided.key_row_stride = strided.value_row_stride = 1000;
    const AttentionPlan copied = plan_attention(*table, strided);
    CHECK(copied.copy_keys);
    CHECK(copied.copy_values);
    CHECK(copied.tasks == 1);
    CHECK(copied.thread_bytes == plain.thread_bytes + 600 * (64 + 48) * sizeof(float));
    strided.queries = 1;  // one query reads each key once
    CHECK(!plan_attention(*table, strided).copy_keys);
  }
}

TEST_CASE("plan: values go into panels where a projection writes them, or where a copy is read often and threads do not wait for it") {
  for (const Kernels* table : tables) {
    CAPTURE(name_of(table));
    const std::int64_t panel = table->value_panel;
    const AttentionShape rows = shape_of(1000, 1023, 64, 64);
    AttentionShape shape = rows;
    CHECK(plan_attention(*table, shape).value_panel == 0);  // a copy does not pay yet
    shape.source = KeySource::projected;
    CHECK(plan_attention(*table, shape).value_panel == panel);
    CHECK(!plan_attention(*table, shape).copy_values);
    shape.value_depth = shape.value_row_stride = 63;
    CHECK(plan_attention(*table, shape).value_panel == 0);  // no whole panels

    shape = rows;
    shape.keys = 1024;
    const AttentionPlan copied = plan_attention(*table, shape);
    CHECK(copied.copy_values == (panel > 0));
    CHECK(copied.value_panel == panel);
    if (panel > 0) CHECK(copied.thread_bytes == plan_attention(*table, rows).thread_bytes + 1024 * 64 * sizeof(float));
    if (panel > 0) CHECK(copied.tasks == 1);
    CHECK(!plan_attention(*table, shape, 2).copy_values);  // its tiles are for both
    CHECK(plan_attention(*table, shape, 2).tasks == copied.tiles);
    CHECK(plan_attention(*table, shape, 2).thread_bytes == copied.thread_bytes);  // fewer threads never need more
    shape.kv_heads = 4;
    CHECK(plan_attention(*table, shape, 2).copy_values == (panel > 0));
    CHECK(!plan_attention(*table, shape, 3).copy_values);
    shape.average_weights = true;  // a task takes all heads
    CHECK(!plan_attention(*table, shape, 2).copy_values);
    shape.average_weights = false;
    shape.source = KeySource::cached;  // may hold more keys than its plan knows
    CHECK(!plan_attention(*table, shape).copy_values);
    CHECK(plan_attention(*table, shape).value_panel == 0);
    shape.source = KeySource::given;
    shape.queries = 7 * table->wide_tile;  // too few tiles read it
    CHECK(!plan_attention(*table, shape).copy_values);

    shape = rows;
    shape.source = KeySource::projected;
    shape.queries = 1;
    shape.may_decode = true;  // the kernels of one query read rows
    CHECK(plan_attention(*table, shape).value_panel == 0);
    shape.mixed = true;
    shape.queries = 1000;
    CHECK(plan_attention(*table, shape).value_panel == 0);
  }
}

TEST_CASE("plan: a forward's parts lie one after the other, on cache lines of their own") {
  for (const Kernels* table : tables) {
    CAPTURE(name_of(table));
    MultiHeadAttentionConfig config;
    config.key_size = config.query_size = config.value_size = 30;
    config.num_hiddens = 60;
    config.num_heads = 3;
    config.num_kv_heads = 1;
    config.head_dim = 25;
    ForwardPlan plan;
    REQUIRE(plan_layer(*table, config, {2, 7, 11}, 3, &plan));
    const std::size_t queries = 2 * 7 * 75 * sizeof(float), keys = 2 * 11 * 25 * sizeof(float), counts = 3 * sizeof(std::int64_t);
    const struct {
      std::size_t start, bytes;
    } parts[] = {{plan.queries, queries}, {plan.keys, keys},         {plan.values, keys},
                 {plan.heads, queries},   {plan.query_rows, counts}, {plan.key_rows, counts},
                 {plan.first_keys, 2 * sizeof(std::int64_t)}, {plan.relative, 0},
                 {plan.attention_memory, 3 * plan.attention.thread_bytes},
                 {plan.forward, forward_bytes}};
    std::size_t at = 0;
    for (const auto& part : parts) {
      CHECK(part.start == at);
      CHECK(part.start % 64 == 0);
      at = (part.start + part.bytes + 63) / 64 * 64;
    }
    CHECK(plan.bytes == at);
  }
}

TEST_CASE("plan: sizes that overflow are refused") {
  MultiHeadAttentionConfig config;
  config.key_size = config.query_size = config.value_size = config.num_hiddens = 64;
  config.num_heads = 1;
  ForwardPlan plan;
  for (const Kernels* table : tables) {
    CAPTURE(name_of(table));
    const std::int64_t large = std::int64_t{1} << 58;
    CHECK(!plan_layer(*table, config, {large, 1, 1}, 1, &plan));
    CHECK(!plan_layer(*table, config, {1, large, 1}, 1, &plan));
    CHECK(!plan_layer(*table, config, {1, 1, large}, 1, &plan));
    CHECK(!plan_layer(*table, config, {INT64_MAX, INT64_MAX, INT64_MAX}, 1, &plan));
    CHECK(!plan_layer(*table, config, {INT64_MAX, 0, 0}, 1, &plan));
    CHECK(plan_layer(*table, config, {1, 1, 1}, max_threads, &plan));
  }
}
