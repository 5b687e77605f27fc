// Zeros for a row that sees no key.
#include "run/empty_row.h"

namespace attend {

void write_empty_row(const Attention& attention, std::int64_t head, float* output, float* weights) {
  const Kernels& kernels = *attention.kernels;
  kernels.fill(output, attention.output.stride, attention.value_depth, 0.0f);
  if (weights == nullptr || (attention.average_weights && head > 0)) return;
  kernels.fill(weights, attention.weights.stride, attention.sequences().keys, 0.0f);
}

float empty_lse(const Attention& attention, std::int64_t head) {
  const Numbers<float>& sinks = attention.biases.sinks;
  return sinks.absent() ? -infinity : sinks.at(head);
}

}  // namespace attend
