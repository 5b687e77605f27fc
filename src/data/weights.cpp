// Packing projections, panel by panel.
#include "data/weights.h"

namespace attend {

std::int64_t PackedProjection::size(const Kernels& kernels, std::int64_t inputs, std::int64_t outputs) {
  return round_up((inputs + 1) * round_up(outputs, kernels.lanes), 16);
}

PackedProjection PackedProjection::at(const Kernels& kernels, const float* memory, std::int64_t inputs,
                                      std::int64_t outputs, bool bias) {
  PackedProjection projection;
  projection.inputs = inputs;
  projection.outputs = outputs;
  projection.panels = memory;
  projection.biases = bias ? memory + inputs * round_up(outputs, kernels.lanes) : nullptr;
  projection.columns = {kernels.lanes, steps_to(outputs, kernels.lanes), steps_to(outputs, kernels.gemm_columns)};
  return projection;
}

void pack_projection(const Kernels& kernels, const float* weight, std::int64_t output_stride,
                     std::int64_t input_stride, const float* bias, std::int64_t bias_stride,
                     std::int64_t inputs, std::int64_t outputs, float* memory) {
  const std::int64_t padded = round_up(outputs, kernels.lanes);
  const PanelColumns columns = PackedProjection::at(kernels, memory, inputs, outputs, true).columns;
  for (std::int64_t panel = 0; panel < columns.panels; ++panel) {
    const std::int64_t column = columns.first(panel);
    PackArguments arguments;
    arguments.source = weight + column * output_stride;
    arguments.k_stride = input_stride;
    arguments.n_stride = output_stride;
    arguments.depth = inputs;
    arguments.width = columns.first(panel + 1) - column;
    arguments.columns = outputs - column < arguments.width ? outputs - column : arguments.width;
    arguments.panel = memory + inputs * column;
    kernels.pack(&arguments);
  }
  float* biases = memory + inputs * padded;
  for (std::int64_t n = 0; n < padded; ++n) {
    biases[n] = bias != nullptr && n < outputs ? bias[n * bias_stride] : 0.0f;
  }
  const std::int64_t end = PackedProjection::size(kernels, inputs, outputs);
  for (std::int64_t i = (inputs + 1) * padded; i < end; ++i) memory[i] = 0.0f;
}

}  // namespace attend
