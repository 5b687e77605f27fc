// Checks the calls of rotary embedding, its frequencies, and RMS norm.
#include "check/calls.h"

#include "check/parts.h"

namespace attend {

namespace {

// Checks two numbers of a scaling: finite and 0 < low < high.
Status check_ramp(const char* low_name, double low, const char* high_name, double high) {
  if (!(low > 0.0)) return Status::error(invalid, "%s: %g, expected a number above 0", low_name, low);
  if (high > low && __builtin_isfinite(high)) return Status();
  return Status::error(invalid, "%s: %g, expected a finite number above %s, %g", high_name, high, low_name, low);
}

Status check_scaling(const RotaryScaling& scaling) {
  const RotaryScalingKind kind = scaling.kind;
  if (kind == RotaryScalingKind::none) return Status();
  if (static_cast<int>(kind) < 0 || static_cast<int>(kind) > static_cast<int>(RotaryScalingKind::llama3)) {
    return Status::error(invalid, "kind: %d is not one of attend::RotaryScalingKind", static_cast<int>(kind));
  }
  if (!(scaling.factor > 0.0) || !__builtin_isfinite(scaling.factor)) {
    return Status::error(invalid, "factor: %g, expected a finite number above 0", scaling.factor);
  }
  if (kind != RotaryScalingKind::yarn && kind != RotaryScalingKind::llama3) return Status();
  if (scaling.original_max_position < 1) {
    return Status::error(invalid, "original_max_position: %lld, expected 1 or more", Number{scaling.original_max_position});
  }
  if (kind == RotaryScalingKind::yarn) {
    return check_ramp("beta_slow", scaling.beta_slow, "beta_fast", scaling.beta_fast);
  }
  return check_ramp("low_frequency_factor", scaling.low_frequency_factor, "high_frequency_factor",
                    scaling.high_frequency_factor);
}

}  // namespace

Status validate_rotary_shapes(const ConstTensorView& input, const RotaryEmbedding& rotary,
                              const IndexView& positions) noexcept {
  ATTEND_CHECK(check_view("input", input, -1, -1, -1, -1));
  ATTEND_CHECK(check_rotary("", rotary, "input", input.sizes[3]));
  if (positions.absent()) return Status();
  ATTEND_CHECK(check_view("positions", positions));
  if (positions.rank != 1 && positions.rank != 2) {
    return Status::error(invalid, "positions: shape %s has %d axes, expected 1 or 2", shape_text(positions).text, positions.rank);
  }
  if (positions.rank == 1) return check_view("positions", positions, input.sizes[2]);
  return check_view("positions", positions, input.sizes[0], input.sizes[2]);
}

Status validate_rotary_embedding(const ConstTensorView& input, const RotaryEmbedding& rotary,
                                 const IndexView& positions, std::int64_t offset, const TensorView& output,
                                 const OperationOptions& options) noexcept {
  ATTEND_CHECK(validate_rotary_shapes(input, rotary, positions));
  const bool tables = rotary.inverse_frequencies.absent();
  ATTEND_CHECK(check_attention_factor("", rotary));
  const std::int64_t* sizes = input.sizes;
  ATTEND_CHECK(check_view("output", output, sizes[0], sizes[1], sizes[2], sizes[3]));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart({memory_of("output", output)},
                           {memory_of("inverse_frequencies", rotary.inverse_frequencies), memory_of("cosines", rotary.cosines),
                            memory_of("sines", rotary.sines), memory_of("positions", positions)}));
  if (has_elements(input)) {
    ATTEND_CHECK(check_positions("positions", positions, offset, sizes[0], sizes[2], tables ? rotary.cosines.sizes[0] : -1));
  }
  return check_threads(options.threads);
}

Status validate_rms_norm(const ConstTensorView& input, const ConstTensorView& weight, float epsilon,
                         const TensorView& output, const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input, -1, -1, -1, -1));
  const std::int64_t* sizes = input.sizes;
  if (!weight.absent()) ATTEND_CHECK(check_view("weight", weight, sizes[3]));
  ATTEND_CHECK(check_epsilon("epsilon", epsilon));
  ATTEND_CHECK(check_view("output", output, sizes[0], sizes[1], sizes[2], sizes[3]));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart({memory_of("output", output)}, {memory_of("weight", weight)}));
  return check_threads(options.threads);
}

Status validate_rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                                   const TensorView& inverse_frequencies) noexcept {
  if (rotary_dim < 2 || rotary_dim % 2 != 0) {
    return Status::error(invalid, "rotary_dim: %lld, expected an even number, 2 or more", Number{rotary_dim});
  }
  if (!(base > 1.0) || !__builtin_isfinite(base)) {
    return Status::error(invalid, "base: %g, expected a finite number above 1", base);
  }
  ATTEND_CHECK(check_scaling(scaling));
  ATTEND_CHECK(check_view("inverse_frequencies", inverse_frequencies, rotary_dim / 2));
  return check_distinct("inverse_frequencies", inverse_frequencies);
}

}  // namespace attend
