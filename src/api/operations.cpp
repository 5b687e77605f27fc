// The seed's functions as operations on views.
#include "attend/attend.hpp"
#include "base/arithmetic.h"
#include "base/dispatch.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "check/calls.h"
#include "data/visibility.h"
#include "data/layer.h"
#include "plan/forward_plan.h"
#include "run/projection.h"

namespace attend {

namespace {

struct Matmul {
  Projection projection;
  const float* b;
  std::int64_t k_stride, n_stride;
  const float* bias;
  std::int64_t bias_stride;
  float* packed;
};

// The workspace of matmul: the packed b, then the rows before each entry.
std::size_t packed_bytes(const Kernels& kernels, std::int64_t depth, std::int64_t columns) {
  return aligned_bytes(static_cast<std::size_t>(PackedProjection(kernels, nullptr, depth, columns).size()) * sizeof(float));
}

std::size_t matmul_bytes(const Kernels& kernels, std::int64_t batch, std::int64_t depth, std::int64_t columns) {
  return packed_bytes(kernels, depth, columns) + static_cast<std::size_t>(batch + 1) * sizeof(std::int64_t);
}

void run_pack(const void* context, std::int64_t, int) {
  const Matmul& matmul = *static_cast<const Matmul*>(context);
  pack_projection(*matmul.projection.kernels, matmul.projection.weights, matmul.b, matmul.n_stride, matmul.k_stride, matmul.bias,
                  matmul.bias_stride, matmul.packed);
}

void run_product(const void* context, std::int64_t task, int) {
  static_cast<const Matmul*>(context)->projection.run(task);
}

}  // namespace

std::size_t matmul_workspace_bytes(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed, const OperationOptions& options) noexcept {
  const Kernels* kernels = find_kernels(options.isa);
  if (kernels == nullptr || !validate_factors(a, b, b_transposed).ok()) return 0;
  const std::int64_t columns = b.sizes[b.rank - (b_transposed ? 2 : 1)];
  return matmul_bytes(*kernels, a.rank == 3 ? a.sizes[0] : 1, a.sizes[a.rank - 1], columns) + alignment - 1;
}

Status matmul(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed, const ConstTensorView& bias,
              const TensorView& output, Workspace& workspace, const OperationOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_matmul(a, b, b_transposed, bias, output, options));
  const std::int64_t batch = a.rank == 3 ? a.sizes[0] : 1, rows = a.sizes[a.rank - 2];
  const std::int64_t depth = a.sizes[a.rank - 1], columns = output.sizes[output.rank - 1];
  if (batch == 0 || rows == 0 || columns == 0) return Status();

  const std::size_t bytes = matmul_bytes(*kernels, batch, depth, columns);
  char* memory = static_cast<char*>(workspace.reserve(bytes));
  if (memory == nullptr) {
    return Status::error(StatusCode::out_of_memory, "workspace: holds %zu bytes, %zu are needed", workspace.bytes(), bytes);
  }
  std::int64_t* before = reinterpret_cast<std::int64_t*>(memory + packed_bytes(*kernels, depth, columns));
  Matmul product;
  product.b = b.data;
  product.k_stride = stride_from_end(b, b_transposed ? 1 : 2);
  product.n_stride = stride_from_end(b, b_transposed ? 2 : 1);
  product.bias = bias.data;
  product.bias_stride = bias.strides[0];
  product.packed = reinterpret_cast<float*>(memory);
  Projection& projection = product.projection;
  projection.kernels = kernels;
  projection.weights = PackedProjection(*kernels, nullptr, depth, columns).at(product.packed, bias.data != nullptr);
  projection.input = by_matrices(a);
  projection.output = by_matrices(output);
  projection.head_size = columns;

  // A b of its own for each entry is a product of its own; a shared one takes all rows at once.
  const std::int64_t products = b.rank == 3 ? batch : 1, entries = batch / products;
  for (std::int64_t i = 0; i <= entries; ++i) before[i] = i * rows;
  projection.rows = {entries, before, nullptr};
  projection.rows_per_task = projection_rows(*kernels, projection.weights, projection.rows.total());
  for (std::int64_t p = 0; p < products; ++p) {
    const Stage stages[] = {{1, run_pack, &product}, {projection.tasks(), run_product, &product, true}};
    run_stages(options.threads, stages, 2);
    product.b += stride_from_end(b, 3);
    projection.input.data += projection.input.batch_stride;
    projection.output.data += projection.output.batch_stride;
  }
  return Status();
}

namespace {

struct SequenceMask {
  const Kernels* kernels;
  const ConstTensorView& input;
  const LengthsView& lengths;
  const TensorView& output;
  float value;
};

void run_sequence_mask(const void* context, std::int64_t b, int) {
  const SequenceMask& mask = *static_cast<const SequenceMask*>(context);
  const ConstTensorView& input = mask.input;
  const TensorView& output = mask.output;
  const std::int64_t rows = input.sizes[1], columns = input.rank == 3 ? input.sizes[2] : 1;
  const std::int64_t length = mask.lengths.data[b * mask.lengths.strides[0]];
  const std::int64_t kept = length < rows ? length : rows;
  const float* source = input.data + b * input.strides[0];
  float* destination = output.data + b * output.strides[0];
  if (input.rank == 2) {
    const CopyArguments copy = {source, 0, input.strides[1], destination, 0, output.strides[1], 1, kept};
    if (source != destination) mask.kernels->copy(&copy);
    mask.kernels->fill(destination + kept * output.strides[1], output.strides[1], rows - kept, mask.value);
    return;
  }
  const CopyArguments copy = {source,           input.strides[1],  input.strides[2], destination,
                              output.strides[1], output.strides[2], kept,             columns};
  if (source != destination) mask.kernels->copy(&copy);
  for (std::int64_t j = kept; j < rows; ++j) {
    mask.kernels->fill(destination + j * output.strides[1], output.strides[2], columns, mask.value);
  }
}

}  // namespace

