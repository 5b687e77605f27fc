// Checks a layer's sizes and weights, its calls, and what goes into a cache.
#include "check/calls.h"

#include "base/dispatch.h"
#include "call/describe.h"
#include "check/parts.h"
#include "data/cache_state.h"
#include "data/layer.h"

namespace attend {

namespace {


Status check_no_positions(const AttentionOptions& options) {
  for (const IndexView* positions : {&options.query_positions, &options.key_positions}) {
    if (positions->absent()) continue;
    return Status::error(invalid, "%s: given, but only a layer with a rotary embedding has use for it",
                         positions == &options.query_positions ? "query_positions" : "key_positions");
  }
  return Status();
}

// Checks given positions, one for each of `rows` rows, of all entries or of each. Tables have `limit` rows; -1: there is no table.
Status check_given_positions(const char* name, const IndexView& positions, std::int64_t batch, std::int64_t rows, std::int64_t limit) {
  if (positions.absent()) return Status();
  if (positions.rank == 2) {
    ATTEND_CHECK(check_view(name, positions, batch, rows));
  } else {
    ATTEND_CHECK(check_view(name, positions, rows));
  }
  return limit < 0 ? Status() : check_positions(name, positions, 0, batch, rows, limit);
}

// Checks positions that are given; validate_counted_positions checks the others.
Status check_rotary_positions(const RotaryEmbedding& rotary, const Operands& operands, const AttentionOptions& options) {
  if (rotary.absent()) return check_no_positions(options);
  const std::int64_t limit = rotary.cosines.absent() ? -1 : rotary.cosines.sizes[0];
  ATTEND_CHECK(check_given_positions("query_positions", options.query_positions, operands.batch, operands.queries, limit));
  return check_given_positions("key_positions", options.key_positions, operands.batch, operands.keys, limit);
}

// Checks new keys and values of a layer, absent together or not at all, and the cache that they go to.
Status check_projected(const MultiHeadAttentionConfig& config, const ConstTensorView& keys, const ConstTensorView& values,
                       const IndexView& counts, const CacheState& state) {
  ATTEND_CHECK(check_view("keys", keys, state.config.batch, -1, config.key_size));
  ATTEND_CHECK(check_view("values", values, state.config.batch, keys.sizes[1], config.value_size));
  ATTEND_CHECK(check_counts("new_counts", counts, state.config.batch, keys.sizes[1]));
  ATTEND_CHECK(check_apart_from_cache("keys", keys, state));
  ATTEND_CHECK(check_apart_from_cache("values", values, state));
  return validate_room(state, counts, keys.sizes[1]);
}

}  // namespace

Status validate_config(const MultiHeadAttentionConfig& config) noexcept {
  ATTEND_CHECK(check_size("num_hiddens", config.num_hiddens, 1, largest_size));
  ATTEND_CHECK(check_size("num_heads", config.num_heads, 1, largest_size));
  const struct {
    const char* name;
    std::int64_t size, most;
    const char* otherwise;
  } defaulted[] = {{"query_size", config.query_size, largest_size, "num_hiddens"},
                   {"key_size", config.key_size, largest_size, "query_size"},
                   {"value_size", config.value_size, largest_size, "query_size"},
                   {"num_kv_heads", config.num_kv_heads, config.num_heads, "num_heads"},
                   {"head_dim", config.head_dim, largest_head, "num_hiddens / num_heads"},
                   {"output_size", config.output_size, largest_size, "num_hiddens"}};
  for (const auto& size : defaulted) {
    if (size.size >= 0 && size.size <= size.most) continue;
    return Status::error(invalid, "%s: %lld, expected 1 to %lld, or 0: %s", size.name, Number{size.size}, Number{size.most},
                         size.otherwise);
  }
  if (config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads != 0) {
    return Status::error(invalid, "num_kv_heads: %lld does not divide num_heads, %lld", Number{config.num_kv_heads},
                         Number{config.num_heads});
  }
  if (config.head_dim == 0 && config.num_hiddens % config.num_heads != 0) {
    return Status::error(invalid, "num_heads: %lld does not divide num_hiddens, %lld", Number{config.num_heads},
                         Number{config.num_hiddens});
  }
  const LayerSizes layer(config);
  if (layer.depth > largest_head) {
    return Status::error(invalid, "num_heads: %lld heads of %lld hiddens are %lld wide, expected at most %lld", Number{config.num_heads},
                         Number{config.num_hiddens}, Number{layer.depth}, Number{largest_head});
  }
  if (layer.heads * layer.depth > largest_size) {
    return Status::error(invalid, "head_dim: %lld heads of %lld are too wide together, expected at most %lld", Number{layer.heads},
                         Number{layer.depth}, Number{largest_size});
  }
  std::int64_t widest = 0;
  for (const std::int64_t width : layer.inputs) widest = larger(widest, width);
  ATTEND_CHECK(check_precision(precision_of(config), widest));
  ATTEND_CHECK(check_epsilon("norm_epsilon", config.norm_epsilon));
  if (!config.rotary.absent()) {
    ATTEND_CHECK(check_rotary("rotary.", config.rotary, "a head", layer.depth));
    ATTEND_CHECK(check_attention_factor("rotary.", config.rotary));
  }
  return validate_dropout(config.dropout);
}

Status validate_weights(const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights) noexcept {
  const LayerSizes sizes(config);
  const struct {
    const char* name;
    const ConstTensorView& view;
    const char* stored_name;
    const StoredMatrix* stored;
    const char* bias_name;
    const ConstTensorView& bias;
  } projections[] = {{"weights.query", weights.query, "weights.stored_query", weights.stored_query, "weights.query_bias", weights.query_bias},
                     {"weights.key", weights.key, "weights.stored_key", weights.stored_key, "weights.key_bias", weights.key_bias},
                     {"weights.value", weights.value, "weights.stored_value", weights.stored_value, "weights.value_bias", weights.value_bias},
                     {"weights.output", weights.output, "weights.stored_output", weights.stored_output, "weights.output_bias", weights.output_bias}};
  for (int which = 0; which < projection_count; ++which) {
    const auto& projection = projections[which];
    if (projection.stored == nullptr) {
      ATTEND_CHECK(check_view(projection.name, projection.view, sizes.outputs[which], sizes.inputs[which]));
    } else if (!projection.view.absent()) {
      return Status::error(invalid, "%s: given, as is %s, expected one of them", projection.stored_name, projection.name);
    } else {
      ATTEND_CHECK(check_stored(projection.stored_name, *projection.stored, precision_of(config), sizes.outputs[which], sizes.inputs[which]));
    }
  }
  for (int which = 0; which < projection_count; ++which) {
    const auto& projection = projections[which];
    if (projection.bias.absent()) continue;
    ATTEND_CHECK(check_view(projection.bias_name, projection.bias, sizes.outputs[which]));
  }
  const struct {
    const char* name;
    const ConstTensorView& view;
    const char* side_name;
    bool side;
  } norms[] = {{"weights.query_norm", weights.query_norm, "norm_queries", config.norm_queries},
               {"weights.key_norm", weights.key_norm, "norm_keys", config.norm_keys}};
  for (const auto& norm : norms) {
    if (norm.view.absent()) continue;
    if (!config.qk_norm || !norm.side) {
      return Status::error(invalid, "%s: given, but config.%s is false", norm.name, config.qk_norm ? norm.side_name : "qk_norm");
    }
    ATTEND_CHECK(check_view(norm.name, norm.view, sizes.depth));
  }
  return Status();
}

Status validate_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries,
                        const ConstTensorView& keys, const ConstTensorView& values, const LengthsView& valid_lens,
                        const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, config.query_size));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(check_view("keys", keys, batch, -1, config.key_size));
  ATTEND_CHECK(check_view("values", values, batch, keys.sizes[1], config.value_size));
  ATTEND_CHECK(check_view("output", output, batch, rows, LayerSizes(config).outputs[output_projection]));
  const Operands operands = {{"queries", queries}, {"keys", keys}, {"values", values}, batch, config.num_heads, rows, keys.sizes[1]};
  ATTEND_CHECK(check_attention(operands, valid_lens, output, options, true,
                               {memory_of("rotary.cosines", config.rotary.cosines), memory_of("rotary.sines", config.rotary.sines)}));
  return check_rotary_positions(config.rotary, operands, options);
}

