// Plans: from shapes to tile sizes, task counts and bytes of workspace. Arithmetic, but for how far this CPU fetches ahead.
//
// Workspace of attention: the call itself, 1 KiB, and the table of a relative bias, as below. For each thread: a tile; its totals,
// [lanes][Dv] doubles, where S is more than a span; (D + Dv) S floats where keys or values are, or may be, copied; in bfloat16
// W S + Vw (S + 1) / 2, W half of D and Vw Dv, rounded up to 16; 16 KiB where a cache is not float32, for rows as floats. Where sequences have
// one query, or few that decode, R of them: R H/G (D + Dv + 512) + 512 floats and as many pointers a thread, R H (Dv + 14) a chunk of
// 1024 keys, D and Dv rounded up to whole vectors, R H/G but for Dv to a multiple of 4 where it is not 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "data/attention.h"
#include "kernels/kernels.h"

namespace attend {

/// How the attention of one call is cut up. A tile's scratch is at most 64 KiB for D + Dv <= 512, else 80; over a cache that is not float32
/// 16 KiB more.
struct AttentionPlan {
  std::int64_t tile;           // query lanes
  std::int64_t key_block;      // the step of the absolute grid of key blocks: the order of sums
  std::int64_t span;           // keys whose blocks are one chain of sums; a tile of more keys adds spans up in double
  std::int64_t value_stride;   // Dv rounded up to whole vectors
  std::int64_t tiles;          // for each sequence and key/value head
  bool copy_keys, copy_values; // once a sequence, into the thread's workspace
  bool whole_sequences;        // a task takes all tiles, for a copy serves them
  bool all_kv_heads;           // a task takes all heads: they share an output, or one thread decodes
  int value_panel;             // values are projected, or copied, into panels [S][value_panel]; 0: they stay rows
  std::int64_t heads_per_kv_head;
  std::int64_t parts;          // tasks of each sequence and key head, or of all heads: its tiles or its chunks
  std::int64_t tasks;
  std::int64_t fetched_ahead;  // floats that decoding fetches ahead on this CPU
  bool fetches_far;            // or far_ahead
  std::int64_t decode_rows;    // queries times heads that share keys, of the largest sequence that decodes
  std::int64_t chunks, slots;  // chunks of the longest sequence that decodes, and of all; 0: no sequence does
  std::size_t tile_bytes;      // a tile, and its totals where keys take several spans
  std::size_t shared_bytes, thread_bytes;

  std::size_t bytes(int threads) const { return shared_bytes + thread_bytes * static_cast<std::size_t>(threads); }
};

/// Keys of a chunk: decoding cuts a sequence's keys into chunks of the absolute grid, which threads share.
inline constexpr std::int64_t decode_chunk = 1024;

struct AttentionShape {
  std::int64_t batch, kv_heads;
  std::int64_t heads_per_kv_head;
  std::int64_t queries, keys, depth, value_depth;
  std::int64_t key_row_stride, value_row_stride, value_stride;
  KeySource source;
  bool stored;                 // in a cache that is not float32: tiles widen its rows, a few at a time
  bool ring;                   // the cache is a ring: its keys may begin and end within any span
  bool average_weights;
  bool may_decode;             // rows that see no key give 0, not the mean of all values
  bool mixed;                  // sequences differ in their queries: any may have a single one
  std::int64_t packed_keys;    // rows of keys in all, where sequences are packed; else 0
  bool in_pairs;               // attention in bfloat16: keys and values are copied, rounded
};

/// How many rows a sequence of several queries that decodes has at most, queries times heads that share keys: `keys` that any of them sees,
/// `width` D + Dv.
/// More rows come nearer to filling a tile's lanes, which do no work beyond a row's; fewer keys do not make up for what a row costs.
std::int64_t most_decoded_rows(const Kernels& kernels, std::int64_t keys, std::int64_t width);

/// Where a thread would wait for another's copy, values are not copied into panels: neither bits nor bytes a thread depend on `threads`.
AttentionPlan plan_attention(const Kernels& kernels, const AttentionShape& shape, int threads = 1);

/// Rows that reading weights, or the keys and values of each head, counts for beside a call's own in what is worth sharing: one row of 576
/// through 1536 columns takes 64 us in float32, where 16 rows of 192 through 192, two thirds of its multiply-adds, take 7 (Xeon, 480 MiB of L3).
inline constexpr double reading_rows = 2;

/// The keys of a cache that a plan counts on: a ring's may begin and end within a chunk.
std::int64_t most_keys(const KeyValueCacheConfig& cache);

}  // namespace attend
