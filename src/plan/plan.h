// Plans: from shapes to tile sizes, task counts and bytes of workspace. Arithmetic, but for how far this CPU fetches ahead.
//
// Workspace of attention: the call itself, 1 KiB, and the table of a relative bias, as below. For each thread: a tile; its totals,
// [lanes][Dv] doubles, where S is more than a span; (D + Dv) S floats where keys or values are, or may be, copied; in bfloat16
// W S + Vw (S + 1) / 2, W half of D and Vw Dv, rounded up to 16; 16 KiB where a cache is not float32, for rows as floats. Where sequences have
// one query, or few that decode, R of them: R H/G (D + Dv + 512) + 512 floats and as many pointers a thread, R H (Dv + 14) a chunk of
// 1024 keys, D and Dv rounded up to whole vectors, R H/G but for Dv to a multiple of 4 where it is not 1.
// Workspace of a layer's forward: q B H L D, k and v B G S D each, heads B L H D, as floats, each rounded up to 64 bytes; 3 N + 2 row
// counts for N sequences (entries, or packed ones); a relative bias's table, H (2 (distance + lanes) + 1) floats; attention's for each
// thread; the call itself, 3.25 KiB. Over a cache of float32 k and v take nothing, and over any there are B + 1 row counts more. Where a
// product of low precision takes converted rows: those of B L queries, B S keys and values each, and B L heads, R E + 64 bytes a row, R
// bytes an element, R E rounded up to 64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "data/attention.h"
#include "data/layer.h"
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
  bool all_kv_heads;           // a task takes all heads, for they share an output
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

/// The keys of a cache that a plan counts on: a ring's may begin and end within a chunk.
std::int64_t most_keys(const KeyValueCacheConfig& cache);

/// Room for a Forward: what the tasks of a layer's call share.
inline constexpr std::size_t forward_bytes = 3328;

/// Where the parts of a layer's workspace lie, in bytes from its start.
struct ForwardPlan {
  AttentionPlan attention;
  std::size_t queries, keys, values, heads;   // projected; [B][H or G][n][D], heads [B][L][H D]
  std::size_t converted[projection_count];    // rows of each projection's input, in the format of a product of low precision
  std::size_t query_rows, key_rows;           // int64 [N + 1]: rows of the sequences before
  std::size_t output_rows;                    // int64 [N + 1]: rows of the entries before, padding included; only over a cache
  std::size_t first_keys;                     // int64 [N]: the first row of keys that is projected
  std::size_t relative;                       // T5's bias by head and distance
  std::size_t attention_memory;               // attention.bytes
  std::size_t forward;                        // forward_bytes
  std::size_t bytes;
};

/// `attention`: the shape of the layer's heads, its batch the number of sequences; `relative_floats`: the size of a relative bias's
/// table; `threads` may be fewer than the options ask for. False where the sizes overflow.
bool plan_forward(const Kernels& kernels, const LayerSizes& sizes, const PackedProjection (&projections)[projection_count], const ForwardShape& shape,
                  const AttentionShape& attention, std::int64_t relative_floats, int threads, ForwardPlan* plan);

/// Rows of a projection that one task takes, about as many each: half of a 512 KiB L2 holds them beside two panels of weights. (Zen 3:
/// with twice as many, and the rest for the last task, layers took 0.5 to 1 % longer.)
std::int64_t projection_rows(const Kernels& kernels, const PackedProjection& projection, std::int64_t rows);

/// Multiply-adds of a forward in which every key is visible; the keys that a cache has before shape.keys count too.
double forward_work(const MultiHeadAttentionConfig& config, const ForwardShape& shape, std::int64_t keys_before = 0);

/// Below this many multiply-adds, waking a thread (11 us) costs more than it brings.
inline constexpr double least_threaded_work = 1e6;

}  // namespace attend
