// Finds the projections of one attention layer in a .safetensors file by their names.
#pragma once

#include "io/safetensors.h"

namespace attend::io {

/// The weights of a layer, in the shapes that MultiHeadAttention::make takes.
struct LayerWeights {
  /// key_size, query_size, value_size, num_hiddens (rows of the query projection), output_size, bias
  /// and qk_norm (whether there is any); the rest is the caller's to fill in.
  MultiHeadAttentionConfig config;
  /// Rows of the key and value projections: num_hiddens, or a divisor of it where several query
  /// heads share one key/value head.
  std::int64_t key_value_hiddens = 0;
  /// Views into `tensors`; a bias that the file lacks is absent.
  MultiHeadAttentionWeights weights;
  /// "D2L", "torch", "torch (separate)", "BERT", "Llama" or "CLIP".
  const char* convention = "";
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
///
/// Each X.weight may have an X.bias, and the layer norms of its heads, q_norm.weight and k_norm.weight
/// (head width,). If none matches, the message names up to three prefixes under
/// which one does, the nearest first. Sizes are checked against each other.
Status find_layer(const SafetensorsFile& file, const std::string& prefix,
                  LayerWeights* layer) noexcept;

}  // namespace attend::io
