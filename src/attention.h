// The attention of one call: tasks that fill tiles and run them over the key blocks.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "bias.h"
#include "kernels/kernels.h"
#include "keys.h"
#include "memory.h"
#include "parallel.h"
#include "plan.h"
#include "visibility.h"

namespace attend {

/// A (B, H, n, D) operand by strides alone; null data: absent.
template <class Element>
struct Operand {
  Element* data = nullptr;
  std::int64_t batch_stride = 0, head_stride = 0, row_stride = 0, stride = 1;
  Element* row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return data + b * batch_stride + h * head_stride + i * row_stride;
  }
};

/// softmax(scale q k^T, as far as visible) v, for every sequence, head and query.
struct Attention {
  const Kernels* kernels = nullptr;
  std::int64_t heads = 1, groups = 1, depth = 0, value_depth = 0;  // groups: key/value heads
  Operand<const float> q;
  PagedRows<const float> k, v;
  Operand<float> output, weights, lse;
  bool average_weights = false;
  float scale = 1.0f, softcap = 0.0f;
  Visibility visibility;
  Biases biases;
  float dropout_rate = 0.0f;  // 0: none
  std::uint64_t dropout_seed = 0;

  const Sequences& sequences() const { return visibility.sequences; }
};

/// The entries of a batch, or the sequences that the options say are packed.
Sequences sequences_of(const AttentionOptions& options, std::int64_t batch, std::int64_t queries, std::int64_t keys);

/// What the options of a call say of it, but for its operands and the table of a relative bias.
void apply_options(const AttentionOptions& options, const LengthsView& valid_lens, Attention* attention);

/// options.attention_weights as an operand: (B, H, L, S), or (B, L, S) of averaged ones.
Operand<float> weights_output(const AttentionOptions& options);

AttentionShape attention_shape(const Attention& attention);

/// An attention with its plan and its memory: plan.bytes(threads) bytes, 64-byte aligned.
struct AttentionCall {
  Attention attention;
  AttentionPlan plan;
  char* memory;
};

/// Puts the stages of a call, at most three, into `stages` and returns their number: tiles, and chunks of the keys
/// of sequences that decode; where there are such, those merged, and their weights if they are asked for.
int add_attention_stages(const AttentionCall& call, Stage* stages);

/// What a query sees beside its range, and what is added to its scores.
void describe_lane(const Attention& attention, std::int64_t b, std::int64_t head, std::int64_t query, BiasLane* lane);
BiasStrides bias_strides(const Attention& attention);

/// Writes the rows of padding, those from sequences.query_count(b) on: 0, and the LSE of a row that sees no key.
void write_padding(const Attention& attention);

/// One query of a tile: where it reads and writes.
struct Lane {
  const float* query;
  float* output;
  float* weights;  // null where they are not asked for
  float* lse;
  std::int64_t index, head;
};

/// A tile's memory: everything its kernels touch but keys, values and outputs.
struct TileScratch {
  float* queries;        // [D][tile]
  float* weights;        // [key block][tile]
  std::uint32_t* visible;  // [key block], a bit for each lane
  float* bias;           // [key block][tile]
  float* output;         // [tile][Dv rounded up]
  double* sum;           // [tile], as all that follow
  double* level;         // while a lane moves to another frame: where its sum stands in it, log2
  float* maximum;        // what sums and outputs are relative to, with the lane's reference bias: together its frame
  float* start;          // what scores start from: the maximum, or 0 while the lane moves to another frame
  float* block_sum;
  float* block_maximum;
  float* factors;
  float* last_maximum;   // behind the output, while the weights are written, as the two that follow
  float* last_factors;
  BiasReference* last_references;
  float** rows;          // queries, then outputs, then weights
  Lane* lanes;
  BiasLane* bias_lanes;  // what each lane sees
  double* totals;        // [tile][Dv rounded up], not part of the tile: outputs of the spans before this one
  std::uint32_t seen;    // bits of those that have seen a key
  std::uint32_t unseen;  // and of those whose sum is still 0
  bool described;        // whether bias_lanes say more than the lanes' ranges
  bool folded;           // whether totals holds anything
  bool referenced;       // some lane's reference has an additive bias: blocks that add nothing differ from it

  static std::size_t bytes(std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                           std::int64_t value_stride);
  static TileScratch at(void* memory, std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                        std::int64_t value_stride);
};

}  // namespace attend
