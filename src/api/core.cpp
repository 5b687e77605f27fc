// The attention core on given queries, keys and values, and the merging of partial results.
#include <math.h>

#include <new>

#include "attend/attend.hpp"
#include "base/cpu.h"
#include "base/dispatch.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "call/describe.h"
#include "check/calls.h"
#include "data/cache_state.h"
#include "plan/plan.h"
#include "run/attention.h"

namespace attend {

namespace {

// (B, n, ..) as (B, 1, n, ..).
template <class Element>
View<Element> one_head(const View<Element>& view) {
  if (view.absent()) return view;
  View<Element> heads = view;
  heads.rank = view.rank + 1;
  for (int axis = view.rank; axis > 1; --axis) {
    heads.sizes[axis] = view.sizes[axis - 1];
    heads.strides[axis] = view.strides[axis - 1];
  }
  heads.sizes[1] = 1;
  heads.strides[1] = 0;
  return heads;
}

// DotProductAttention's options, for the one head that it has.
AttentionOptions one_head(const AttentionOptions& options) {
  AttentionOptions one = options;
  one.empty_rows = EmptyRows::uniform;  // as D2L has it; so one query does not decode
  one.attention_weights = one_head(options.attention_weights);
  one.lse = one_head(options.lse);
  return one;
}

// Multiply-adds of a call in which every key is visible, with those that reading counts for; packed sequences take at most so many.
double attention_work(const Attention& attention) {
  const Sequences& sequences = attention.sequences();
  return static_cast<double>(sequences.count * attention.heads) * (static_cast<double>(sequences.queries) + reading_rows) *
         static_cast<double>(sequences.keys) * static_cast<double>(attention.depth + attention.value_depth);
}

// The workspace before what the plan asks for: the call, which no stack is to hold under the kernels, and the table of a relative bias.
struct CallMemory {
  std::size_t table, plan;
  CallMemory(const Kernels& kernels, const AttentionOptions& options)
      : table(aligned_bytes(sizeof(AttentionCall))),
        plan(table + aligned_bytes(static_cast<std::size_t>(relative_table_size(kernels, options.relative_position_bias)) * sizeof(float))) {}
};

// `described`: the attention without its outputs. *placed stays null where there is nothing to do.
Status place(const Attention& described, const TensorView& output, Workspace& workspace, const AttentionOptions& options, float dropout_rate,
             const AttentionCall** placed) {
  const Kernels& kernels = *described.kernels;
  if (described.sequences().count == 0 || described.sequences().queries == 0 || described.heads == 0) return Status();
  const AttentionPlan plan = plan_attention(kernels, shape_of(described), options.threads.count);
  const CallMemory parts(kernels, options);
  const std::size_t bytes = parts.plan + plan.bytes(options.threads.count);
  char* memory = static_cast<char*>(workspace.reserve(bytes));
  if (memory == nullptr) {
    return Status::error(StatusCode::out_of_memory, "workspace: holds %zu bytes, %zu are needed", workspace.bytes(), bytes);
  }
  AttentionCall* const call = new (memory) AttentionCall{described, plan, memory + parts.plan};
  Attention& attention = call->attention;
  attention.output = by_heads(output);
  attention.lse = by_heads(options.lse);
  attention.dropout_rate = dropout_rate;
  if (!options.attention_weights.absent()) attention.weights = weights_output(options);
  make_relative_table(kernels, options.relative_position_bias, attention.visibility, reinterpret_cast<float*>(memory + parts.table), &attention.biases);
  write_padding(attention);
  *placed = call;
  return Status();
}

// The two ways to a call are functions of their own, which have returned when kernels run.
__attribute__((noinline)) Status prepare(const Kernels& kernels, const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                                         const LengthsView& valid_lens, const TensorView& output, Workspace& workspace,
                                         const AttentionOptions& options, float dropout_rate, const AttentionCall** call) {
  return place(describe(kernels, q, k, v, valid_lens, options), output, workspace, options, dropout_rate, call);
}

__attribute__((noinline)) Status prepare_cached(const Kernels& kernels, const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                                                const TensorView& output, Workspace& workspace, const AttentionOptions& options, const AttentionCall** call) {
  const Attention described = describe(kernels, q, state, query_counts, options);
  const Status status = validate_reach(state, described.visibility);
  return status.ok() ? place(described, output, workspace, options, 0.0f, call) : status;
}

__attribute__((noinline)) Status prepare_dot_product(const Kernels& kernels, const ConstTensorView& queries, const ConstTensorView& keys,
                                                     const ConstTensorView& values, const LengthsView& valid_lens, const TensorView& output,
                                                     Workspace& workspace, const AttentionOptions& options, float dropout_rate, const AttentionCall** call) {
  return prepare(kernels, one_head(queries), one_head(keys), one_head(values), valid_lens, one_head(output), workspace, one_head(options), dropout_rate, call);
}

void run(const AttentionCall& call, Threads threads) {
  if (attention_work(call.attention) < least_threaded_work(threads)) threads.count = 1;
  Stage stages[max_stages];
  run_stages(threads, stages, add_attention_stages(call, stages));
}

// The workspace of a call with keys and values; 0 if it is not valid.
std::size_t call_bytes(const Kernels& kernels, const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                       const AttentionOptions& options) {
  if (!validate_core_operands(q, k, v).ok() || !validate_core_arithmetic(kernels, options).ok() || !validate_scoring(options, q.sizes[1]).ok() ||
      !validate_sequences(options, {q.sizes[0], q.sizes[2], k.sizes[2]}).ok()) {
    return 0;
  }
  const AttentionPlan plan = plan_attention(kernels, shape_of(describe(kernels, q, k, v, {}, options)), options.threads.count);
  return CallMemory(kernels, options).plan + plan.bytes(options.threads.count) + alignment - 1;
}

}  // namespace

std::size_t attention_workspace_bytes(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                                      const AttentionOptions& options) noexcept {
  const Kernels* kernels = find_kernels(options.isa);
  if (kernels == nullptr || !validate_use(attention_call, options).ok()) return 0;
  return call_bytes(*kernels, q, k, v, options);
}

Status attention(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v, const LengthsView& valid_lens,
                 const TensorView& output, Workspace& workspace, const AttentionOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_core_arithmetic(*kernels, options));
  ATTEND_CHECK(validate_core(q, k, v, valid_lens, output, options));
  const FloatingPointMode mode;
  const AttentionCall* call = nullptr;
  const Status status = prepare(*kernels, q, k, v, valid_lens, output, workspace, options, 0.0f, &call);
  if (call != nullptr) run(*call, options.threads);
  return status;
}

