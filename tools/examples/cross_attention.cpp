// Cross-attention: an encoder's output is projected into a cache once, then a decoder's queries read it in each step.
#include <attend/attend.hpp>
#include <cmath>
#include <cstdio>

using namespace attend;

int main() {
  constexpr int batch = 2, encoded = 30, width = 48, steps = 5;
  float encoder[batch * encoded * width], queries[batch * width], expected[batch * width], y[batch * width];
  for (int i = 0; i < batch * encoded * width; ++i) encoder[i] = std::sin(0.37f * static_cast<float>(i));
  const std::int64_t lengths[] = {30, 17};  // entry 1 has 17 encoded tokens, the rest is padding

  MultiHeadAttentionConfig config;
  config.num_hiddens = width;
  config.num_heads = 6;  // each 8 wide
  KeyValueCacheConfig room;
  room.batch = batch;
  room.num_kv_heads = 6;
  room.head_dim = 8;
  room.capacity = encoded;
  MultiHeadAttention layer;
  KeyValueCache cache;
  Workspace workspace;
  Status status = MultiHeadAttention::make_random(config, 1, &layer);
  if (status.ok()) status = KeyValueCache::make(room, &cache);
  const ConstTensorView keys(encoder, batch, encoded, width), q(queries, batch, 1, width);
  if (status.ok()) status = layer.project(keys, keys, IndexView(lengths, batch), &cache, workspace);  // the keys are the values, too

  int wrong = 0;
  for (int step = 0; step < steps && status.ok(); ++step) {
    for (int i = 0; i < batch * width; ++i) queries[i] = std::cos(0.51f * static_cast<float>(i + step));
    status = layer.forward_cached(q, {}, {}, {}, &cache, TensorView(y, batch, 1, width), workspace);  // no keys: the cache is only read
    if (status.ok()) status = layer.forward(q, keys, keys, LengthsView(lengths, batch), TensorView(expected, batch, 1, width), workspace);
    for (int i = 0; i < batch * width; ++i) wrong += !(std::fabs(y[i] - expected[i]) <= 1e-5f);
  }
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message()), 1;
  std::printf("%d steps over one projection: %d numbers, %d of them not those of forward\n", steps, steps * batch * width, wrong);
  return wrong > 0;
}
