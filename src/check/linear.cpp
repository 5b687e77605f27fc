// Checks a linear layer's sizes and weights, and its calls.
#include "check/calls.h"

#include "check/parts.h"
#include "data/layer.h"

namespace attend {

Status validate_linear_config(const LinearConfig& config) noexcept {
  ATTEND_CHECK(check_size("inputs", config.inputs, 1, largest_size));
  ATTEND_CHECK(check_size("outputs", config.outputs, 1, largest_size));
  return check_precision(precision_of(config), config.inputs);
}

Status validate_linear_weights(const LinearConfig& config, const LinearWeights& weights) noexcept {
  if (weights.stored == nullptr) {
    ATTEND_CHECK(check_view("weights.matrix", weights.matrix, config.outputs, config.inputs));
  } else if (!weights.matrix.absent()) {
    return Status::error(invalid, "weights.stored: given, as is weights.matrix, expected one of them");
  } else {
    ATTEND_CHECK(check_stored("weights.stored", *weights.stored, precision_of(config), config.outputs, config.inputs));
  }
  return weights.bias.absent() ? Status() : check_view("weights.bias", weights.bias, config.outputs);
}

Status validate_linear_forward(const LinearConfig& config, const ConstTensorView& input, const TensorView& output,
                               const LinearOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input));
  if (input.rank != 2 && input.rank != 3) {
    return Status::error(invalid, "input: shape %s has %d axes, expected 2 or 3", shape_text(input).text, input.rank);
  }
  const int rank = input.rank;
  std::int64_t sizes[] = {input.sizes[0], input.sizes[1], input.sizes[2]};
  const std::int64_t* const expected = sizes;
  std::int64_t& columns = sizes[rank - 1];
  columns = config.inputs;
  ATTEND_CHECK(check_view("input", input, rank, expected));
  columns = config.outputs;
  ATTEND_CHECK(check_view("output", output, rank, expected));
  if (!options.multiplier.absent()) ATTEND_CHECK(check_view("multiplier", options.multiplier, rank, expected));
  const int activation = static_cast<int>(options.activation);
  if (activation < 0 || activation > static_cast<int>(Activation::silu)) {
    return Status::error(invalid, "activation: %d is none that there is", activation);
  }
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_apart({memory_of("output", output)}, {memory_of("input", input), memory_of("multiplier", options.multiplier)}));
  return check_threads(options.threads);
}

}  // namespace attend
