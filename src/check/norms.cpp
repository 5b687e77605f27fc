// Checks what layer_norm and rms_norm_rows take.
#include "check/calls.h"

#include "check/parts.h"

namespace attend {

Status validate_norm(const ConstTensorView& input, float epsilon, const TensorView& output, const NormOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input));
  if (input.rank < 1) return Status::error(invalid, "input: it has no axis, expected 1 to %d", max_rank);
  const std::int64_t columns = input.sizes[input.rank - 1];
  ATTEND_CHECK(check_view("output", output, input.rank, input.sizes));
  if (!options.weight.absent()) ATTEND_CHECK(check_view("weight", options.weight, columns));
  if (!options.bias.absent()) ATTEND_CHECK(check_view("bias", options.bias, columns));
  if (!options.residual.absent()) ATTEND_CHECK(check_view("residual", options.residual, input.rank, input.sizes));
  ATTEND_CHECK(check_epsilon("epsilon", epsilon));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_in_place(output, options.residual, "output", "residual"));
  const Memory weight = memory_of("weight", options.weight), bias = memory_of("bias", options.bias);
  ATTEND_CHECK(check_apart({memory_of("output", output)}, {weight, bias}));
  if (!options.sum.absent()) {
    ATTEND_CHECK(check_view("sum", options.sum, input.rank, input.sizes));
    ATTEND_CHECK(check_distinct("sum", options.sum));
    ATTEND_CHECK(check_in_place(options.sum, input, "sum", "input"));
    ATTEND_CHECK(check_in_place(options.sum, options.residual, "sum", "residual"));
    ATTEND_CHECK(check_apart({memory_of("sum", options.sum)}, {memory_of("output", output), weight, bias}));
  }
  return check_threads(options.threads);
}

}  // namespace attend