Status validate_layer_cache(const MultiHeadAttentionConfig& config, const CacheState& state, std::int64_t batch) noexcept {
  const LayerSizes sizes(config);
  const KeyValueCacheConfig& held = state.config;
  if (held.num_kv_heads != sizes.kv_heads || held.head_dim != sizes.depth || held.value_dim != sizes.depth) {
    return Status::error(invalid, "cache: %lld heads of %lld and %lld, expected %lld of %lld and %lld", Number{held.num_kv_heads},
                         Number{held.head_dim}, Number{held.value_dim}, Number{sizes.kv_heads}, Number{sizes.depth}, Number{sizes.depth});
  }
  if (batch == held.batch) return check_cache_kernels(state, config.isa);
  return Status::error(invalid, "cache: a batch of %lld, expected %lld", Number{held.batch}, Number{batch});
}

Status validate_cached_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries, const ConstTensorView& keys,
                               const ConstTensorView& values, const IndexView& new_counts, const CacheState& state,
                               const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, config.query_size));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(validate_use(cached_forward_call, options));
  ATTEND_CHECK(validate_layer_cache(config, state, batch));
  const bool appends = !keys.absent() || !values.absent();
  if (appends) {
    ATTEND_CHECK(check_projected(config, keys, values, new_counts, state));
    if (!new_counts.absent() && keys.sizes[1] != rows) {
      return Status::error(invalid, "new_counts: given, with %lld queries and %lld keys, expected as many", Number{rows},
                           Number{keys.sizes[1]});
    }
    ATTEND_CHECK(check_apart_from_cache("queries", queries, state));
  } else {
    ATTEND_CHECK(check_counts("new_counts", new_counts, batch, rows));
  }
  ATTEND_CHECK(check_view("output", output, batch, rows, LayerSizes(config).outputs[output_projection]));
  Operands operands = {{"queries", queries}, {"keys", keys}, {"values", values}, batch, config.num_heads, rows,
                       appends ? state.longest(new_counts, keys.sizes[1]) : state.longest()};
  const ConstTensorView &cosines = config.rotary.cosines, &sines = config.rotary.sines;
  ATTEND_CHECK(check_attention(operands, {}, output, options, true,
                               {memory_of("the cache", state.memory), memory_of("pages", state.config.pages), memory_of("new_counts", new_counts),
                                memory_of("rotary.cosines", cosines), memory_of("rotary.sines", sines)}));
  operands.keys = keys.sizes[1];
  return check_rotary_positions(config.rotary, operands, options);
}

