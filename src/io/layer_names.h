// Finds the weights of one attention layer in a .safetensors file by their names.
#pragma once

#include "io/safetensors.h"

#include <optional>

namespace attend::io {

/// The weights of a layer, in the shapes that MultiHeadAttention::make and a call's options take.
struct LayerWeights {
  /// key_size, query_size, value_size, num_hiddens (rows of the query projection), output_size, bias
  /// (whether there is any), qk_norm, norm_queries and norm_keys (what there is a weight for); the
  /// rest is the caller's to fill in.
  MultiHeadAttentionConfig config;
  /// Rows of the key and value projections: num_hiddens, or a divisor of it where several query
  /// heads share one key/value head.
  std::int64_t key_value_hiddens = 0;
  /// Views into `tensors`; a bias that the file lacks is absent.
  MultiHeadAttentionWeights weights;
  std::optional<float> scale;  // of the scores; absent: 1 / sqrt(D)
  FloatTensor sinks;           // (H,); absent if the file lacks it
  FloatTensor relative_bias;   // the table of T5's bias, (buckets, H); absent if the file lacks it
  /// "D2L", "torch", "torch (separate)", "BERT", "Llama", "CLIP" or "T5".
  const char* convention = "";
  /// Names of all other tensors under the prefix. What they change is not in the layer, which passes
  /// for the file's only if they change nothing.
  std::vector<std::string> unused;
  std::vector<FloatTensor> tensors;  // they may view the file, which must outlive them
};

/// Finds the layer whose names begin with `prefix` (a trailing dot is optional; "" is the whole
/// file) by exactly one of the conventions:
///
///   D2L               W_q.weight  W_k.weight  W_v.weight  W_o.weight
///   torch             in_proj_weight (3E, E)  out_proj.weight, with in_proj_bias (3E,)
///   torch (separate)  q_proj_weight  k_proj_weight  v_proj_weight  out_proj.weight, the same bias
///   BERT              self.query.weight  self.key.weight  self.value.weight  output.dense.weight
///   Llama             q_proj.weight  k_proj.weight  v_proj.weight  o_proj.weight
///   CLIP (Whisper)    q_proj.weight  k_proj.weight  v_proj.weight  out_proj.weight
///   T5                q.weight  k.weight  v.weight  o.weight, without biases; scores are not scaled
///
/// Each other X.weight may have an X.bias. Beside them may be RMS norms of the heads, q_norm.weight and
/// k_norm.weight (head width,); sinks (H,); and relative_attention_bias.weight (buckets, H). If no
/// convention matches, the message names up to three prefixes under which one does, the nearest first.
/// Sizes are checked against each other, but for the number of heads.
Status find_layer(const SafetensorsFile& file, const std::string& prefix,
                  LayerWeights* layer) noexcept;

}  // namespace attend::io
