// Checks options, masks, lengths and packed sequences.
#include "check/calls.h"

#include "check/parts.h"

namespace attend {

namespace {

Status check_empty_rows(EmptyRows empty_rows) {
  if (empty_rows == EmptyRows::zero || empty_rows == EmptyRows::uniform) return Status();
  return Status::error(invalid, "empty_rows: %d is not one of attend::EmptyRows", static_cast<int>(empty_rows));
}

Status check_by_head(const char* name, const ConstTensorView& view, std::int64_t heads) {
  if (view.absent()) return Status();
  return check_view(name, view, heads);
}

// Checks a mask: each axis, aligned to the right, is 1 or that of (B, H, L, S).
template <class Element>
Status check_mask(const char* name, const View<Element>& mask, const std::int64_t (&shape)[4]) {
  if (mask.absent()) return Status();
  ATTEND_CHECK(check_view(name, mask));
  bool fits = mask.rank > 0;
  for (int axis = 0; axis < mask.rank; ++axis) {
    fits = fits && (mask.sizes[axis] == 1 || mask.sizes[axis] == shape[4 - mask.rank + axis]);
  }
  if (fits) return Status();
  const bool padding = mask.rank == 2 && mask.sizes[0] == shape[0] && mask.sizes[1] == shape[3];
  const bool by_head = mask.rank == 3 && mask.sizes[0] == shape[0] * shape[1] && mask.sizes[1] == shape[2] && mask.sizes[2] == shape[3];
  const bool by_entry = mask.rank == 3 && mask.sizes[0] == shape[0] && mask.sizes[1] == shape[2] && mask.sizes[2] == shape[3];
  const char* const advice = padding   ? "; a padding mask (B, S) is key_padding_mask, or (B, 1, 1, S)"
                             : by_head ? "; a mask (B H, L, S) has to be viewed as (B, H, L, S)"
                             : by_entry ? "; a mask (B, L, S) as (B, 1, L, S)"
                                       : "";
  return Status::error(invalid, "%s: shape %s does not broadcast to (B, H, L, S) = %s%s", name, shape_text(mask).text, shape_text(4, shape).text, advice);
}

Status check_starts(const char* name, const IndexView& starts, std::int64_t sequences, const char* of, std::int64_t rows) {
  ATTEND_CHECK(check_view(name, starts, sequences + 1));
  std::int64_t before = 0;
  for (std::int64_t b = 0; b <= sequences; ++b) {
    const std::int64_t start = starts.data[b * starts.strides[0]];
    if (b == 0 && start != 0) {
      return Status::error(invalid, "%s: [0] is %lld, expected 0", name, Number{start});
    }
    if (start < before) {
      return Status::error(invalid, "%s: [%lld] is %lld, less than the one before, %lld", name, Number{b}, Number{start}, Number{before});
    }
    before = start;
  }
  if (before == rows) return Status();
  return Status::error(invalid, "%s: ends at %lld, expected the rows of %s, %lld", name, Number{before}, of, Number{rows});
}

// How many sequences a call has: the entries of its batch, or as many as its starts say are packed.
Status check_sequences(const AttentionOptions& options, const Operands& operands, std::int64_t* sequences) {
  *sequences = operands.batch;
  if (options.query_starts.absent()) return Status();
  ATTEND_CHECK(check_view("query_starts", options.query_starts, -1));
  *sequences = options.query_starts.sizes[0] - 1;
  if (operands.batch != 1 || *sequences < 0) {
    return Status::error(invalid, "query_starts: shape %s with a batch of %lld, expected one more than the sequences, and a batch of 1",
                         shape_text(options.query_starts).text, Number{operands.batch});
  }
  ATTEND_CHECK(check_starts("query_starts", options.query_starts, *sequences, operands.q.name, operands.queries));
  return check_starts("key_starts", options.key_starts, *sequences, operands.k.name, operands.keys);
}

// Refuses pairs of options that make no sense together.
Status check_pairs(const AttentionOptions& options, const LengthsView& valid_lens) {
  const bool packed = !options.query_starts.absent() || !options.key_starts.absent();
  const struct {
    const char *first, *second;
    bool both;
  } pairs[] = {
      {"query_starts", "no key_starts", packed && options.key_starts.absent()},
      {"key_starts", "no query_starts", packed && options.query_starts.absent()},
      {"query_starts", "mask", packed && !options.mask.absent()},
      {"query_starts", "key_padding_mask", packed && !options.key_padding_mask.absent()},
      {"query_starts", "additive_mask", packed && !options.additive_mask.absent()},
      {"query_starts", "tree_parents", packed && !options.tree_parents.absent()},
      {"query_starts", "attention_weights", packed && !options.attention_weights.absent()},
      {"query_starts", "valid_lens of rank 2", packed && valid_lens.rank == 2},
      {"tree_parents", "window_left", !options.tree_parents.absent() && options.window_left >= 0},
      {"tree_parents", "window_right", !options.tree_parents.absent() && options.window_right >= 0},
      {"tree_parents", "alibi_slopes", !options.tree_parents.absent() && !options.alibi_slopes.absent()},
      {"tree_parents", "relative_position_bias", !options.tree_parents.absent() && !options.relative_position_bias.table.absent()},
  };
  for (const auto& pair : pairs) {
    if (!pair.both) continue;
    return Status::error(invalid, "%s: cannot go with %s", pair.first, pair.second);
  }
  return Status();
}

Status check_tree(const IndexView& parents, std::int64_t batch, std::int64_t queries) {
  if (parents.absent()) return Status();
  if (parents.rank == 2) {
    ATTEND_CHECK(check_view("tree_parents", parents, batch, queries));
  } else {
    ATTEND_CHECK(check_view("tree_parents", parents, queries));
  }
  for (std::int64_t b = 0; b < (parents.rank == 2 ? batch : 1); ++b) {
    for (std::int64_t i = 0; i < queries; ++i) {
      const std::int64_t parent = parents.data[(parents.rank == 2 ? b * parents.strides[0] : 0) + i * parents.strides[parents.rank - 1]];
      if (parent >= -1 && parent < i) continue;
      return Status::error(invalid, "tree_parents: that of query %lld is %lld, expected -1 to %lld", Number{i}, Number{parent},
                           Number{i - 1});
    }
  }
  return Status();
}

Status check_window(const char* name, std::int64_t window) {
  if (window >= -1) return Status();
  return Status::error(invalid, "%s: %lld, expected 0 or more, or -1: unbounded", name, Number{window});
}

// Whether the outputs lie apart from all that the call reads. Names every member of the options: a new one does not compile until
// somebody looks at it.
Status check_outputs(const Operands& operands, const LengthsView& valid_lens, const TensorView& output, const AttentionOptions& options,
                     std::initializer_list<Memory> others) {
  const auto& [scale, softcap, causal, offset, offsets, window_left, window_right, mask, key_padding_mask, mask_hides, valid_starts, additive_mask, tree_parents, empty_rows,
               alibi_slopes, relative_position_bias, sinks, query_starts, key_starts, query_positions, key_positions, training,
               dropout_seed, attention_weights, average_weights, lse, threads, isa, core_arithmetic, low_precision] = options;
  if (!query_positions.absent()) ATTEND_CHECK(check_view("query_positions", query_positions));
  if (!key_positions.absent()) ATTEND_CHECK(check_view("key_positions", key_positions));
  const std::initializer_list<Memory> outputs = {memory_of("output", output), memory_of("attention_weights", attention_weights), memory_of("lse", lse)};
  ATTEND_CHECK(check_apart(outputs, {
      memory_of(operands.q.name, operands.q.view), memory_of(operands.k.name, operands.k.view), memory_of(operands.v.name, operands.v.view),
      memory_of("valid_lens", valid_lens), memory_of("offsets", offsets), memory_of("mask", mask), memory_of("additive_mask", additive_mask),
      memory_of("key_padding_mask", key_padding_mask), memory_of("valid_starts", valid_starts),
      memory_of("tree_parents", tree_parents), memory_of("alibi_slopes", alibi_slopes),
      memory_of("relative_position_bias.table", relative_position_bias.table), memory_of("sinks", sinks), memory_of("query_starts", query_starts),
      memory_of("key_starts", key_starts), memory_of("query_positions", query_positions), memory_of("key_positions", key_positions)}));
  return check_apart(outputs, others);
}

}  // namespace

Status check_attention(const Operands& operands, const LengthsView& valid_lens, const TensorView& output,
                       const AttentionOptions& options, bool weights_by_head, std::initializer_list<Memory> others) {
  const std::int64_t batch = operands.batch, heads = operands.heads, queries = operands.queries, keys = operands.keys;
  ATTEND_CHECK(check_pairs(options, valid_lens));
  std::int64_t sequences = batch;
  ATTEND_CHECK(check_sequences(options, operands, &sequences));
  ATTEND_CHECK(check_lengths(valid_lens, sequences, queries, true));
  ATTEND_CHECK(validate_scoring(options, heads));
  if (!options.offsets.absent()) {
    ATTEND_CHECK(check_view("offsets", options.offsets, sequences));
    ATTEND_CHECK(check_numbers("offsets", options.offsets, -largest_offset, largest_offset, "-2^40 to 2^40"));
  }
  const std::int64_t shape[4] = {batch, heads, queries, keys};
  ATTEND_CHECK(check_mask("mask", options.mask, shape));
  ATTEND_CHECK(check_mask("additive_mask", options.additive_mask, shape));
  if (!options.key_padding_mask.absent()) ATTEND_CHECK(check_view("key_padding_mask", options.key_padding_mask, batch, keys));
  if (!options.valid_starts.absent()) {
    ATTEND_CHECK(check_view("valid_starts", options.valid_starts, sequences));
    ATTEND_CHECK(check_numbers("valid_starts", options.valid_starts, 0, INT64_MAX, "0 or more"));
  }
  ATTEND_CHECK(check_tree(options.tree_parents, batch, queries));
  if (!options.attention_weights.absent()) {
    if (weights_by_head && !options.average_weights) {
      ATTEND_CHECK(check_view("attention_weights", options.attention_weights, batch, heads, queries, keys));
    } else {
      ATTEND_CHECK(check_view("attention_weights", options.attention_weights, batch, queries, keys));
    }
    ATTEND_CHECK(check_distinct("attention_weights", options.attention_weights));
  }
  if (!options.lse.absent()) {
    if (weights_by_head) {
      ATTEND_CHECK(check_view("lse", options.lse, batch, heads, queries));
    } else {
      ATTEND_CHECK(check_view("lse", options.lse, batch, queries));
    }
    ATTEND_CHECK(check_distinct("lse", options.lse));
  }
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_outputs(operands, valid_lens, output, options, others));
  ATTEND_CHECK(check_empty_rows(options.empty_rows));
  return check_threads(options.threads);
}

