// What one attention computes: its operands, scores, biases and visibility.
#pragma once

#include <cstdint>

#include "data/biases.h"
#include "data/rows.h"
#include "data/visibility.h"
#include "kernels/kernels.h"

namespace attend {

/// Where keys and values are: with the caller; in memory of the call's own, which its projections write as the plan says; in
/// a cache, which is read in place.
enum class KeySource { given, projected, cached };

/// softmax(scale q k^T, as far as visible) v, for every sequence, head and query.
struct Attention {
  const Kernels* kernels = nullptr;
  std::int64_t heads = 1, kv_heads = 1, depth = 0, value_depth = 0;
  Rows<const float> q;
  PagedRows<const float> k, v;
  KeySource source = KeySource::given;
  std::int64_t value_panel_stride = 0;  // where values come in panels of columns: from one to the next
  Rows<float> output, weights, lse;
  bool average_weights = false;
  float scale = 1.0f, softcap = 0.0f;
  Visibility visibility;
  Biases biases;
  float dropout_rate = 0.0f;  // 0: none
  std::uint64_t dropout_seed = 0;

  /// Scores are log2: of the product of a query times this and a key, or where there is a cap of tanh of that, times the cap.
  float query_scale() const { return softcap > 0.0f ? scale / softcap : scale * log2_e; }
  float cap() const { return softcap * log2_e; }

  const Sequences& sequences() const { return visibility.sequences; }

  /// What a query sees beside its range, and what is added to its scores: all but the range and the frame of a lane.
  LaneRules rules_of(std::int64_t b, std::int64_t head, std::int64_t query) const;
  SequenceRules sequence_rules(std::int64_t b) const;

  /// What a row gives that sees no key: zeros as its output, and as its weights, where they are asked for (else null; averaged ones are
  /// those of head 0).
  void write_empty_row(std::int64_t head, float* row, float* row_weights) const;
  /// Its LSE: -inf, or its sink.
  float empty_lse(std::int64_t head) const { return biases.sinks.absent() ? -infinity : biases.sinks.at(head); }
};

}  // namespace attend
