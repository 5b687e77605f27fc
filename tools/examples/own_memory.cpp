// The caller's memory for weights and workspace: the library takes nothing from the heap, as on a device without malloc.
#include <attend/attend.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>

using namespace attend;

static unsigned char arena[256 * 1024];  // all that the layer and its calls ever take

int main() {
  constexpr int tokens = 16, width = 64;
  static float x[tokens * width], y[tokens * width], expected[tokens * width];
  for (int i = 0; i < tokens * width; ++i) x[i] = std::sin(0.37f * static_cast<float>(i));
  const ConstTensorView input(x, 1, tokens, width);
  MultiHeadAttentionConfig config;
  config.num_hiddens = width;
  config.num_heads = 4;

  MultiHeadAttention layer;
  const std::size_t weights = MultiHeadAttention::packed_bytes(config);
  Status status = MultiHeadAttention::make_random(config, 1, &layer, arena, sizeof arena);
  const std::size_t scratch = layer.workspace_bytes(ForwardShape{1, tokens, tokens});
  if (status.ok() && weights + scratch > sizeof arena) status = Status::error(StatusCode::out_of_memory, "the arena is too small");
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message()), 1;

  Workspace workspace(arena + weights, scratch), too_small(arena + weights, scratch / 2);
  status = layer.forward(input, input, input, {}, TensorView(y, 1, tokens, width), workspace);
  const Status refused = layer.forward(input, input, input, {}, TensorView(y, 1, tokens, width), too_small);

  MultiHeadAttention on_heap;  // for comparison
  Workspace growing;
  if (status.ok()) status = MultiHeadAttention::make_random(config, 1, &on_heap);
  if (status.ok()) status = on_heap.forward(input, input, input, {}, TensorView(expected, 1, tokens, width), growing);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message()), 1;
  std::printf("%zu bytes of weights, %zu of workspace; with half of that: %s\n", weights, scratch, refused.message());
  return refused.code() != StatusCode::out_of_memory || std::memcmp(y, expected, sizeof y) != 0;
}