Status validate_sequences(const AttentionOptions& options, const ForwardShape& shape) noexcept {
  ATTEND_CHECK(check_pairs(options, {}));
  const ConstTensorView none;
  const Operands operands = {{"queries", none}, {"keys", none}, {"values", none}, shape.batch, 1, shape.queries, shape.keys};
  std::int64_t sequences = 0;
  return check_sequences(options, operands, &sequences);
}

Status validate_scoring(const AttentionOptions& options, std::int64_t heads) noexcept {
  if (!__builtin_isfinite(options.scale)) {
    return Status::error(invalid, "scale: %g, expected a finite number", static_cast<double>(options.scale));
  }
  if (!(options.softcap >= 0.0f) || !__builtin_isfinite(options.softcap)) {
    return Status::error(invalid, "softcap: %g, expected a finite number of at least 0", static_cast<double>(options.softcap));
  }
  if (options.offset < -largest_offset || options.offset > largest_offset) {
    return Status::error(invalid, "offset: %lld, expected -2^40 to 2^40", Number{options.offset});
  }
  ATTEND_CHECK(check_window("window_left", options.window_left));
  ATTEND_CHECK(check_window("window_right", options.window_right));
  ATTEND_CHECK(check_by_head("alibi_slopes", options.alibi_slopes, heads));
  ATTEND_CHECK(check_by_head("sinks", options.sinks, heads));
  const RelativePositionBias& bias = options.relative_position_bias;
  if (bias.table.absent()) return check_thread_count(options.threads);
  ATTEND_CHECK(check_view("relative_position_bias.table", bias.table, -1, heads));
  const std::int64_t buckets = bias.table.sizes[0], sides = bias.bidirectional ? 2 : 1, most = std::int64_t{1} << 20;
  if (buckets < 2 * sides || buckets > most) {
    return Status::error(invalid, "relative_position_bias.table: %lld buckets, expected %lld to %lld", Number{buckets}, Number{2 * sides},
                         Number{most});
  }
  const std::int64_t exact = buckets / sides / 2;
  if (bias.max_distance <= exact || bias.max_distance > most) {
    return Status::error(invalid, "relative_position_bias.max_distance: %lld, expected %lld to %lld", Number{bias.max_distance},
                         Number{exact + 1}, Number{most});
  }
  return check_thread_count(options.threads);
}

Status validate_dropout(float dropout) noexcept {
  if (dropout >= 0.0f && dropout < 1.0f) return Status();
  return Status::error(invalid, "dropout: %g, expected 0 <= dropout < 1", static_cast<double>(dropout));
}

}  // namespace attend
