// The linear layer: a projection with an activation.
#include "attend/attend.hpp"
#include "base/cpu.h"
#include "base/dispatch.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "check/calls.h"
#include "data/layer.h"
#include "plan/forward_plan.h"
#include "run/linear_rows.h"

namespace attend {

namespace {

PackedProjection packed_of(const Kernels& kernels, const LinearConfig& config) {
  return PackedProjection(kernels, product_of(kernels, config), config.inputs, config.outputs, weight_group_of(config));
}

std::size_t packed_size(const PackedProjection& packed) { return static_cast<std::size_t>(packed.size()) * sizeof(float); }

// The workspace: the rows before each entry, then those converted. 0: too large.
std::size_t converted_start(std::int64_t batch) { return aligned_bytes(static_cast<std::size_t>(batch + 1) * sizeof(std::int64_t)); }

std::size_t linear_bytes(const PackedProjection& packed, std::int64_t batch, std::int64_t rows) {
  const double bytes = static_cast<double>(batch) * static_cast<double>(rows) * static_cast<double>(packed.row_floats()) * 4.0;
  if (!(bytes + static_cast<double>(batch) * 8.0 < 0x1p62)) return 0;
  return converted_start(batch) + static_cast<std::size_t>(batch * rows * packed.row_floats()) * sizeof(float);
}

void run_convert(const void* context, std::int64_t task, int) { static_cast<const LinearRows*>(context)->converted.run(task); }
void run_linear(const void* context, std::int64_t task, int) { static_cast<const LinearRows*>(context)->run(task); }

}  // namespace

Linear::~Linear() { attend::release(owned_); }

Linear::Linear(Linear&& other) noexcept { *this = static_cast<Linear&&>(other); }

Linear& Linear::operator=(Linear&& other) noexcept {
  if (this == &other) return *this;
  attend::release(owned_);
  config_ = other.config_;
  kernels_ = other.kernels_;
  packed_ = other.packed_;
  owned_ = other.owned_;
  bias_ = other.bias_;
  other.config_ = LinearConfig();
  other.kernels_ = nullptr;
  other.packed_ = nullptr;
  other.owned_ = nullptr;
  return *this;
}

std::size_t Linear::packed_bytes(const LinearConfig& config) noexcept {
  const Kernels* const kernels = find_kernels(config.isa);
  if (kernels == nullptr || !validate_linear_config(config).ok()) return 0;
  return packed_size(packed_of(*kernels, config)) + alignment - 1;
}

Status Linear::make(const LinearConfig& config, const LinearWeights& weights, Linear* linear, void* memory,
                    std::size_t memory_bytes) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(config.isa, &kernels));
  ATTEND_CHECK(validate_linear_config(config));
  ATTEND_CHECK(validate_linear_weights(config, weights));
  if (linear == nullptr) return Status::error(StatusCode::invalid_argument, "linear: null");

  const FloatingPointMode mode;
  const PackedProjection packed = packed_of(*kernels, config);
  const std::size_t bytes = packed_size(packed);
  Linear made;
  if (memory == nullptr) {
    made.owned_ = memory = allocate(bytes);
    if (memory == nullptr) return Status::error(StatusCode::out_of_memory, "packed weights: no memory for %zu bytes", bytes);
    prefer_huge_pages(memory, bytes);
  } else if (memory_bytes < bytes + alignment - 1) {
    return Status::error(StatusCode::out_of_memory, "memory_bytes: %zu, expected at least packed_bytes(config) = %zu", memory_bytes,
                         bytes + alignment - 1);
  }
  made.packed_ = static_cast<float*>(align_up(memory));
  made.config_ = config;
  made.config_.isa = kernels->isa;
  made.kernels_ = kernels;
  made.bias_ = !weights.bias.absent();
  if (packed.product == nullptr) {
    pack_projection(*kernels, packed, weights.matrix.data, weights.matrix.strides[0], weights.matrix.strides[1], weights.bias.data,
                    weights.bias.strides[0], made.packed_);
  } else {
    config.low_precision->pack(packed, weights.matrix, weights.stored, weights.bias, made.packed_);
  }
  *linear = static_cast<Linear&&>(made);
  return Status();
}

std::size_t Linear::workspace_bytes(std::int64_t batch, std::int64_t rows) const noexcept {
  if (kernels_ == nullptr || batch < 0 || rows < 0) return 0;
  const std::size_t bytes = linear_bytes(packed_of(*kernels_, config_), batch, rows);
  return bytes == 0 ? 0 : bytes + alignment - 1;
}

Status Linear::forward(const ConstTensorView& input, const TensorView& output, Workspace& workspace,
                       const LinearOptions& options) const noexcept {
  if (kernels_ == nullptr) return Status::error(StatusCode::invalid_argument, "this Linear has not been made");
  ATTEND_CHECK(validate_linear_forward(config_, input, output, options));
  const std::int64_t batch = input.rank == 3 ? input.sizes[0] : 1, rows = input.sizes[input.rank - 2];
  if (batch == 0 || rows == 0) return Status();

  const FloatingPointMode mode;
  const PackedProjection packed = packed_of(*kernels_, config_);
  const std::size_t bytes = linear_bytes(packed, batch, rows);
  if (bytes == 0) {
    return Status::error(StatusCode::invalid_argument, "input: a batch of %lld with %lld rows is too large", static_cast<long long>(batch),
                         static_cast<long long>(rows));
  }
  char* const memory = static_cast<char*>(workspace.reserve(bytes));
  if (memory == nullptr) {
    return Status::error(StatusCode::out_of_memory, "workspace: holds %zu bytes, %zu are needed", workspace.bytes(), bytes);
  }
  std::int64_t* const before = reinterpret_cast<std::int64_t*>(memory);
  for (std::int64_t b = 0; b <= batch; ++b) before[b] = b * rows;

  LinearRows linear;
  Projection& projection = linear.projection;
  projection.kernels = kernels_;
  projection.weights = packed.at(packed_, bias_);
  projection.rows = {batch, before, nullptr};
  projection.rows_per_task = projection_rows(*kernels_, packed, batch * rows);
  projection.input = by_matrices(input);
  projection.output = by_matrices(output);
  projection.head_size = config_.outputs;
  if (packed.row_floats() > 0) {
    Rows<float> converted;
    converted.data = reinterpret_cast<float*>(memory + converted_start(batch)) + row_header;
    converted.row_stride = packed.row_floats();
    converted.batch_stride = rows * converted.row_stride;
    linear.converted = {packed.product, projection.rows, projection.input, converted, static_cast<int>(packed.inputs), packed.group};
    projection.input = converted;
  }
  linear.kernels = &row_kernels(kernels_->isa);
  linear.activation = options.activation;
  linear.multiplier = by_matrices(options.multiplier);
  Threads threads = options.threads;
  const double work = (static_cast<double>(batch * rows) + reading_rows) * static_cast<double>(config_.inputs) * static_cast<double>(config_.outputs);
  if (work < least_threaded_work(threads)) threads.count = 1;
  const Stage stages[] = {{linear.converted.tasks(), run_convert, &linear}, {projection.tasks(), run_linear, &linear, true}};
  run_stages(threads, stages, 2);
  return Status();
}

}  // namespace attend
