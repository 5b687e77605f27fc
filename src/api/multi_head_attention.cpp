// The layer: project, norm and rotate, attend, project.
#include <math.h>

#include <initializer_list>
#include <new>

#include "attend/attend.hpp"
#include "base/cpu.h"
#include "base/dispatch.h"
#include "base/dropout.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "call/describe.h"
#include "check/calls.h"
#include "data/cache_state.h"
#include "data/layer.h"
#include "run/forward.h"

namespace attend {

// What is called once, when a layer is made or a program plans, is small rather than fast: 2 KB.
#define ATTEND_ONCE __attribute__((cold))

namespace {

// [B][H][rows][depth], contiguous.
PagedRows<float> split_heads(float* data, std::int64_t heads, std::int64_t rows, std::int64_t depth) {
  Rows<float> operand;
  operand.data = data;
  operand.row_stride = depth;
  operand.head_stride = rows * depth;
  operand.batch_stride = heads * rows * depth;
  return operand;
}

// The rows of queries, of the output, and of keys to project: keys that some query sees; for a cache all, but those that a ring drops.
struct ProjectedRows {
  SelectedRows queries, keys, outputs;
};

ProjectedRows projected_rows(const Visibility& visibility, const CacheState* cache, bool appends, char* memory, const ForwardPlan& plan) {
  const Sequences& sequences = visibility.sequences;
  const auto numbers = [memory](std::size_t at) { return reinterpret_cast<std::int64_t*>(memory + at); };
  std::int64_t* query_rows = numbers(plan.query_rows);
  std::int64_t* key_rows = numbers(plan.key_rows);
  std::int64_t* first_keys = numbers(plan.first_keys);
  std::int64_t* output_rows = cache != nullptr ? numbers(plan.output_rows) : query_rows;
  query_rows[0] = key_rows[0] = output_rows[0] = 0;
  for (std::int64_t b = 0; b < sequences.count; ++b) {
    KeyRange range;
    if (cache == nullptr) {
      range = visibility.of_sequence(b);
    } else if (appends) {
      const std::int64_t before = cache->lengths[b], kept = cache->next_firsts[b] - before;
      range = {kept > 0 ? kept : 0, cache->next_lengths[b] - before};
    }
    first_keys[b] = sequences.first_key(b) + range.begin;
    query_rows[b + 1] = query_rows[b] + sequences.query_count(b);
    key_rows[b + 1] = key_rows[b] + (range.empty() ? 0 : range.end - range.begin);
    if (cache != nullptr) output_rows[b + 1] = output_rows[b] + sequences.queries;
  }
  // All queries take part: those of a packed sequence begin where the sequence before ends.
  const std::int64_t* first = sequences.packed() ? query_rows : nullptr;
  return {{sequences.count, query_rows, first}, {sequences.count, key_rows, first_keys}, {sequences.count, output_rows, first}};
}

Status not_made() { return Status::error(StatusCode::invalid_argument, "this MultiHeadAttention has not been made"); }

Status no_cache(const KeyValueCache* cache) {
  return Status::error(StatusCode::invalid_argument, cache == nullptr ? "cache: null" : "cache: it has not been made");
}

// The layer that the parts of a call are made from.
struct Layer {
  const Kernels& kernels;
  const MultiHeadAttentionConfig& config;
  const float* packed;
  LayerSizes sizes;
  LayerLayout layout;

