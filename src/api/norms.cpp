// Layer norm and RMS norm of rows, of their sum with a residual.
#include "attend/attend.hpp"
#include "base/arithmetic.h"
#include "base/cpu.h"
#include "base/dispatch.h"
#include "base/parallel.h"
#include "base/status.h"
#include "check/calls.h"
#include "plan/plan.h"

namespace attend {

namespace {

constexpr std::int64_t normed_rows_per_task = 16;

struct NormCall {
  const RowKernels& kernels;
  const ConstTensorView& input;
  float epsilon;
  bool centred;
  const TensorView& output;
  const NormOptions& options;
  std::int64_t rows;
};

// Where a row of a view begins, of rows in order; null for an absent one.
template <class Element>
Element* row_of(const View<Element>& view, std::int64_t row) {
  Element* place = view.data;
  for (int axis = view.rank - 2; axis >= 0; --axis) {
    const std::int64_t next = row / view.sizes[axis];
    place += (row - next * view.sizes[axis]) * view.strides[axis];
    row = next;
  }
  return place;
}

void run_norm(const void* context, std::int64_t task, int) {
  const NormCall& call = *static_cast<const NormCall*>(context);
  const NormOptions& options = call.options;
  NormalizeArguments arguments;
  arguments.weight = options.weight.data;
  arguments.weight_stride = stride_from_end(options.weight, 1);
  arguments.bias = options.bias.data;
  arguments.bias_stride = stride_from_end(options.bias, 1);
  arguments.source_stride = stride_from_end(call.input, 1);
  arguments.residual_stride = stride_from_end(options.residual, 1);
  arguments.sum_stride = stride_from_end(options.sum, 1);
  arguments.destination_stride = stride_from_end(call.output, 1);
  arguments.columns = call.input.sizes[call.input.rank - 1];
  arguments.epsilon = call.epsilon;
  arguments.centred = call.centred;
  const std::int64_t first = task * normed_rows_per_task, end = smaller(first + normed_rows_per_task, call.rows);
  for (std::int64_t row = first; row < end; ++row) {
    arguments.source = row_of(call.input, row);
    arguments.residual = row_of(options.residual, row);
    arguments.sum = row_of(options.sum, row);
    arguments.destination = row_of(call.output, row);
    call.kernels.normalize(&arguments);
  }
}

Status norm(const ConstTensorView& input, float epsilon, bool centred, const TensorView& output, const NormOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_norm(input, epsilon, output, options));
  const std::int64_t columns = input.sizes[input.rank - 1];
  std::int64_t rows = columns > 0 ? 1 : 0;
  for (int axis = 0; axis + 1 < input.rank; ++axis) rows *= input.sizes[axis];
  const NormCall call = {row_kernels(kernels->isa), input, epsilon, centred, output, options, rows};
  Threads threads = options.threads;
  if (static_cast<double>(rows) * static_cast<double>(columns) < least_threaded_work(threads) / 16) threads.count = 1;
  const FloatingPointMode mode;
  const Stage stage = {steps_to(rows, normed_rows_per_task), run_norm, &call};
  run_stages(threads, &stage, 1);
  return Status();
}

}  // namespace

Status layer_norm(const ConstTensorView& input, float epsilon, const TensorView& output, const NormOptions& options) noexcept {
  return norm(input, epsilon, true, output, options);
}

Status rms_norm_rows(const ConstTensorView& input, float epsilon, const TensorView& output, const NormOptions& options) noexcept {
  return norm(input, epsilon, false, output, options);
}

}  // namespace attend