std::size_t attention_workspace_bytes(const ConstTensorView& q, const KeyValueCache& cache, const AttentionOptions& options) noexcept {
  const Kernels* kernels = find_kernels(options.isa);
  if (kernels == nullptr || cache.state() == nullptr || !validate_cached_queries(q, *cache.state()).ok() ||
      !validate_use(cached_attention_call, options).ok() || !validate_scoring(options, q.sizes[1]).ok()) {
    return 0;
  }
  const AttentionPlan plan = plan_attention(*kernels, largest_shape_of(describe(*kernels, q, *cache.state(), {}, options)));
  return CallMemory(*kernels, options).plan + plan.bytes(options.threads.count) + alignment - 1;
}

Status attention_cached(const ConstTensorView& q, const KeyValueCache& cache, const IndexView& query_counts, const TensorView& output,
                        Workspace& workspace, const AttentionOptions& options) noexcept {
  const CacheState* const state = cache.state();
  if (state == nullptr) return Status::error(StatusCode::invalid_argument, "cache: it has not been made");
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_cached_core(q, *state, query_counts, output, options));
  const FloatingPointMode mode;
  const AttentionCall* call = nullptr;
  const Status status = prepare_cached(*kernels, q, *state, query_counts, output, workspace, options, &call);
  if (call != nullptr) run(*call, options.threads);
  return status;
}

Status DotProductAttention::make(float dropout, DotProductAttention* attention, Isa isa) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(isa, &kernels));
  ATTEND_CHECK(validate_dropout(dropout));
  if (attention == nullptr) return Status::error(StatusCode::invalid_argument, "attention: null");
  attention->dropout_ = dropout;
  attention->kernels_ = kernels;
  return Status();
}

