// A C++ program against an installed attend: a layer whose result goes through a .npy file.
#include <attend/attend.hpp>
#include <attend/io.hpp>

#include <cstdio>

using namespace attend;

int main(int, char** arguments) {
  MultiHeadAttentionConfig config;
  config.num_hiddens = 32;
  config.num_heads = 4;
  MultiHeadAttention layer;
  Status status = MultiHeadAttention::make_random(config, 1, &layer);

  float input[3 * 32], output[3 * 32];
  for (int i = 0; i < 3 * 32; ++i) input[i] = static_cast<float>(i % 7);
  Workspace workspace;
  const ConstTensorView x(input, 1, 3, 32);
  if (status.ok()) status = layer.forward(x, x, x, {}, TensorView(output, 1, 3, 32), workspace);
  if (status.ok()) status = io::write_npy(arguments[1], io::ElementType::float32, {1, 3, 32}, output);

  io::FloatTensor read;
  if (status.ok()) status = io::read_npy(arguments[1], &read);
  for (int i = 0; status.ok() && i < 3 * 32; ++i) {
    if (read.view.data[i] != output[i]) status = Status::error(StatusCode::invalid_argument, "element %d differs", i);
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.message());
  return 1;
}
