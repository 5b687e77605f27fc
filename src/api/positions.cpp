// Rotary embedding, its frequencies, and RMS norm.
#include <math.h>

#include "attend/attend.hpp"
#include "base/arithmetic.h"
#include "base/dispatch.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "check/calls.h"
#include "run/rotary_rows.h"

namespace attend {

namespace {

constexpr std::int64_t rows_per_task = 16;

std::int64_t chunks(std::int64_t rows) { return steps_to(rows, rows_per_task); }

// The position of row i of entry b.
std::int64_t position_of(const IndexView& positions, std::int64_t offset, std::int64_t b, std::int64_t i) {
  if (positions.absent()) return i + offset;
  if (positions.rank == 1) return positions.data[i * positions.strides[0]] + offset;
  return positions.data[b * positions.strides[0] + i * positions.strides[1]] + offset;
}

}  // namespace

std::size_t rotary_workspace_bytes(const ConstTensorView& input, const RotaryEmbedding& rotary,
                                   const IndexView& positions) noexcept {
  if (!validate_rotary_shapes(input, rotary, positions).ok()) return 0;
  return RotaryRows::at(nullptr, rotary, positions, input.sizes[0], input.sizes[2]).bytes() + alignment - 1;
}

namespace {

struct RotaryCall {
  const Kernels* kernels;
  const ConstTensorView& input;
  const RotaryEmbedding& rotary;
  const IndexView& positions;
  std::int64_t offset;
  const TensorView& output;
  RotaryRows rows;
};

void run_fill(const void* context, std::int64_t task, int) {
  const RotaryCall& call = *static_cast<const RotaryCall*>(context);
  const std::int64_t rows = call.rows.rows, b = task / chunks(rows), first = task % chunks(rows) * rows_per_task;
  for (std::int64_t i = first; i < first + rows_per_task && i < rows; ++i) {
    call.rows.fill(call.rotary, b, i, position_of(call.positions, call.offset, b, i));
  }
}

// Rotates a few rows of all heads, whose cosines and sines stay in the L1.
void run_rotate(const void* context, std::int64_t task, int) {
  const RotaryCall& call = *static_cast<const RotaryCall*>(context);
  const ConstTensorView& input = call.input;
  const TensorView& output = call.output;
  const std::int64_t rows = call.rows.rows, b = task / chunks(rows), first = task % chunks(rows) * rows_per_task;
  for (std::int64_t h = 0; h < input.sizes[1]; ++h) {
    const float* source = input.data + b * input.strides[0] + h * input.strides[1];
    float* destination = output.data + b * output.strides[0] + h * output.strides[1];
    for (std::int64_t i = first; i < first + rows_per_task && i < rows; ++i) {
      call.rows.rotate(*call.kernels, b, i, source + i * input.strides[2], input.strides[3],
                       destination + i * output.strides[2], output.strides[3], input.sizes[3]);
    }
  }
}

}  // namespace

Status rotary_embedding(const ConstTensorView& input, const RotaryEmbedding& rotary, const IndexView& positions,
                        std::int64_t offset, const TensorView& output, Workspace& workspace,
                        const OperationOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_rotary_embedding(input, rotary, positions, offset, output, options));
  const std::int64_t batch = input.sizes[0], rows = input.sizes[2];
  if (batch == 0 || input.sizes[1] == 0 || rows == 0 || input.sizes[3] == 0) return Status();

  RotaryCall call = {kernels, input, rotary, positions, offset, output, RotaryRows::at(nullptr, rotary, positions, batch, rows)};
  const std::size_t bytes = call.rows.bytes();
  call.rows.values = static_cast<float*>(workspace.reserve(bytes));
  if (call.rows.values == nullptr && bytes > 0) {
    return Status::error(StatusCode::out_of_memory, "workspace: holds %zu bytes, %zu are needed", workspace.bytes(), bytes);
  }
  const Stage stages[] = {{call.rows.entries * chunks(rows), run_fill, &call}, {batch * chunks(rows), run_rotate, &call}};
  run_stages(options.threads, stages, 2);
  return Status();
}