std::size_t DotProductAttention::workspace_bytes(const ConstTensorView& queries, const ConstTensorView& keys,
                                                 const ConstTensorView& values, const AttentionOptions& options) const noexcept {
  if (kernels_ == nullptr || !validate_isa(kernels_, options).ok() || !validate_core_arithmetic(*kernels_, options).ok() || !validate_operands(queries, keys, values).ok() || !validate_use(dot_product_call, options).ok()) return 0;
  return call_bytes(*kernels_, one_head(queries), one_head(keys), one_head(values), one_head(options));
}

Status DotProductAttention::forward(const ConstTensorView& queries, const ConstTensorView& keys,
                                    const ConstTensorView& values, const LengthsView& valid_lens,
                                    const TensorView& output, Workspace& workspace,
                                    const AttentionOptions& options) const noexcept {
  if (kernels_ == nullptr) {
    return Status::error(StatusCode::invalid_argument, "this DotProductAttention has not been made");
  }
  ATTEND_CHECK(validate_isa(kernels_, options));
  ATTEND_CHECK(validate_core_arithmetic(*kernels_, options));
  ATTEND_CHECK(validate_dot_product(queries, keys, values, valid_lens, output, options));
  const FloatingPointMode mode;
  const AttentionCall* call = nullptr;
  const Status status = prepare_dot_product(*kernels_, queries, keys, values, valid_lens, output, workspace, options, options.training ? dropout_ : 0.0f, &call);
  if (call != nullptr) run(*call, options.threads);
  return status;
}

namespace {

struct Merge {
  Rows<const float> other_output, other_lse;
  Rows<float> output, lse;
  std::int64_t heads, rows, columns;
};

void merge_row(const void* context, std::int64_t task, int) {
  const Merge& merge = *static_cast<const Merge*>(context);
  const std::int64_t b = task / merge.heads, h = task % merge.heads;
  for (std::int64_t i = 0; i < merge.rows; ++i) {
    float& lse = *merge.lse.row(b, h, i);
    const double one = static_cast<double>(lse), other = static_cast<double>(*merge.other_lse.row(b, h, i));
    const double largest = one > other ? one : other;
    if (largest == -HUGE_VAL) continue;  // both rows see no key
    const double one_weight = exp(one - largest), other_weight = exp(other - largest), sum = one_weight + other_weight;
    const float share = static_cast<float>(one_weight / sum), other_share = static_cast<float>(other_weight / sum);
    float* output = merge.output.row(b, h, i);
    const float* other_output = merge.other_output.row(b, h, i);
    for (std::int64_t c = 0; c < merge.columns; ++c) {
      float& x = output[c * merge.output.stride];
      x = share * x + other_share * other_output[c * merge.other_output.stride];
    }
    lse = static_cast<float>(largest + log(sum));
  }
}

}  // namespace

Status merge(const ConstTensorView& other_output, const ConstTensorView& other_lse, const TensorView& output,
             const TensorView& lse, const OperationOptions& options) noexcept {
  const Kernels* kernels = nullptr;
  ATTEND_CHECK(require_kernels(options.isa, &kernels));
  ATTEND_CHECK(validate_merge(other_output, other_lse, output, lse, options));
  const Merge merge = {by_heads(other_output), by_heads(other_lse), by_heads(output), by_heads(lse),
                       output.sizes[1],        output.sizes[2],     output.sizes[3]};
  const Stage stage = {output.sizes[0] * output.sizes[1], merge_row, &merge};
  run_stages(options.threads, &stage, 1);
  return Status();
}

Status default_alibi_slopes(std::int64_t num_heads, const TensorView& slopes) noexcept {
  ATTEND_CHECK(validate_slopes(num_heads, slopes));
  // Powers of 2^(-8 / n) for the power of two n below; what is left takes every other one of twice n.
  std::int64_t power = 1;
  while (2 * power <= num_heads) power *= 2;
  for (std::int64_t h = 0; h < num_heads; ++h) {
    const double exponent = h < power ? static_cast<double>(h + 1) / static_cast<double>(power)
                                      : static_cast<double>(2 * (h - power) + 1) / static_cast<double>(2 * power);
    slopes.data[h * slopes.strides[0]] = static_cast<float>(::exp2(-8.0 * exponent));
  }
  return Status();
}

}  // namespace attend
