// Chooses the sizes of blocks and tiles, and counts the bytes that a call takes.
#include "plan/plan.h"

#include "base/arithmetic.h"
#include "base/dispatch.h"
#include "base/memory.h"
#include "kernels/products.h"
#include "plan/scratch.h"

namespace attend {

namespace {

std::size_t tile_bytes(const AttentionPlan& plan, std::int64_t depth) {
  return TileScratch::bytes(plan.tile, plan.key_block, depth, plan.value_stride);
}

std::size_t most_tile_bytes(std::int64_t depth, std::int64_t value_depth) {
  return depth + value_depth <= 512 ? 64 * 1024 : 80 * 1024;
}

// How wide a tile is, and what part of the ISA's key block it takes.
struct TileSize {
  bool wide;
  int twelfths;
};

// The best size first. Wide tiles of fewer keys go before narrow ones: heads of 256 keep AVX2's 24 lanes so, 77 % of the peak, with 8
// lanes 65 (Zen 3). Narrow ones take fewer keys where heads wider than 512 leave no room on AVX-512: with D 576 and Dv 512, blocks
// of 96, 72, 48 and 32 keys reach 80, 79, 78 and 76 % (Zen 5).
constexpr TileSize tile_sizes[] = {{true, 12}, {true, 9}, {true, 6}, {false, 12}, {false, 9}, {false, 6}, {false, 4}};

// The block of the first size that fits. D alone decides, for the grid of sums: up to 512 values count as deep as D, beyond as 512;
// values wider than 512 count as the widest.
std::int64_t key_block_of(const Kernels& kernels, std::int64_t depth, std::int64_t value_depth) {
  const std::int64_t usual = 512, values = value_depth > usual ? largest_head : smaller(depth, usual);
  std::int64_t block = 0;
  for (const TileSize& size : tile_sizes) {
    block = kernels.key_block * size.twelfths / 12 / 8 * 8;
    const std::int64_t tile = size.wide ? kernels.wide_tile : kernels.narrow_tile;
    if (TileScratch::bytes(tile, block, depth, round_up(values, kernels.lanes)) <= most_tile_bytes(depth, values)) break;
  }
  return block;
}

void plan_tiles(const Kernels& kernels, const AttentionShape& shape, AttentionPlan* plan) {
  plan->key_block = key_block_of(kernels, shape.depth, shape.value_depth);
  plan->span = 32 * kernels.key_block / plan->key_block * plan->key_block;
  plan->value_stride = round_up(shape.value_depth, kernels.lanes);
  const std::int64_t rows = shape.queries * (shape.average_weights ? 1 : shape.heads_per_kv_head);
  plan->tile = rows <= kernels.narrow_tile ? kernels.narrow_tile : kernels.wide_tile;
  plan->tile_bytes = tile_bytes(*plan, shape.depth);
  if (plan->tile_bytes > most_tile_bytes(shape.depth, shape.value_depth)) {
    plan->tile = kernels.narrow_tile;
    plan->tile_bytes = tile_bytes(*plan, shape.depth);
  }
  plan->tiles = steps_to(rows, plan->tile);
  const bool totals = shape.keys > plan->span || shape.ring;
  if (totals) plan->tile_bytes += aligned_bytes(static_cast<std::size_t>(plan->tile * plan->value_stride) * sizeof(double));
}

// How many queries a sequence that decodes has at most. 0: none decodes.
std::int64_t decode_queries(const Kernels& kernels, const AttentionShape& shape) {
  if (!shape.may_decode || shape.heads_per_kv_head > decode_rows) return 0;
  const std::int64_t few = larger(most_decoded_rows(kernels, shape.keys, shape.depth + shape.value_depth) / shape.heads_per_kv_head, 1);
  if (shape.mixed) return larger(smaller(shape.queries, few), 1);
  return shape.queries <= few ? shape.queries : 0;
}

// Decoding: chunks of keys are tasks.
void plan_decoding(const Kernels& kernels, const AttentionShape& shape, std::int64_t queries, AttentionPlan* plan) {
  plan->fetched_ahead = decode_ahead(kernels);
  plan->fetches_far = zen_1_to_4();
  plan->chunks = shape.keys > 0 ? steps_to(shape.keys, decode_chunk) : 1;
  plan->slots = shape.packed_keys > 0 ? shape.packed_keys / decode_chunk + shape.batch : shape.batch * plan->chunks;
  plan->decode_rows = shape.heads_per_kv_head * queries;
  plan->shared_bytes = decode_partial_bytes(plan->slots, shape.kv_heads * plan->decode_rows, plan->value_stride);
  plan->thread_bytes = DecodeScratch::bytes(plan->decode_rows, round_up(shape.depth, kernels.lanes), plan->value_stride);
  plan->parts = plan->chunks;
}

// Decides which keys and values are copied. Returns the bytes that a thread may need for the copies, or for widened rows.
std::size_t plan_copies(const Kernels& kernels, const AttentionShape& shape, int threads, AttentionPlan* plan) {
  if (shape.in_pairs) {
    plan->copy_keys = plan->copy_values = true;
    const auto bytes = [](std::int64_t rows, std::int64_t words) { return aligned_bytes(static_cast<std::size_t>(rows) * static_cast<std::size_t>(words) * sizeof(float)); };
    return bytes(shape.keys, words_of_keys(shape.depth)) + bytes(steps_to(shape.keys, 2), words_of_values(shape.value_depth));
  }
  // Rows 4 KiB apart share sets of L1, and long strides cost TLB entries: one copy, read S / tile times, pays from there on. A cache's rows
  // lie side by side, and maybe in pages, which copies do not know.
  const auto pays = [&](std::int64_t row_stride, std::int64_t depth) {
    const std::int64_t page = 1024;
    return shape.source != KeySource::cached && shape.queries * shape.heads_per_kv_head > kernels.narrow_tile && row_stride != depth && (shape.keys >= 512 || row_stride % page == 0);
  };
  plan->copy_keys = pays(shape.key_row_stride, shape.depth);
  plan->copy_values = (shape.value_stride != 1 && shape.value_depth > 1) || pays(shape.value_row_stride, shape.value_depth);
  // A tile reads a few columns of values at a time: in panels these lie in a row, and do not crowd a few sets of L1 (Zen 3: D 64,
  // S = 1500 takes 3 % less, D 128, S = 2048 4 %). Copies pay from 1024 keys on: with 512, a layer takes 0.4 % less and attention alone
  // 0.5 % more. A task takes all tiles of a copy: values are copied where the heads leave no thread without one.
  const bool panels = kernels.value_panel > 0 && shape.value_depth % kernels.value_panel == 0 && plan->slots == 0 && shape.source != KeySource::cached;
  const bool may_copy = panels && shape.source == KeySource::given && shape.keys >= 1024 && plan->tiles >= 8;
  if (may_copy && (shape.average_weights ? 1 : shape.kv_heads) % threads == 0) plan->copy_values = true;
  if (panels && (plan->copy_values || shape.source == KeySource::projected)) plan->value_panel = kernels.value_panel;
  const auto bytes = [&](std::int64_t depth) { return aligned_bytes(static_cast<std::size_t>(shape.keys) * static_cast<std::size_t>(depth) * sizeof(float)); };
  if (shape.stored) return widened_floats * sizeof(float);
  return (plan->copy_keys ? bytes(shape.depth) : 0) + (plan->copy_values || may_copy ? bytes(shape.value_depth) : 0);
}

}  // namespace

std::int64_t most_decoded_rows(const Kernels& kernels, std::int64_t keys, std::int64_t width) {
  return smaller(kernels.few_rows[keys >= many_keys], smaller(keys, width) / 16);
}

AttentionPlan plan_attention(const Kernels& kernels, const AttentionShape& shape, int threads) {
  AttentionPlan plan = {};
  plan.heads_per_kv_head = shape.heads_per_kv_head;
  plan_tiles(kernels, shape, &plan);
  const std::int64_t decoded = decode_queries(kernels, shape);
  if (decoded > 0) plan_decoding(kernels, shape, decoded, &plan);
  if (decoded != 1 || shape.mixed) {  // some or all take tiles
    const std::size_t bytes = plan.tile_bytes + plan_copies(kernels, shape, threads, &plan);
    if (bytes > plan.thread_bytes) plan.thread_bytes = bytes;
    plan.whole_sequences = plan.copy_keys || plan.copy_values;
    plan.all_kv_heads = shape.average_weights;
    plan.parts = larger(plan.whole_sequences ? 1 : plan.tiles, plan.chunks);
  } else {
    plan.all_kv_heads = threads == 1;  // what heads have in common is found once: 5 % of 12 heads of 64 over 128 keys
  }
  plan.tasks = shape.batch * (plan.all_kv_heads ? 1 : shape.kv_heads) * plan.parts;
  return plan;
}

std::int64_t most_keys(const KeyValueCacheConfig& cache) { return cache.capacity + (cache.ring ? decode_chunk : 0); }

}  // namespace attend
