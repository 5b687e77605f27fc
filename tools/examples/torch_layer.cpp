// A torch.nn.MultiheadAttention from a file, with key_padding_mask and attn_mask: compared with what PyTorch computed.
#include <attend/io.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

using namespace attend;

int main(int count, char** arguments) {
  const std::string folder = count > 1 ? arguments[1] : "tests/data/torch";  // written by from_torch.py torch FOLDER
  io::LoadedLayer layer;
  io::FloatTensor x, expected;
  io::BoolTensor padding, later;
  Status status = io::load_layer(folder + "/weights.safetensors", "", 4, &layer);      // no prefix, 4 heads
  if (status.ok()) status = io::read_npy(folder + "/query.npy", &x);                    // (2, 10, 32)
  if (status.ok()) status = io::read_npy(folder + "/key-padding-mask.npy", &padding);  // (2, 10)
  if (status.ok()) status = io::read_npy(folder + "/mask.npy", &later);                 // (10, 10)
  if (status.ok()) status = io::read_npy(folder + "/expect.npy", &expected);            // (2, 10, 32)

  layer.options.key_padding_mask = padding.view;
  layer.options.mask = later.view;
  layer.options.mask_hides = true;  // in nn.MultiheadAttention true hides a key
  std::vector<float> y(expected.owned.size());
  const TensorView output = io::contiguous_view(y.data(), expected.shape());
  Workspace workspace;
  if (status.ok()) status = layer.attention.forward(x.view, x.view, x.view, {}, output, workspace, layer.options);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message());
    return 1;
  }
  int wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) wrong += !(std::fabs(y[i] - expected.owned[i]) <= 1e-5f);
  std::printf("%s layer: %zu numbers, %d of them not PyTorch's\n", layer.convention, y.size(), wrong);
  return wrong > 0;
}
