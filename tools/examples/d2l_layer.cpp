// A layer of Dive into Deep Learning from a file, with valid lengths of 3 and 0: compared with what PyTorch computed.
#include <attend/io.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

using namespace attend;

int main(int count, char** arguments) {
  const std::string folder = count > 1 ? arguments[1] : "tests/data/d2l";  // written by from_torch.py d2l FOLDER
  io::LoadedLayer layer;
  io::FloatTensor queries, keys, expected;
  io::Int64Tensor valid_lens;
  Status status = io::load_layer(folder + "/weights.safetensors", "", 5, &layer);  // no prefix, 5 heads
  if (status.ok()) status = io::read_npy(folder + "/query.npy", &queries);          // (2, 4, 20)
  if (status.ok()) status = io::read_npy(folder + "/key.npy", &keys);               // (2, 6, 20)
  if (status.ok()) status = io::read_npy(folder + "/valid-lens.npy", &valid_lens);  // (2,)
  if (status.ok()) status = io::read_npy(folder + "/expect.npy", &expected);        // (2, 4, 20)

  layer.options.empty_rows = EmptyRows::uniform;  // length 0: the mean of all values, as D2L's fill with -1e6 gives
  std::vector<float> y(expected.owned.size());
  const TensorView output = io::contiguous_view(y.data(), expected.shape());
  Workspace workspace;
  if (status.ok()) status = layer.attention.forward(queries.view, keys.view, keys.view, valid_lens.view, output, workspace, layer.options);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message());
    return 1;
  }
  int wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) wrong += !(std::fabs(y[i] - expected.owned[i]) <= 1e-5f);
  std::printf("%s layer: %zu numbers, %d of them not PyTorch's\n", layer.convention, y.size(), wrong);
  return wrong > 0;
}