namespace {

struct RmsNormCall {
  const Kernels* kernels;
  const ConstTensorView& input;
  const ConstTensorView& weight;
  float epsilon;
  const TensorView& output;
};

void run_rms_norm(const void* context, std::int64_t task, int) {
  const RmsNormCall& call = *static_cast<const RmsNormCall*>(context);
  const ConstTensorView& input = call.input;
  const TensorView& output = call.output;
  const std::int64_t heads = input.sizes[1], rows = input.sizes[2], first = task % chunks(rows) * rows_per_task;
  const std::int64_t b = task / chunks(rows) / heads, h = task / chunks(rows) % heads;
  const float* source = input.data + b * input.strides[0] + h * input.strides[1];
  float* destination = output.data + b * output.strides[0] + h * output.strides[1];
  for (std::int64_t i = first; i < first + rows_per_task && i < rows; ++i) {
    normalize_row(*call.kernels, call.weight, call.epsilon, source + i * input.strides[2], input.strides[3],
                  destination + i * output.strides[2], output.strides[3], input.sizes[3]);
  }
}

}  // namespace

Status rms_norm(const ConstTensorView& input, const ConstTensorView& weight, float epsilon, const TensorView& output,
                const OperationOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_rms_norm(input, weight, epsilon, output, options));
  if (input.sizes[3] == 0) return Status();
  const RmsNormCall call = {kernels, input, weight, epsilon, output};
  const Stage stage = {input.sizes[0] * input.sizes[1] * chunks(input.sizes[2]), run_rms_norm, &call};
  run_stages(options.threads, &stage, 1);
  return Status();
}

namespace {

// YaRN: the share of frequency n, from 0 to 1, that is divided by the factor: 0 where it makes beta_fast turns or more within the trained
// positions, 1 where it makes beta_slow or fewer, linear in n between the two.
double yarn_part(const RotaryScaling& scaling, double width, double base, double n) {
  const double scale = width / (2.0 * log(base));
  const double most_turns = static_cast<double>(scaling.original_max_position) / (2.0 * M_PI);
  double first = scale * log(most_turns / scaling.beta_fast), last = scale * log(most_turns / scaling.beta_slow);
  if (scaling.truncate) {
    first = floor(first);
    last = ceil(last);
  }
  first = fmax(first, 0.0);
  last = fmin(last, width - 1.0);
  if (first == last) last += 0.001;
  return fmin(fmax((n - first) / (last - first), 0.0), 1.0);
}

// Llama 3: that share, linear in the turns themselves.
double llama3_part(const RotaryScaling& scaling, double frequency) {
  const double turns = static_cast<double>(scaling.original_max_position) * frequency / (2.0 * M_PI);
  const double low = scaling.low_frequency_factor, high = scaling.high_frequency_factor;
  return fmin(fmax((high - turns) / (high - low), 0.0), 1.0);
}

// The factor of frequency n, where the base stays.
double frequency_multiplier(const RotaryScaling& scaling, double width, double base, double n, double frequency) {
  double part = 0.0;
  switch (scaling.kind) {
    case RotaryScalingKind::none:
    case RotaryScalingKind::ntk: return 1.0;
    case RotaryScalingKind::linear: part = 1.0; break;
    case RotaryScalingKind::yarn: part = yarn_part(scaling, width, base, n); break;
    case RotaryScalingKind::llama3: part = llama3_part(scaling, frequency); break;
  }
  return 1.0 - part + part / scaling.factor;
}

}  // namespace

Status rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                          const TensorView& inverse_frequencies) noexcept {
  ATTEND_CHECK(validate_rotary_frequencies(rotary_dim, base, scaling, inverse_frequencies));
  const double width = static_cast<double>(rotary_dim);
  if (scaling.kind == RotaryScalingKind::ntk) base *= pow(scaling.factor, width / (width - 2.0));
  for (std::int64_t index = 0; index < rotary_dim / 2; ++index) {
    const double n = static_cast<double>(index), frequency = pow(base, -2.0 * n / width);
    inverse_frequencies.data[index * inverse_frequencies.strides[0]] =
        static_cast<float>(frequency * frequency_multiplier(scaling, width, base, n, frequency));
  }
  return Status();
}

float rotary_attention_factor(const RotaryScaling& scaling) noexcept {
  if (scaling.kind != RotaryScalingKind::yarn || !(scaling.factor > 1.0)) return 1.0f;
  return static_cast<float>(0.1 * log(scaling.factor) + 1.0);
}

}  // namespace attend