  Layer(const Kernels& kernels, const MultiHeadAttentionConfig& config, const float* packed)
      : kernels(kernels), config(config), packed(packed), sizes(config), layout(kernels, config) {}
};

std::int64_t relative_floats(const Kernels& kernels, const AttentionOptions& options) {
  return relative_table_size(kernels, options.relative_position_bias);
}

bool plan_call(const Kernels& kernels, const MultiHeadAttentionConfig& config, const LayerCall& call, ForwardPlan* plan) {
  const LayerSizes sizes(config);
  return plan_forward(kernels, sizes, LayerLayout(kernels, config).projections, call.shape, largest_shape_of(describe(kernels, sizes, call)), relative_floats(kernels, call.options),
                      call.options.threads.count, plan);
}

// Makes the projections: inputs to where the attention reads them, its heads to the output.
void add_projections(const Layer& layer, const Rows<const float> (&operands)[3], const Rows<float>& output, const LayerCall& call,
                     const ForwardPlan& plan, char* memory, Forward* forward) {
  const LayerSizes& sizes = layer.sizes;
  const CacheState* const cache = call.cache;
  const bool in_place = cache != nullptr && forward->call.attention.stored == nullptr;  // keys and values go where they stay
  const Visibility& visibility = forward->call.attention.visibility;
  const ProjectedRows rows = projected_rows(visibility, cache, call.appends, memory, plan);
  const auto part = [memory](std::size_t at) { return reinterpret_cast<float*>(memory + at); };
  Rows<float>& heads = forward->call.attention.output;  // (B, H, L, D) as (B, L, H D)
  heads.data = part(plan.heads);
  heads.row_stride = sizes.heads * sizes.depth;
  heads.head_stride = sizes.depth;
  heads.batch_stride = call.shape.queries * heads.row_stride;
  const std::int64_t value_panel = plan.attention.value_panel > 0 ? plan.attention.value_panel : sizes.depth;
  const Rows<const float> inputs[] = {operands[0], operands[1], operands[2], heads};
  const PagedRows<float> outputs[] = {
      split_heads(part(plan.queries), sizes.heads, call.shape.queries, sizes.depth),
      in_place ? cache->keys : split_heads(part(plan.keys), sizes.kv_heads, call.shape.keys, sizes.depth),
      in_place ? cache->values : split_heads(part(plan.values), sizes.kv_heads * sizes.depth / value_panel, call.shape.keys, value_panel),
      output};
  for (int which = 0; which < projection_count; ++which) {
    Projection& projection = forward->projections[which];
    const bool of_keys = which == key_projection || which == value_projection;
    projection.kernels = &layer.kernels;
    projection.weights = layer.layout.projections[which].at(layer.packed + layer.layout.starts[which], layer.config.bias);
    projection.rows = of_keys ? rows.keys : which == query_projection ? rows.queries : rows.outputs;
    projection.rows_per_task = projection_rows(layer.kernels, projection.weights, projection.rows.total());
    projection.input = inputs[which];
    projection.output = outputs[which];
    projection.output_rows = of_keys && in_place ? cache->lengths : nullptr;
    if (visibility.sequences.packed()) projection.input.batch_stride = projection.output.batch_stride = 0;
    projection.head_size = which == output_projection ? sizes.outputs[which] : which == value_projection ? value_panel : sizes.depth;
    if (which != output_projection) forward->input_tasks[which] = projection.tasks();
  }
}

bool same_rows(const Rows<const float>& a, const Rows<const float>& b) {
  return a.data == b.data && a.batch_stride == b.batch_stride && a.row_stride == b.row_stride && a.stride == b.stride;
}

// Makes the rows that projections of low precision read: inputs that are the same view are converted once. Keys may be rows that no
// query is, so queries serve them only where all their rows take part.
void add_converted_rows(const LayerCall& call, const ForwardPlan& plan, char* memory, Forward* forward) {
  const bool packed = forward->call.attention.visibility.sequences.packed();
  const bool all_queries = call.shape.queries == call.shape.keys && forward->projections[query_projection].rows.total() == call.shape.batch * call.shape.queries;
  Rows<const float> inputs[projection_count];
  for (int which = 0; which < projection_count; ++which) {
    Projection& projection = forward->projections[which];
    ConvertedRows& converted = forward->converted[which];
    converted = ConvertedRows();
    inputs[which] = projection.input;
    const std::int64_t row_floats = projection.weights.row_floats();
    if (row_floats == 0) continue;
    const bool of_keys = which == key_projection || which == value_projection;
    int before = 0;
    while (before < which && !(same_rows(inputs[before], projection.input) && projection.weights.inputs == forward->projections[before].weights.inputs &&
                               (before != query_projection || all_queries))) {
      ++before;
    }
    if (before < which) {
      projection.input = forward->projections[before].input;
      continue;
    }
    const std::int64_t rows = of_keys ? call.shape.keys : call.shape.queries;
    Rows<float> output;
    output.data = reinterpret_cast<float*>(memory + plan.converted[which]) + row_header;
    output.row_stride = row_floats;
    output.batch_stride = packed ? 0 : rows * row_floats;
    converted.product = projection.weights.product;
    converted.rows = projection.rows;
    converted.input = projection.input;
    converted.output = output;
    converted.depth = static_cast<int>(projection.weights.inputs);
    converted.group = projection.weights.group;
    projection.input = output;
  }
}

// Makes the norms and rotations of projected rows.
void add_head_rows(const Layer& layer, const LayerCall& call, Forward* forward) {
  const Visibility& visibility = forward->call.attention.visibility;
  const RotaryEmbedding& rotary = layer.config.rotary;
  const auto head_rows = [&](int which, std::int64_t count, const float* norm, const RowPositions& positions) -> HeadRows {
    const Projection& projection = forward->projections[which];
    return {&layer.kernels, projection.rows, projection.output, projection.output_rows, count, layer.sizes.depth,
            norm, layer.config.norm_epsilon, rotary.absent() ? nullptr : &rotary, positions};
  };
  forward->query_rows = head_rows(query_projection, layer.sizes.heads, norms_queries(layer.config) ? layer.packed + layer.layout.query_norm : nullptr,
                                  query_positions(call, visibility));
  forward->key_rows = head_rows(key_projection, layer.sizes.kv_heads, norms_keys(layer.config) ? layer.packed + layer.layout.key_norm : nullptr,
                                key_positions(call, visibility));
}

// Makes the attention: what it reads, and what it writes beside the heads.
void add_operands(const Layer& layer, const LayerCall& call, const ForwardPlan& plan, Forward* forward) {
  Attention& attention = forward->call.attention;
  attention.q = forward->projections[query_projection].output;
  const PagedRows<float>&keys = forward->projections[key_projection].output, &values = forward->projections[value_projection].output;
  forward->appended = attention.stored != nullptr && call.appends ? call.cache : nullptr;
  if (attention.stored == nullptr) {
    attention.k = keys;
    attention.v = values;
  }
  if (plan.attention.value_panel > 0) {  // a panel is a head to the projection
    attention.value_panel_stride = attention.v.head_stride;
    attention.v.head_stride *= layer.sizes.depth / plan.attention.value_panel;
  }
  const AttentionOptions& options = call.options;
  if (!options.attention_weights.absent()) attention.weights = weights_output(options);
  if (!options.lse.absent()) attention.lse = by_heads(options.lse);
}

}  // namespace

// The arguments of a call.
struct MultiHeadAttention::Call {
  const ConstTensorView &queries, &keys, &values;
  const TensorView& output;
  LayerCall layer;
};

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

ATTEND_ONCE std::size_t MultiHeadAttention::packed_bytes(const MultiHeadAttentionConfig& config) noexcept {
  const Kernels* kernels = find_kernels(config.isa);
  if (kernels == nullptr || !validate_config(config).ok()) return 0;
  return LayerLayout(*kernels, config).bytes() + alignment - 1;
}

ATTEND_ONCE Status MultiHeadAttention::make(const MultiHeadAttentionConfig& config,
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
  const LayerLayout layout(*kernels, config);
  const std::size_t bytes = layout.bytes();
  MultiHeadAttention made;
  if (memory == nullptr) {
    made.owned_ = memory = allocate(bytes);
    if (memory == nullptr) {
      return Status::error(StatusCode::out_of_memory, "packed weights: no memory for %zu bytes", bytes);
    }
    prefer_huge_pages(memory, bytes);
  } else if (memory_bytes < bytes + alignment - 1) {
    return Status::error(StatusCode::out_of_memory, "memory_bytes: %zu, expected at least packed_bytes(config) = %zu",
                         memory_bytes, bytes + alignment - 1);
  }
  made.packed_ = static_cast<float*>(align_up(memory));
  made.config_ = config;
  made.config_.isa = kernels->isa;
  const LayerSizes sizes(config);
  made.config_.query_size = sizes.inputs[query_projection];
  made.config_.key_size = sizes.inputs[key_projection];
  made.config_.value_size = sizes.inputs[value_projection];
  for (const ConstTensorView* bias : {&weights.query_bias, &weights.key_bias, &weights.value_bias, &weights.output_bias}) {
    made.config_.bias |= !bias->absent();
  }
  made.kernels_ = kernels;

  pack_layer(*kernels, config, weights, made.packed_);
  ConstTensorView& frequencies = made.config_.rotary.inverse_frequencies;
  if (!frequencies.absent()) frequencies = ConstTensorView(made.packed_ + layout.frequencies, frequencies.sizes[0]);
  *attention = static_cast<MultiHeadAttention&&>(made);
  return Status();
}

ATTEND_ONCE Status MultiHeadAttention::make_random(const MultiHeadAttentionConfig& config, std::uint64_t seed,
                                       MultiHeadAttention* attention, void* memory,
                                       std::size_t memory_bytes) noexcept {
  ATTEND_CHECK(validate_config(config));
  const FloatingPointMode mode;
  const LayerSizes sizes(config);
  std::int64_t floats = 0;
  for (int which = 0; which < projection_count; ++which) floats += sizes.outputs[which] * sizes.inputs[which];
  float* drawn = static_cast<float*>(allocate(static_cast<std::size_t>(floats) * sizeof(float)));
  if (drawn == nullptr) {
    return Status::error(StatusCode::out_of_memory, "weights: no memory for %lld floats",
                         static_cast<long long>(floats));
  }
  MultiHeadAttentionWeights weights;
  ConstTensorView* matrices[] = {&weights.query, &weights.key, &weights.value, &weights.output};
  std::int64_t start = 0;
  for (int which = 0; which < projection_count; ++which) {
    const std::int64_t inputs = sizes.inputs[which], outputs = sizes.outputs[which];
    const float limit = static_cast<float>(sqrt(6.0 / static_cast<double>(inputs + outputs)));
    for (std::int64_t i = 0; i < inputs * outputs; ++i) {
      const std::uint64_t bits = mix_bits(dropout_row(seed, which, 0, 0) + 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(i) + 1));
      drawn[start + i] = limit * (static_cast<float>(bits >> 40) * 0x1p-23f - 1.0f);
    }
    *matrices[which] = ConstTensorView(drawn + start, outputs, inputs);
    start += inputs * outputs;
  }
  const Status made = make(config, weights, attention, memory, memory_bytes);
  attend::release(drawn);
  return made;
}

