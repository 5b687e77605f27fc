// Packed sequences: three of different lengths in one call without padding, on a pool of two threads; each has the bits it has alone.
#include <attend/attend.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>

using namespace attend;

int main() {
  constexpr int rows = 23, width = 64;
  const std::int64_t starts[] = {0, 9, 10, rows};  // sequences of 9, 1 and 13 tokens
  float x[rows * width], packed[rows * width], alone[rows * width];
  for (int i = 0; i < rows * width; ++i) x[i] = std::sin(0.37f * static_cast<float>(i));

  MultiHeadAttentionConfig config;
  config.num_hiddens = width;
  config.num_heads = 4;
  MultiHeadAttention layer;
  ThreadPool pool;
  Workspace workspace;
  Status status = MultiHeadAttention::make_random(config, 1, &layer);
  if (status.ok()) status = ThreadPool::make(2, &pool);

  AttentionOptions options;
  options.query_starts = options.key_starts = IndexView(starts, 4);
  options.threads = pool.threads();
  const ConstTensorView all(x, 1, rows, width);
  if (status.ok()) status = layer.forward(all, all, all, {}, TensorView(packed, 1, rows, width), workspace, options);

  for (int s = 0; s < 3 && status.ok(); ++s) {
    const ConstTensorView one = all.slice(1, starts[s], starts[s + 1] - starts[s]);
    status = layer.forward(one, one, one, {}, TensorView(alone + starts[s] * width, 1, one.sizes[1], width), workspace);
  }
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message()), 1;
  const bool same = std::memcmp(packed, alone, sizeof packed) == 0;
  std::printf("3 sequences, %d rows, packed on 2 threads: %s\n", rows, same ? "the bits of each alone" : "WRONG, other bits than alone");
  return !same;
}