Status validate_project(const MultiHeadAttentionConfig& config, const ConstTensorView& keys, const ConstTensorView& values,
                        const IndexView& counts, const CacheState& state, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(check_view("keys", keys, -1, -1, config.key_size));
  ATTEND_CHECK(validate_use(project_call, options));
  ATTEND_CHECK(validate_layer_cache(config, state, keys.sizes[0]));
  ATTEND_CHECK(check_projected(config, keys, values, counts, state));
  const ConstTensorView none;
  const Operands operands = {{"queries", none}, {"keys", keys}, {"values", values}, keys.sizes[0], config.num_heads, 0, keys.sizes[1]};
  ATTEND_CHECK(check_rotary_positions(config.rotary, operands, options));
  return check_threads(options.threads);
}

Status validate_counted_positions(const RotaryEmbedding& rotary, const LayerCall& call, const Visibility& visibility) noexcept {
  if (rotary.cosines.absent()) return Status();
  const std::int64_t limit = rotary.cosines.sizes[0];
  const Sequences& sequences = visibility.sequences;
  for (const bool of_queries : {true, false}) {
    const RowPositions positions = of_queries ? query_positions(call, visibility) : key_positions(call, visibility);
    for (std::int64_t b = 0; positions.given.absent() && b < sequences.count; ++b) {
      const std::int64_t count = of_queries ? sequences.query_count(b) : sequences.key_count(b) - positions.of(b, positions.first(b));
      for (const std::int64_t i : {std::int64_t{0}, count - 1}) {
        const std::int64_t position = positions.of(b, positions.first(b) + i);
        if (count == 0 || (position >= 0 && position < limit)) continue;
        return Status::error(invalid, "%s: row %lld of sequence %lld is at position %lld, outside of the rotary tables' [0, %lld)",
                             of_queries ? "queries" : "keys", Number{i}, Number{b}, Number{position}, Number{limit});
      }
    }
  }
  return Status();
}

}  // namespace attend
