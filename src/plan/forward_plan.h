// The plan of a layer's call: where what it projects lies in the workspace, and how many rows a task takes. Pure arithmetic.
//
// Workspace of a layer's forward: q B H L D, k and v B G S D each, heads B L H D, as floats, each rounded up to 64 bytes; 3 N + 2 row
// counts for N sequences (entries, or packed ones); a relative bias's table, H (2 (distance + lanes) + 1) floats; attention's for each
// thread; the call itself, 3.25 KiB. Over a cache of float32 k and v take nothing, and over any there are B + 1 row counts more. Where a
// product of low precision takes converted rows: those of B L queries, B S keys and values each, and B L heads, R E + 64 bytes a row, R
// bytes an element, R E rounded up to 64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.hpp"
#include "data/layer.h"
#include "plan/plan.h"

namespace attend {

/// Room for a Forward: what the tasks of a layer's call share.
inline constexpr std::size_t forward_bytes = 3392;

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

/// Multiply-adds of a forward in which every key is visible, with those that reading counts for; the keys that a cache has before shape.keys count too.
double forward_work(const MultiHeadAttentionConfig& config, const ForwardShape& shape, std::int64_t keys_before = 0);

}  // namespace attend
