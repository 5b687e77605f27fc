// What a config leaves at 0.
#include "data/layer_sizes.h"

namespace attend {

LayerSizes::LayerSizes(const MultiHeadAttentionConfig& config)
    : heads(config.num_heads),
      kv_heads(config.num_kv_heads > 0 ? config.num_kv_heads : config.num_heads),
      depth(config.head_dim > 0 ? config.head_dim : config.num_hiddens / config.num_heads),
      inputs{config.query_size, config.key_size, config.value_size, heads * depth},
      outputs{heads * depth, kv_heads * depth, kv_heads * depth, config.output_size > 0 ? config.output_size : config.num_hiddens} {}

}  // namespace attend
