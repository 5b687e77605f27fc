// Lays out what a layer's call takes beside its attention, and cuts its projections into tasks.
#include "plan/forward_plan.h"

#include "base/arithmetic.h"
#include "base/memory.h"

namespace attend {

bool plan_forward(const Kernels& kernels, const LayerSizes& sizes, const PackedProjection (&projections)[projection_count], const ForwardShape& shape,
                  const AttentionShape& attention, std::int64_t relative_floats, int threads, ForwardPlan* plan) {
  // If this fits into 63 bits, so does all that follows.
  const double most = 8.0 * static_cast<double>(sizes.heads * sizes.depth) * static_cast<double>(shape.batch) *
                      (static_cast<double>(shape.queries) + static_cast<double>(shape.keys));
  if (most > 0x1p60 || shape.batch > (std::int64_t{1} << 56)) return false;
  const bool cached = attention.source == KeySource::cached;
  plan->attention = plan_attention(kernels, attention);
  std::size_t at = 0;
  const auto take = [&at](std::size_t bytes) {
    const std::size_t start = at;
    at += aligned_bytes(bytes);
    return start;
  };
  const auto take_rows = [&](std::int64_t rows, std::int64_t heads) {
    return take(static_cast<std::size_t>(shape.batch * rows * heads * sizes.depth) * sizeof(float));
  };
  const std::size_t count = static_cast<std::size_t>(attention.batch);
  plan->queries = take_rows(shape.queries, sizes.heads);
  const std::int64_t keys = cached && !attention.stored ? 0 : shape.keys;
  plan->keys = take_rows(keys, sizes.kv_heads);
  plan->values = take_rows(keys, sizes.kv_heads);
  plan->heads = take_rows(shape.queries, sizes.heads);
  for (int which = 0; which < projection_count; ++which) {
    const std::int64_t rows = which == key_projection || which == value_projection ? shape.keys : shape.queries;
    if (static_cast<double>(shape.batch) * static_cast<double>(rows) * static_cast<double>(projections[which].row_floats()) > 0x1p56) return false;
    plan->converted[which] = take(static_cast<std::size_t>(shape.batch * rows * projections[which].row_floats()) * sizeof(float));
  }
  plan->query_rows = take((count + 1) * sizeof(std::int64_t));
  plan->key_rows = take((count + 1) * sizeof(std::int64_t));
  plan->output_rows = take(cached ? (count + 1) * sizeof(std::int64_t) : 0);
  plan->first_keys = take(count * sizeof(std::int64_t));
  plan->relative = take(static_cast<std::size_t>(relative_floats) * sizeof(float));
  plan->attention_memory = take(plan->attention.bytes(threads));
  plan->forward = take(forward_bytes);
  plan->bytes = at;
  return true;
}

double forward_work(const MultiHeadAttentionConfig& config, const ForwardShape& shape, std::int64_t keys_before) {
  const LayerSizes sizes(config);
  const double batch = static_cast<double>(shape.batch), queries = static_cast<double>(shape.queries), keys = static_cast<double>(shape.keys);
  double work = 2.0 * batch * (queries + reading_rows) * (keys + static_cast<double>(keys_before)) * static_cast<double>(sizes.heads * sizes.depth);
  for (int which = 0; which < projection_count; ++which) {
    const double rows = which == key_projection || which == value_projection ? keys : queries;
    work += (rows > 0 ? batch * rows + reading_rows : 0) * static_cast<double>(sizes.inputs[which]) * static_cast<double>(sizes.outputs[which]);
  }
  return work;
}

std::int64_t projection_rows(const Kernels& kernels, const PackedProjection& projection, std::int64_t rows) {
  const std::int64_t row_floats = projection.row_floats() > 0 ? projection.row_floats() : projection.inputs, tile_rows = projection.tile_rows(kernels);
  const std::int64_t floats = 48 * 1024, fit = larger(floats / larger(row_floats, 1), 4 * tile_rows);
  const std::int64_t tasks = larger(steps_to(rows, fit), 1);
  return larger(round_up(steps_to(rows, tasks), tile_rows), 1);
}

}  // namespace attend
