// The layer: project, attend, project.
#include <math.h>

#include "attend/attend.hpp"
#include "attention.h"
#include "cpu.h"
#include "dispatch.h"
#include "dropout.h"
#include "memory.h"
#include "parallel.h"
#include "plan.h"
#include "projection.h"
#include "validate.h"
#include "weights.h"

namespace attend {

namespace {

enum Which { query, key, value, output, projection_count };

std::int64_t input_width(const MultiHeadAttentionConfig& config, int which) {
  const std::int64_t widths[] = {config.query_size, config.key_size, config.value_size, config.num_hiddens};
  return widths[which];
}

// Where projection `which` starts in the packed weights, in floats; projection_count: their end.
std::int64_t packed_offset(const Kernels& kernels, const MultiHeadAttentionConfig& config, int which) {
  std::int64_t offset = 0;
  for (int before = 0; before < which; ++before) {
    offset += PackedProjection::size(kernels, input_width(config, before), config.num_hiddens);
  }
  return offset;
}

std::size_t packed_size(const Kernels& kernels, const MultiHeadAttentionConfig& config) {
  return static_cast<std::size_t>(packed_offset(kernels, config, projection_count)) * sizeof(float);
}

// One forward: the three projections, the attention, and the projection of its heads.
struct Forward {
  Projection projections[projection_count];
  std::int64_t input_tasks[3];
  Attention attention;
  AttentionPlan plan;
  char* attention_memory;
};

void run_inputs(const void* context, std::int64_t task, int) {
  const Forward& forward = *static_cast<const Forward*>(context);
  int which = 0;
  for (; task >= forward.input_tasks[which]; ++which) task -= forward.input_tasks[which];
  forward.projections[which].run(task);
}

template <AttentionStage stage>
void run_heads(const void* context, std::int64_t task, int thread) {
  const Forward& forward = *static_cast<const Forward*>(context);
  run_attention_task(forward.attention, forward.plan, stage, task, forward.attention_memory, thread);
}

template <AttentionStage stage>
Stage stage_of(const Forward& forward) {
  return {attention_tasks(forward.attention, forward.plan, stage), run_heads<stage>};
}

void run_output(const void* context, std::int64_t task, int) {
  static_cast<const Forward*>(context)->projections[output].run(task);
}

template <class Element>
Operand<Element> batch_of_rows(const View<Element>& view) {
  Operand<Element> operand;
  operand.data = view.data;
  operand.batch_stride = view.strides[0];
  operand.row_stride = view.strides[1];
  operand.stride = view.strides[2];
  return operand;
}

// [B][H][rows][depth], contiguous.
Operand<float> split_heads(float* data, std::int64_t heads, std::int64_t rows, std::int64_t depth) {
  Operand<float> operand;
  operand.data = data;
  operand.row_stride = depth;
  operand.head_stride = rows * depth;
  operand.batch_stride = heads * rows * depth;
  return operand;
}

Operand<const float> read_only(const Operand<float>& operand) {
  return {operand.data, operand.batch_stride, operand.head_stride, operand.row_stride, operand.stride};
}

PagedRows<const float> key_rows_of(const Operand<float>& operand) {
  PagedRows<const float> rows;
  rows.data = operand.data;
  rows.batch_stride = operand.batch_stride;
  rows.head_stride = operand.head_stride;
  rows.row_stride = operand.row_stride;
  rows.stride = operand.stride;
  return rows;
}

}  // namespace

MultiHeadAttention::~MultiHeadAttention() { attend::release(owned_); }

void MultiHeadAttention::release() noexcept {
  attend::release(owned_);
  owned_ = nullptr;
  packed_ = nullptr;
  kernels_ = nullptr;
  config_ = MultiHeadAttentionConfig();
}

MultiHeadAttention::MultiHeadAttention(MultiHeadAttention&& other) noexcept {
  *this = static_cast<MultiHeadAttention&&>(other);
}

MultiHeadAttention& MultiHeadAttention::operator=(MultiHeadAttention&& other) noexcept {
  if (this == &other) return *this;
  attend::release(owned_);
  config_ = other.config_;
  kernels_ = other.kernels_;
  packed_ = other.packed_;
  owned_ = other.owned_;
  other.owned_ = nullptr;
  other.release();
  return *this;
}

std::size_t MultiHeadAttention::packed_bytes(const MultiHeadAttentionConfig& config) noexcept {
  const Kernels* kernels = find_kernels(config.isa);
  if (kernels == nullptr || !validate_config(config).ok()) return 0;
  return packed_size(*kernels, config) + alignment - 1;
}

Status MultiHeadAttention::make(const MultiHeadAttentionConfig& config,
                                const MultiHeadAttentionWeights& weights,
                                MultiHeadAttention* attention, void* memory,
                                std::size_t memory_bytes) noexcept {
  const Kernels* kernels = nullptr;
  Status status = require_kernels(config.isa, &kernels);
  if (status.ok()) status = validate_config(config);
  if (status.ok()) status = validate_weights(config, weights);
  if (!status.ok()) return status;
  if (attention == nullptr) return Status::error(StatusCode::invalid_argument, "attention: null");

  const FloatingPointMode mode;
  const std::size_t bytes = packed_size(*kernels, config);
  MultiHeadAttention made;
  if (memory == nullptr) {
    made.owned_ = memory = allocate(bytes);
    if (memory == nullptr) {
      return Status::error(StatusCode::out_of_memory, "packed weights: no memory for %zu bytes", bytes);
    }
  } else if (memory_bytes < bytes + alignment - 1) {
    return Status::error(StatusCode::out_of_memory, "memory_bytes: %zu, expected at least packed_bytes(config) = %zu",
                         memory_bytes, bytes + alignment - 1);
  }
  made.packed_ = static_cast<float*>(align_up(memory));
  made.config_ = config;
  made.config_.isa = kernels->isa;
  made.kernels_ = kernels;

  const ConstTensorView* matrices[] = {&weights.query, &weights.key, &weights.value, &weights.output};
  const ConstTensorView* biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias};
  for (int which = 0; which < projection_count; ++which) {
    pack_projection(*kernels, matrices[which]->data, matrices[which]->strides[0], matrices[which]->strides[1],
                    biases[which]->data, biases[which]->strides[0], input_width(config, which),
                    config.num_hiddens, made.packed_ + packed_offset(*kernels, config, which));
  }
  *attention = static_cast<MultiHeadAttention&&>(made);
  return Status();
}

