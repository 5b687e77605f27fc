// What one attention computes: its operands, scores, biases and visibility.
#pragma once

#include <cstdint>

#include "data/biases.h"
#include "data/rows.h"
#include "data/visibility.h"
#include "kernels/cache_kernels.h"
#include "kernels/kernels.h"
#include "kernels/products.h"

namespace attend {

/// Where keys and values are: in the caller's arrays; in the call's workspace, where its projections write them; in a cache.
enum class KeySource { given, projected, cached };

/// softmax(scale q k^T, as far as visible) v, for every sequence, head and query.
struct Attention {
  const Kernels* kernels = nullptr;
  const CoreKernels* core = nullptr;  // of bfloat16; null: all is float32
  std::int64_t heads = 1, kv_heads = 1, depth = 0, value_depth = 0;
  Rows<const float> q;
  PagedRows<const float> k, v;
  KeySource source = KeySource::given;
  const CacheKernels* stored = nullptr;  // of a cache that is not float32
  const PagedRows<float>*k_scales = nullptr, *v_scales = nullptr;  // the scales of int8
  std::int64_t value_panel_stride = 0;  // from one panel of columns to the next; values that stay rows: unused
  Rows<float> output, weights, lse;
  bool average_weights = false;
  mutable int poisoned = 0;  // a tile found hidden values that are not finite: the next ones count on them. Read and written atomically
  float scale = 1.0f, softcap = 0.0f;
  Visibility visibility;
  Biases biases;
  float dropout_rate = 0.0f;  // 0: none
  std::uint64_t dropout_seed = 0;

  /// A score, in log2 units, is (query times this) . key; with a cap, the cap times tanh of that.
  float query_scale() const { return softcap > 0.0f ? scale / softcap : scale * log2_e; }
  float cap() const { return softcap * log2_e; }

  /// What a query and a key have columns of, floats or words of bfloat16.
  std::int64_t score_depth() const { return core != nullptr ? (depth + 1) / 2 : depth; }

  const Sequences& sequences() const { return visibility.sequences; }

  /// Writes the masks and biases of a query into a lane: all of LaneRules but the range and the frame.
  LaneRules rules_of(std::int64_t b, std::int64_t head, std::int64_t query) const;
  SequenceRules sequence_rules(std::int64_t b) const;

  /// Writes zeros as the output of a row that sees no key, and as its weights (null: none are asked for; averages go to head 0).
  void write_empty_row(std::int64_t head, float* row, float* row_weights) const;
  /// The LSE of a row that sees no key: -inf, or its sink.
  float empty_lse(std::int64_t head) const { return biases.sinks.absent() ? -infinity : biases.sinks.at(head); }
};

}  // namespace attend
