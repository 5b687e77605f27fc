// The attention core on given q, k and v, with every feature that changes what attends to what.
#pragma once

#include <optional>

#include "reference/array.h"

namespace attend {
namespace reference {

/// What a call of attention may ask for; the defaults are plain softmax(q k^T / sqrt(D)) v.
///
/// Masks broadcast right-aligned to (B, H, L, S): (S,), (L, S), (B, 1, 1, S), ...
struct AttentionOptions {
  std::optional<double> scale;  // factor of the scores; absent: 1 / sqrt(D)
  double softcap = 0.0;         // c > 0: scores become c tanh(s / c); 0: none

  // What a query sees. Query i stands at position i + offset of its sequence, key j at position j.
  LengthsView valid_lens;          // absent, (B,) or (B, L): keys past the length are hidden
  IndexView valid_starts;          // absent, or (B,): keys before the start are hidden
  bool causal = false;             // key j is visible iff j <= i + offset
  std::int64_t offset = 0;         // also where windows and ALiBi measure from; may be negative
  std::int64_t window_left = -1;   // key j is visible iff j >= i + offset - window_left; -1: all
  std::int64_t window_right = -1;  // key j is visible iff j <= i + offset + window_right; -1: all
  Array mask;                      // bool: not 0 = may attend
  Array key_padding_mask;          // (B, S), bool: not 0 = may be attended to
  bool mask_hides = false;         // turns both masks about: not 0 = hidden
  EmptyRows empty_rows = EmptyRows::zero;  // what a row gives that sees no key

  // What is added to the scores, after softcap. -inf in the first two hides the key.
  Array additive_mask;
  Array position_bias;  // (H, L, S), as T5's
  Array alibi_slopes;   // (H,): - slope * |i + offset - j|

  // Where queries and keys of a layer with a rotary embedding stand, instead of i + offset and j.
  IndexView query_positions;  // absent, (L,) or (B, L)
  IndexView key_positions;    // absent, (S,) or (B, S)

  Array sinks;                // (H,): a logit in the softmax's denominator that has no value
  Array dropout_multipliers;  // (B, H, L, S): 0 for a dropped weight, else 1 / (1 - p)
};

struct AttentionResult {
  Array output;   // (B, H, L, Dv)
  Array weights;  // (B, H, L, S), before dropout
  Array lse;      // (B, H, L): log of the sum of exp(score), sink included; -inf (or the sink)
                  // for a row that sees no key, whatever empty_rows says

  // What the error bounds of bounds.h ask for, (B, H, L) but for one; the maxima are over finite numbers.
  Array score_magnitude;  // S': the largest key_magnitude of the visible keys whose weight is at least 2^-24 of the
                          // largest weight, a sink's included
  Array key_magnitude;    // (B, H, L, S): |scale| sum|q_d k_jd| + softcap + |biases of j - biases of m|, m the key with the
                          // largest score; 0 where j is hidden
  Array value_magnitude;  // the largest |v_jd| that enters the row, times its dropout multiplier
  Array visible_keys;     // how many keys the row sees
};

/// Attention of q (B, H, L, D) to k (B, G, S, D) and v (B, G, S, Dv); G divides H, and query head h
/// reads key/value head h / (H/G).
///
/// For one row: s_j = scale q.k_j; softcap; + biases; hidden keys removed; softmax; dropout; times
/// v. Biases are taken as differences to those of the key m with the largest score, source by source, before they are
/// added: a mask of -1e9 on all keys would leave but nine digits of a double to the rest. Hidden keys and values take no part
/// in the arithmetic, so that NaN there reaches nothing. A row that sees no key gives output 0 and weights 0, or with
/// EmptyRows::uniform weights 1/S on all S. To check some rows of a big case, hand in a view of one row and its position as offset.
AttentionResult attention(const Array& q, const Array& k, const Array& v,
                          const AttentionOptions& options = {});

/// Whether query i of head h in batch entry b may attend to key j.
bool visible(const AttentionOptions& options, std::int64_t b, std::int64_t h, std::int64_t i,
             std::int64_t j);

/// All biases of the score of query i, head h, batch entry b with key j; relative to the biases of key `reference`, if that is not
/// negative.
double score_bias(const AttentionOptions& options, std::int64_t b, std::int64_t h, std::int64_t i,
                  std::int64_t j, std::int64_t reference = -1);

}  // namespace reference
}  // namespace attend
