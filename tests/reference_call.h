// A call of attend::attention as the reference computes it, in doubles.
#pragma once

#include <algorithm>
#include <cstdint>

#include "attend/attend.hpp"
#include "reference/reference.h"

namespace attend {

/// Batch entry b of a view, whose first axis is the batch; a first axis of size 1 repeats.
template <class Element>
View<Element> entry_of(View<Element> view, std::int64_t b) {
  if (view.absent()) return view;
  if (view.sizes[0] != 1) view.data += b * view.strides[0];
  view.sizes[0] = 1;
  return view;
}

/// Puts an entry's part behind those before it.
inline void append_entry(const reference::Array& entry, reference::Array* all) {
  if (all->absent()) {
    *all = entry;
    return;
  }
  all->shape[0] += entry.shape[0];
  all->values.insert(all->values.end(), entry.values.begin(), entry.values.end());
}

/// The options of batch entry b for the reference, which has one offset alone.
///
/// position_bias (B, H, L, S) is what options.relative_position_bias adds, looked up already. Neither trees,
/// packed sequences nor dropout are translated.
inline reference::AttentionOptions reference_options(const AttentionOptions& options, const LengthsView& valid_lens, std::int64_t b,
                                                     const reference::Array& position_bias = {}) {
  reference::AttentionOptions same;
  if (options.scale != 0.0f) same.scale = static_cast<double>(options.scale);
  same.softcap = options.softcap;
  same.valid_lens = entry_of(valid_lens, b);
  same.causal = options.causal;
  same.offset = options.offset;
  if (!options.offsets.absent()) same.offset += options.offsets.data[b * options.offsets.strides[0]];
  same.window_left = options.window_left;
  same.window_right = options.window_right;
  same.mask = options.mask.rank == 4 ? entry_of(options.mask, b) : options.mask;
  if (!options.key_padding_mask.absent()) same.key_padding_mask = entry_of(options.key_padding_mask, b);
  same.mask_hides = options.mask_hides;
  same.valid_starts = entry_of(options.valid_starts, b);
  same.additive_mask = options.additive_mask.rank == 4 ? entry_of(options.additive_mask, b) : options.additive_mask;
  same.empty_rows = options.empty_rows;
  same.alibi_slopes = options.alibi_slopes;
  same.sinks = options.sinks;
  if (!position_bias.absent()) {
    same.position_bias = reference::Array::zeros({position_bias.size(1), position_bias.size(2), position_bias.size(3)});
    std::copy_n(position_bias.row(b, 0, 0), same.position_bias.count(), same.position_bias.values.begin());
  }
  return same;
}

/// What attend::attention shall give for these arguments: its output, weights and lse.
inline reference::AttentionResult reference_attention(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                                                      const LengthsView& valid_lens, const AttentionOptions& options,
                                                      const reference::Array& position_bias = {}) {
  reference::AttentionResult result;
  for (std::int64_t b = 0; b < q.sizes[0]; ++b) {
    const reference::AttentionResult entry = reference::attention(entry_of(q, b), entry_of(k, b), entry_of(v, b),
                                                                  reference_options(options, valid_lens, b, position_bias));
    append_entry(entry.output, &result.output);
    append_entry(entry.weights, &result.weights);
    append_entry(entry.lse, &result.lse);
  }
  return result;
}

}  // namespace attend