ATTEND_ONCE std::size_t MultiHeadAttention::workspace_bytes(const ForwardShape& shape, const AttentionOptions& options) const noexcept {
  ForwardPlan plan;
  if (kernels_ == nullptr || shape.batch < 0 || shape.queries < 0 || shape.keys < 0 || !validate_isa(kernels_, options).ok() ||
      !validate_core_arithmetic(*kernels_, options).ok() || !validate_scoring(options, config_.num_heads).ok() || !validate_sequences(options, shape).ok() ||
      !plan_call(*kernels_, config_, {shape, options}, &plan)) {
    return 0;
  }
  return plan.bytes + alignment - 1;
}

ATTEND_ONCE std::size_t MultiHeadAttention::workspace_bytes(const ForwardShape& shape, const KeyValueCache& cache,
                                                const AttentionOptions& options) const noexcept {
  ForwardPlan plan;
  if (kernels_ == nullptr || cache.state() == nullptr || shape.queries < 0 || shape.keys < 0 ||
      !validate_isa(kernels_, options).ok() || !validate_layer_cache(config_, *cache.state(), shape.batch).ok() ||
      !validate_use(cached_forward_call, options).ok() || !validate_scoring(options, config_.num_heads).ok() ||
      !plan_call(*kernels_, config_, {shape, options, {}, cache.state()}, &plan)) {
    return 0;
  }
  return plan.bytes + alignment - 1;
}