Status MultiHeadAttention::make_random(const MultiHeadAttentionConfig& config, std::uint64_t seed,
                                       MultiHeadAttention* attention, void* memory,
                                       std::size_t memory_bytes) noexcept {
  const Status status = validate_config(config);
  if (!status.ok()) return status;
  const FloatingPointMode mode;
  const std::int64_t width = config.num_hiddens;
  std::int64_t floats = 0;
  for (int which = 0; which < projection_count; ++which) floats += width * input_width(config, which);
  float* drawn = static_cast<float*>(allocate(static_cast<std::size_t>(floats) * sizeof(float)));
  if (drawn == nullptr) {
    return Status::error(StatusCode::out_of_memory, "weights: no memory for %lld floats",
                         static_cast<long long>(floats));
  }
  MultiHeadAttentionWeights weights;
  ConstTensorView* matrices[] = {&weights.query, &weights.key, &weights.value, &weights.output};
  std::int64_t start = 0;
  for (int which = 0; which < projection_count; ++which) {
    const std::int64_t inputs = input_width(config, which);
    const float limit = static_cast<float>(sqrt(6.0 / static_cast<double>(inputs + width)));
    for (std::int64_t i = 0; i < inputs * width; ++i) {
      const std::uint64_t bits = mix_bits(dropout_row(seed, which, 0, 0) + 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(i) + 1));
      drawn[start + i] = limit * (static_cast<float>(bits >> 40) * 0x1p-23f - 1.0f);
    }
    *matrices[which] = ConstTensorView(drawn + start, width, inputs);
    start += inputs * width;
  }
  const Status made = make(config, weights, attention, memory, memory_bytes);
  attend::release(drawn);
  return made;
}

std::size_t MultiHeadAttention::workspace_bytes(const ForwardShape& shape, int threads) const noexcept {
  AttentionOptions options;
  options.threads.count = threads;
  return workspace_bytes(shape, options);
}

std::size_t MultiHeadAttention::workspace_bytes(const ForwardShape& shape, const AttentionOptions& options) const noexcept {
  ForwardPlan plan;
  if (kernels_ == nullptr || shape.batch < 0 || shape.queries < 0 || shape.keys < 0 || options.threads.count < 1 ||
      options.threads.count > max_threads || !validate_scoring(options, config_.num_heads).ok() ||
      !plan_forward(*kernels_, config_, shape, options, options.threads.count, &plan)) {
    return 0;
  }
  return plan.bytes + alignment - 1;
}

