// The attention of one call: tasks that fill tiles and run them over the key blocks.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/kernels.h"
#include "memory.h"
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

/// softmax(scale q k^T, as far as visible) v, for every entry, head and query.
struct Attention {
  const Kernels* kernels;
  std::int64_t batch, heads, queries, keys, depth, value_depth;
  Operand<const float> q, k, v;
  Operand<float> output, weights;
  float scale;
  Visibility visibility;
  float dropout_rate;  // 0: none
  std::uint64_t dropout_seed;
};

AttentionShape attention_shape(const Attention& attention);

/// Runs task `task` of plan.tasks; scratch: plan.thread_bytes bytes, 64-byte aligned, this task's alone.
void run_attention_task(const Attention& attention, const AttentionPlan& plan, std::int64_t task,
                        void* scratch);

/// One query of a tile: where it reads and writes, and what it sees.
struct Lane {
  const float* query;
  float* output;
  float* weights;  // null where they are not asked for
  std::int64_t index;
  KeyRange range;
};

/// A tile's memory: everything its kernels touch but keys, values and outputs.
struct TileScratch {
  float* queries;        // [D][tile]
  float* weights;        // [key block][tile]
  float* bias;           // [key block][tile]
  float* output;         // [tile][Dv rounded up]
  float* maximum;        // [tile], as the seven that follow
  float* start;          // what scores start from: the maximum before it moved
  float* sum;
  float* block_sum;
  float* block_maximum;
  float* factors;
  float* last_maximum;   // behind the output, while the weights are written
  float* last_factors;
  const float** query_rows;
  float** rows;          // outputs, then weights
  Lane* lanes;

  static std::size_t bytes(std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                           std::int64_t value_stride);
  static TileScratch at(void* memory, std::int64_t tile, std::int64_t key_block, std::int64_t depth,
                        std::int64_t value_stride);
};

}  // namespace attend