Status MultiHeadAttention::forward(const ConstTensorView& queries, const ConstTensorView& keys,
                                   const ConstTensorView& values, const LengthsView& valid_lens,
                                   const TensorView& result, Workspace& workspace,
                                   const AttentionOptions& options) const noexcept {
  if (kernels_ == nullptr) return not_made();
  ATTEND_CHECK(validate_isa(kernels_, options));
  ATTEND_CHECK(validate_core_arithmetic(*kernels_, options));
  ATTEND_CHECK(validate_forward(config_, queries, keys, values, valid_lens, result, options));
  if (queries.sizes[0] == 0 || queries.sizes[1] == 0) return Status();
  return run({queries, keys, values, result, {{queries.sizes[0], queries.sizes[1], keys.sizes[1]}, options, valid_lens}}, workspace);
}

Status MultiHeadAttention::forward_cached(const ConstTensorView& queries, const ConstTensorView& keys,
                                   const ConstTensorView& values, const IndexView& new_counts, KeyValueCache* cache,
                                   const TensorView& result, Workspace& workspace,
                                   const AttentionOptions& options) const noexcept {
  if (kernels_ == nullptr) return not_made();
  ATTEND_CHECK(validate_isa(kernels_, options));
  CacheState* const state = cache == nullptr ? nullptr : cache->state();
  if (state == nullptr) return no_cache(cache);
  ATTEND_CHECK(validate_cached_forward(config_, queries, keys, values, new_counts, *state, result, options));
  return run({queries, keys, values, result, {{queries.sizes[0], queries.sizes[1], keys.sizes[1]}, options, {}, state, new_counts, !keys.absent()}}, workspace);
}