Status sequence_mask(const ConstTensorView& input, const LengthsView& valid_lens, float value,
                     const TensorView& output, const OperationOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_sequence_mask(input, valid_lens, output, options));
  const SequenceMask mask = {kernels, input, valid_lens, output, value};
  const Stage stage = {input.sizes[0], run_sequence_mask, &mask};
  run_stages(options.threads, &stage, 1);
  return Status();
}

namespace {

struct MaskedSoftmax {
  const Kernels* kernels;
  const ConstTensorView& input;
  const TensorView& output;
  Visibility visibility;
};

constexpr std::int64_t softmax_rows = 16;  // a task

void run_masked_softmax(const void* context, std::int64_t task, int) {
  const MaskedSoftmax& softmax = *static_cast<const MaskedSoftmax*>(context);
  const ConstTensorView& input = softmax.input;
  const TensorView& output = softmax.output;
  const std::int64_t tasks = steps_to(input.sizes[1], softmax_rows), b = task / tasks;
  const std::int64_t first = task % tasks * softmax_rows;
  for (std::int64_t i = first; i < first + softmax_rows && i < input.sizes[1]; ++i) {
    SoftmaxArguments arguments;
    arguments.source = input.data + b * input.strides[0] + i * input.strides[1];
    arguments.source_stride = input.strides[2];
    arguments.visible = softmax.visibility.of(b, i).end;
    arguments.total = input.sizes[2];
    arguments.destination = output.data + b * output.strides[0] + i * output.strides[1];
    arguments.destination_stride = output.strides[2];
    softmax.kernels->softmax(&arguments);
  }
}

}  // namespace

Status masked_softmax(const ConstTensorView& input, const LengthsView& valid_lens, const TensorView& output,
                      const OperationOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_masked_softmax(input, valid_lens, output, options));
  if (input.sizes[2] == 0) return Status();
  MaskedSoftmax softmax = {kernels, input, output, {}};
  softmax.visibility.lengths = numbers_of(valid_lens);
  softmax.visibility.sequences.keys = input.sizes[2];
  const Stage stage = {input.sizes[0] * steps_to(input.sizes[1], softmax_rows), run_masked_softmax, &softmax};
  run_stages(options.threads, &stage, 1);
  return Status();
}

namespace {

// Entry b, columns of head h, to or from row b H + h.
struct Transpose {
  const Kernels* kernels;
  std::int64_t heads, rows, columns;
  const ConstTensorView& input;
  const TensorView& output;
  bool to_heads;
};

void run_transpose(const void* context, std::int64_t task, int) {
  const Transpose& transpose = *static_cast<const Transpose*>(context);
  const ConstTensorView& input = transpose.input;
  const TensorView& output = transpose.output;
  const std::int64_t b = task / transpose.heads, h = task % transpose.heads;
  const std::int64_t column = h * transpose.columns;
  const CopyArguments arguments = {
      input.data + (transpose.to_heads ? b * input.strides[0] + column * input.strides[2] : task * input.strides[0]),
      input.strides[1],
      input.strides[2],
      output.data + (transpose.to_heads ? task * output.strides[0] : b * output.strides[0] + column * output.strides[2]),
      output.strides[1],
      output.strides[2],
      transpose.rows,
      transpose.columns};
  transpose.kernels->copy(&arguments);
}

Status transpose(const ConstTensorView& input, std::int64_t num_heads, const TensorView& output, bool to_heads,
                 const OperationOptions& options) {
  const Kernels* kernels = nullptr;
  Status status = require_kernels(options.isa, &kernels);
  if (status.ok()) {
    status = to_heads ? validate_transpose("input", input, "output", output, num_heads, true, options)
                      : validate_transpose("output", output, "input", input, num_heads, false, options);
  }
  if (!status.ok()) return status;
  const ConstTensorView split = to_heads ? ConstTensorView(output) : input;
  const Transpose context = {kernels, num_heads, split.sizes[1], split.sizes[2], input, output, to_heads};
  const Stage stage = {split.sizes[0], run_transpose, &context};
  run_stages(options.threads, &stage, 1);
  return Status();
}

}  // namespace

Status transpose_qkv(const ConstTensorView& input, std::int64_t num_heads, const TensorView& output,
                     const OperationOptions& options) noexcept {
  return transpose(input, num_heads, output, true, options);
}

Status transpose_output(const ConstTensorView& input, std::int64_t num_heads, const TensorView& output,
                        const OperationOptions& options) noexcept {
  return transpose(input, num_heads, output, false, options);
}

}  // namespace attend
