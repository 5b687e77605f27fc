// A decoder's loop: grouped heads, rotation and a KV cache, one token a call; compared with one call of all tokens.
#include <attend/attend.hpp>
#include <cmath>
#include <cstdio>
#include <vector>

using namespace attend;

int main() {
  constexpr int tokens = 24, width = 64;
  float frequencies[4], x[tokens * width], at_once[tokens * width], one_by_one[tokens * width];
  for (int i = 0; i < tokens * width; ++i) x[i] = std::sin(0.37f * static_cast<float>(i));

  MultiHeadAttentionConfig config;
  config.num_hiddens = width;
  config.num_heads = 8;     // each 8 wide
  config.num_kv_heads = 2;  // each read by 4 heads of queries
  config.rotary.inverse_frequencies = TensorView(frequencies, 4);
  MultiHeadAttention layer;
  Status status = rotary_frequencies(8, 10000, {}, TensorView(frequencies, 4));
  if (status.ok()) status = MultiHeadAttention::make_random(config, 1, &layer);

  Workspace workspace;
  AttentionOptions causal;
  causal.causal = true;
  const ConstTensorView all(x, 1, tokens, width);
  if (status.ok()) status = layer.forward(all, all, all, {}, TensorView(at_once, 1, tokens, width), workspace, causal);

  KeyValueCache cache;
  KeyValueCacheConfig room;
  room.num_kv_heads = 2;
  room.head_dim = 8;
  room.capacity = tokens;
  if (status.ok()) status = KeyValueCache::make(room, &cache);
  for (int t = 0; t < tokens && status.ok(); ++t) {  // a cached query stands behind what the cache holds
    const ConstTensorView token = all.slice(1, t, 1);
    status = layer.forward_cached(token, token, token, {}, &cache, TensorView(one_by_one + t * width, 1, 1, width), workspace, causal);
  }
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message()), 1;
  int wrong = 0;
  for (int i = 0; i < tokens * width; ++i) wrong += !(std::fabs(one_by_one[i] - at_once[i]) <= 1e-5f);
  std::printf("%d tokens, one a call: %d numbers, %d of them not those of one call\n", tokens, tokens * width, wrong);
  return wrong > 0;
}