Status MultiHeadAttention::project(const ConstTensorView& keys, const ConstTensorView& values, const IndexView& counts,
                                   KeyValueCache* cache, Workspace& workspace, const AttentionOptions& options) const noexcept {
  if (kernels_ == nullptr) return not_made();
  ATTEND_CHECK(validate_isa(kernels_, options));
  CacheState* const state = cache == nullptr ? nullptr : cache->state();
  if (state == nullptr) return no_cache(cache);
  ATTEND_CHECK(validate_project(config_, keys, values, counts, *state, options));
  return run({{}, keys, values, {}, {{keys.sizes[0], 0, keys.sizes[1]}, options, {}, state, counts, true}}, workspace);
}

Status MultiHeadAttention::run(const Call& call, Workspace& workspace) const noexcept {
  const FloatingPointMode mode;
  const Forward* forward = nullptr;
  Status status = prepare(call, workspace, &forward);
  if (!status.ok()) return status;
  run_stages(forward->threads, forward->stages, forward->stage_count);
  if (call.layer.appends) call.layer.cache->commit_append();
  return status;
}

// Prepares a call outside of run, on whose stack all kernels stand.
__attribute__((noinline)) Status MultiHeadAttention::prepare(const Call& call, Workspace& workspace, const Forward** prepared) const noexcept {
  const Layer layer(*kernels_, config_, packed_);
  const AttentionOptions& options = call.layer.options;
  const ForwardShape& shape = call.layer.shape;
  CacheState* const cache = call.layer.cache;
  if (call.layer.appends) cache->plan_append(call.layer.counts, shape.keys);
  Attention attention = describe(layer.kernels, layer.sizes, call.layer);
  attention.dropout_rate = options.training ? config_.dropout : 0.0f;
  Status status = validate_counted_positions(config_.rotary, call.layer, attention.visibility);
  if (status.ok() && cache != nullptr) status = validate_reach(*cache, attention.visibility);
  if (!status.ok()) return status;

  Threads threads = options.threads;
  if (forward_work(config_, shape, cache != nullptr ? attention.sequences().keys - shape.keys : 0) < least_threaded_work(threads)) threads.count = 1;
  ForwardPlan plan;
  if (!plan_forward(layer.kernels, layer.sizes, layer.layout.projections, shape, largest_shape_of(attention), relative_floats(layer.kernels, options), threads.count, &plan)) {
    return Status::error(StatusCode::invalid_argument, "queries: a batch of %lld with %lld queries and %lld keys is too large",
                         static_cast<long long>(shape.batch), static_cast<long long>(shape.queries),
                         static_cast<long long>(shape.keys));
  }
  char* memory = static_cast<char*>(workspace.reserve(plan.bytes));
  if (memory == nullptr) {
    return Status::error(StatusCode::out_of_memory, "workspace: holds %zu bytes, %zu are needed", workspace.bytes(), plan.bytes);
  }
  make_relative_table(layer.kernels, options.relative_position_bias, attention.visibility, reinterpret_cast<float*>(memory + plan.relative), &attention.biases);
  Forward& forward = *new (memory + plan.forward) Forward;  // not zeroed: each part is set before its use
  forward.threads = threads;
  forward.call.attention = attention;
  forward.call.plan = plan.attention;
  forward.call.memory = memory + plan.attention_memory;
  const Rows<const float> inputs[] = {by_entries(call.queries), by_entries(call.keys), by_entries(call.values)};
  add_projections(layer, inputs, by_entries(call.output), call.layer, plan, memory, &forward);
  add_converted_rows(call.layer, plan, memory, &forward);
  add_head_rows(layer, call.layer, &forward);
  add_operands(layer, call.layer, plan, &forward);
  write_padding(forward.call.attention);
  add_forward_stages(forward, shape.queries > 0);
  *prepared = &forward;
  return Status();
}

}  // namespace attend
