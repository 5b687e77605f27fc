// Checks the shapes of queries, keys, values and outputs.
#include "check/calls.h"

#include "check/parts.h"
#include "data/cache_state.h"

namespace attend {

namespace {

Status check_width(const char* name, std::int64_t width) {
  if (width >= 1 && width <= largest_head) return Status();
  return Status::error(invalid, "%s: width %lld, expected 1 to %lld", name, Number{width}, Number{largest_head});
}

// Whether a thread's copy of a sequence has a size: where strides of 0 repeat rows, it takes more than their memory.
Status check_copies(const char* name, const ConstTensorView& keys, std::int64_t rows, std::int64_t width) {
  if (static_cast<double>(rows) * static_cast<double>(width) * max_threads <= 0x1p58) return Status();
  return Status::error(invalid, "%s: shape %s is too large", name, shape_text(keys).text);
}

}  // namespace

Status validate_operands(const ConstTensorView& queries, const ConstTensorView& keys,
                         const ConstTensorView& values) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, -1));
  const std::int64_t batch = queries.sizes[0], depth = queries.sizes[2];
  ATTEND_CHECK(check_width("queries", depth));
  ATTEND_CHECK(check_view("keys", keys, batch, -1, depth));
  ATTEND_CHECK(check_view("values", values, batch, keys.sizes[1], -1));
  ATTEND_CHECK(check_width("values", values.sizes[2]));
  return check_copies("keys", keys, keys.sizes[1], depth + values.sizes[2]);
}

Status validate_dot_product(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values,
                            const LengthsView& valid_lens, const TensorView& output,
                            const AttentionOptions& options) noexcept {
  ATTEND_CHECK(validate_operands(queries, keys, values));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(check_view("output", output, batch, rows, values.sizes[2]));
  ATTEND_CHECK(validate_use(dot_product_call, options));
  const Operands operands = {{"queries", queries}, {"keys", keys}, {"values", values}, batch, 1, rows, keys.sizes[1]};
  return check_attention(operands, valid_lens, output, options, false);
}

Status validate_core_operands(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v) noexcept {
  ATTEND_CHECK(check_view("q", q, -1, -1, -1, -1));
  const std::int64_t batch = q.sizes[0], heads = q.sizes[1], depth = q.sizes[3];
  ATTEND_CHECK(check_width("q", depth));
  ATTEND_CHECK(check_view("k", k, batch, -1, -1, depth));
  const std::int64_t kv_heads = k.sizes[1];
  if (kv_heads < 1 || heads % kv_heads != 0) {
    return Status::error(invalid, "k: %lld heads, axis 1 of (batch, heads, rows, width), do not divide those of q, %lld", Number{kv_heads}, Number{heads});
  }
  ATTEND_CHECK(check_view("v", v, batch, kv_heads, k.sizes[2], -1));
  ATTEND_CHECK(check_width("v", v.sizes[3]));
  return check_copies("k", k, k.sizes[2], depth + v.sizes[3]);
}

Status validate_core(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v, const LengthsView& valid_lens,
                     const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(validate_core_operands(q, k, v));
  ATTEND_CHECK(check_view("output", output, q.sizes[0], q.sizes[1], q.sizes[2], v.sizes[3]));
  ATTEND_CHECK(validate_use(attention_call, options));
  const Operands operands = {{"q", q}, {"k", k}, {"v", v}, q.sizes[0], q.sizes[1], q.sizes[2], k.sizes[2]};
  return check_attention(operands, valid_lens, output, options, true);
}

Status validate_cached_queries(const ConstTensorView& q, const CacheState& state) noexcept {
  const KeyValueCacheConfig& config = state.config;
  ATTEND_CHECK(check_view("q", q, config.batch, -1, -1, config.head_dim));
  if (q.sizes[1] % config.num_kv_heads == 0) return Status();
  return Status::error(invalid, "cache: %lld heads do not divide those of q, %lld", Number{config.num_kv_heads}, Number{q.sizes[1]});
}

Status validate_cached_core(const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                            const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(validate_cached_queries(q, state));
  ATTEND_CHECK(validate_use(cached_attention_call, options));
  ATTEND_CHECK(check_view("output", output, q.sizes[0], q.sizes[1], q.sizes[2], state.config.value_dim));
  ATTEND_CHECK(check_cache_kernels(state, options.isa));
  ATTEND_CHECK(check_counts("query_counts", query_counts, q.sizes[0], q.sizes[2]));
  const Operands operands = {{"q", q}, {"the cache", state.memory}, {"the cache", state.memory}, q.sizes[0], q.sizes[1], q.sizes[2], state.longest()};
  return check_attention(operands, {}, output, options, true, {memory_of("query_counts", query_counts), memory_of("pages", state.config.pages)});
}

Status validate_merge(const ConstTensorView& other_output, const ConstTensorView& other_lse, const TensorView& output,
                      const TensorView& lse, const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("output", output, -1, -1, -1, -1));
  const std::int64_t* sizes = output.sizes;
  ATTEND_CHECK(check_view("other_output", other_output, sizes[0], sizes[1], sizes[2], sizes[3]));
  ATTEND_CHECK(check_view("lse", lse, sizes[0], sizes[1], sizes[2]));
  ATTEND_CHECK(check_view("other_lse", other_lse, sizes[0], sizes[1], sizes[2]));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_distinct("lse", lse));
  ATTEND_CHECK(check_apart({memory_of("output", output), memory_of("lse", lse)},
                           {memory_of("other_output", other_output), memory_of("other_lse", other_lse)}));
  return check_threads(options.threads);
}

Status validate_slopes(std::int64_t num_heads, const TensorView& slopes) noexcept {
  if (num_heads < 1) {
    return Status::error(invalid, "num_heads: %lld, expected 1 or more", Number{num_heads});
  }
  ATTEND_CHECK(check_view("slopes", slopes, num_heads));
  return check_distinct("slopes", slopes);
}

}  // namespace attend
