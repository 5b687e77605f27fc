// A layer of a real model in each type of low precision: bytes of its weights, and how far it is from what PyTorch computed.
#include <attend/io.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

using namespace attend;

int main() {
  const std::string folder = "tests/data/minilm/";  // of all-MiniLM-L6-v2, stored as float16
  const struct {
    const char* name;
    WeightType weight_type;
    Arithmetic arithmetic;
    double most;  // that the root mean square of differences may be, of that of the numbers
  } kinds[] = {{"float32", WeightType::float32, Arithmetic::float32, 1e-6},
               {"weights of float16", WeightType::float16, Arithmetic::float32, 1e-6},
               {"weights of bfloat16", WeightType::bfloat16, Arithmetic::float32, 0.005},
               {"weights of int8", WeightType::int8, Arithmetic::float32, 0.03},
               {"bfloat16", WeightType::bfloat16, Arithmetic::bfloat16, 0.005},
               {"int8", WeightType::int8, Arithmetic::int8, 0.06}};
  io::FloatTensor hidden, expected;
  io::Int64Tensor lengths;
  Status status = io::read_npy(folder + "hidden.npy", &hidden);
  if (status.ok()) status = io::read_npy(folder + "lengths.npy", &lengths);
  if (status.ok()) status = io::read_npy(folder + "output.npy", &expected);
  std::vector<float> y(expected.owned.size());
  const TensorView output = io::contiguous_view(y.data(), expected.shape());
  const ConstTensorView& x = hidden.view;
  Workspace workspace;
  bool passed = true;
  for (const auto& kind : kinds) {
    const bool low = kind.weight_type != WeightType::float32;
    if (low && product_instructions(kind.weight_type, kind.arithmetic) == nullptr) continue;  // not on this CPU
    io::LoadedLayer layer;
    io::LoadOptions options;
    options.weight_type = kind.weight_type;
    options.arithmetic = kind.arithmetic;
    options.low_precision = low_precision();
    if (status.ok()) status = io::load_layer(folder + "layer.safetensors", "encoder.layer.3.attention", 12, &layer, options);
    if (status.ok()) status = layer.attention.forward(x, x, x, lengths.view, output, workspace, layer.options);
    if (!status.ok()) break;
    double squares = 0.0, of_differences = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double number = static_cast<double>(expected.owned[i]), difference = static_cast<double>(y[i]) - number;
      squares += number * number;
      of_differences += difference * difference;
    }
    const double share = std::sqrt(of_differences / squares);
    std::printf("%-20s %7.0f KB  off by %.1e\n", kind.name, static_cast<double>(MultiHeadAttention::packed_bytes(layer.attention.config())) / 1e3, share);
    passed = passed && share <= kind.most;
  }
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
  return status.ok() && passed ? 0 : 1;
}