Status MultiHeadAttention::forward(const ConstTensorView& queries, const ConstTensorView& keys,
                                   const ConstTensorView& values, const LengthsView& valid_lens,
                                   const TensorView& result, Workspace& workspace,
                                   const AttentionOptions& options) const noexcept {
  if (kernels_ == nullptr) {
    return Status::error(StatusCode::invalid_argument, "this MultiHeadAttention has not been made");
  }
  const Status status = validate_forward(config_, queries, keys, values, valid_lens, result, options);
  if (!status.ok()) return status;
  const Kernels& kernels = *kernels_;
  const ForwardShape shape = {queries.sizes[0], queries.sizes[1], keys.sizes[1]};
  if (shape.batch == 0 || shape.queries == 0) return Status();

  const FloatingPointMode mode;
  Threads threads = options.threads;
  if (forward_work(config_, shape) < least_threaded_work) threads.count = 1;
  ForwardPlan plan;
  if (!plan_forward(kernels, config_, shape, options, threads.count, &plan)) {
    return Status::error(StatusCode::invalid_argument, "queries: a batch of %lld with %lld queries and %lld keys is too large",
                         static_cast<long long>(shape.batch), static_cast<long long>(shape.queries),
                         static_cast<long long>(shape.keys));
  }
  char* memory = static_cast<char*>(workspace.reserve(plan.bytes));
  if (memory == nullptr) {
    return Status::error(StatusCode::out_of_memory, "workspace: holds %zu bytes, %zu are needed", workspace.bytes(), plan.bytes);
  }

  Forward forward;
  forward.plan = plan.attention;
  forward.attention_memory = memory + plan.attention_memory;
  Attention& attention = forward.attention;
  attention.kernels = &kernels;
  attention.heads = attention.groups = config_.num_heads;
  attention.depth = attention.value_depth = config_.num_hiddens / config_.num_heads;
  apply_options(options, valid_lens, &attention);
  attention.visibility.sequences.count = shape.batch;
  attention.visibility.sequences.queries = shape.queries;
  attention.visibility.sequences.keys = shape.keys;
  attention.dropout_rate = options.training ? config_.dropout : 0.0f;
  std::int64_t* query_rows = reinterpret_cast<std::int64_t*>(memory + plan.query_rows);
  std::int64_t* key_rows = reinterpret_cast<std::int64_t*>(memory + plan.key_rows);
  std::int64_t* first_keys = reinterpret_cast<std::int64_t*>(memory + plan.first_keys);
  query_rows[0] = key_rows[0] = 0;
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    const KeyRange range = attention.visibility.of_sequence(b);
    first_keys[b] = range.begin;
    query_rows[b + 1] = query_rows[b] + shape.queries;
    key_rows[b + 1] = key_rows[b] + (range.empty() ? 0 : range.end - range.begin);
  }
  make_relative_table(kernels, options.relative_position_bias, reinterpret_cast<float*>(memory + plan.relative), &attention.biases);

  const std::int64_t heads = config_.num_heads, width = config_.num_hiddens, depth = width / heads;
  float* parts[] = {reinterpret_cast<float*>(memory + plan.queries), reinterpret_cast<float*>(memory + plan.keys),
                    reinterpret_cast<float*>(memory + plan.values), reinterpret_cast<float*>(memory + plan.heads)};
  const ConstTensorView* inputs[] = {&queries, &keys, &values};
  for (int which = 0; which < projection_count; ++which) {
    Projection& projection = forward.projections[which];
    const std::int64_t in = input_width(config_, which);
    projection.kernels = &kernels;
    projection.weights = PackedProjection::at(kernels, packed_ + packed_offset(kernels, config_, which), in, width, config_.bias);
    const bool of_keys = which == key || which == value;
    projection.rows = {shape.batch, of_keys ? key_rows : query_rows, of_keys ? first_keys : nullptr};
    projection.rows_per_task = projection_rows(kernels, in);
    if (which == output) {
      projection.input.data = parts[output];
      projection.input.batch_stride = shape.queries * width;
      projection.input.row_stride = width;
      projection.output = batch_of_rows(result);
      projection.head_size = width;
    } else {
      projection.input = batch_of_rows(*inputs[which]);
      projection.output = split_heads(parts[which], heads, which == query ? shape.queries : shape.keys, depth);
      projection.head_size = depth;
      forward.input_tasks[which] = projection.tasks();
    }
  }

  attention.q = read_only(forward.projections[query].output);
  attention.k = key_rows_of(forward.projections[key].output);
  attention.v = key_rows_of(forward.projections[value].output);
  attention.output.data = parts[output];
  attention.output.batch_stride = shape.queries * width;
  attention.output.head_stride = depth;
  attention.output.row_stride = width;
  if (!options.attention_weights.absent()) attention.weights = weights_output(options);
  if (!options.lse.absent()) attention.lse = {options.lse.data, options.lse.strides[0], options.lse.strides[1], options.lse.strides[2], 1};

  const Stage stages[] = {
      {forward.input_tasks[query] + forward.input_tasks[key] + forward.input_tasks[value], run_inputs},
      stage_of<AttentionStage::compute>(forward),
      stage_of<AttentionStage::merge>(forward),
      stage_of<AttentionStage::write_weights>(forward),
      {forward.projections[output].tasks(), run_output},
  };
  run_stages(threads, stages, 5, &forward);
  return Status();
}

}  // namespace attend
