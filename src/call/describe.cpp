// Turns the options of a call into what the engine reads.
#include "call/describe.h"

#include <math.h>

#include "base/arithmetic.h"
#include "data/cache_state.h"
#include "data/low_precision.h"

namespace attend {

namespace {

Attention of_sizes(const Kernels& kernels, std::int64_t heads, std::int64_t kv_heads, std::int64_t depth, std::int64_t value_depth) {
  Attention attention;
  attention.kernels = &kernels;
  attention.heads = heads;
  attention.kv_heads = kv_heads;
  attention.depth = depth;
  attention.value_depth = value_depth;
  return attention;
}

// Reads all options but the table of a relative bias.
void apply_options(const AttentionOptions& options, const LengthsView& valid_lens, Attention* attention) {
  attention->scale = options.scale != 0.0f ? options.scale : static_cast<float>(1.0 / sqrt(static_cast<double>(attention->depth)));
  attention->softcap = options.softcap;
  if (options.core_arithmetic != Arithmetic::float32) attention->core = options.low_precision->find_core(attention->kernels->isa);
  attention->average_weights = options.average_weights;
  attention->biases.slopes = numbers_of(options.alibi_slopes);
  attention->biases.sinks = numbers_of(options.sinks);
  attention->dropout_seed = options.dropout_seed;
  Visibility& visibility = attention->visibility;
  visibility.lengths = numbers_of(valid_lens);
  visibility.causal = options.causal || !options.tree_parents.absent();
  visibility.offset = options.offset;
  visibility.offsets = numbers_of(options.offsets);
  const std::int64_t widest = std::int64_t{1} << 48;  // so that no sum overflows
  visibility.window_left = smaller(options.window_left, widest);
  visibility.window_right = smaller(options.window_right, widest);
  visibility.parents = numbers_of(options.tree_parents);
  if (options.tree_parents.rank == 1) visibility.parents = {options.tree_parents.data, 0, options.tree_parents.strides[0]};
  visibility.starts = numbers_of(options.valid_starts);
  visibility.mask = make_mask(options.mask);
  visibility.mask_hides = options.mask_hides;
  visibility.padding = numbers_of(options.key_padding_mask);
  visibility.additive = make_mask(options.additive_mask);
  visibility.empty_rows = options.empty_rows;
}

// Sets a call among the keys that its cache holds, or will hold after the append.
void place_in_cache(const CacheState& cache, bool appends, Visibility* visibility) {
  visibility->sequences.most_keys = most_keys(cache.config);
  visibility->sequences.ring = cache.config.ring;
  visibility->sequences.key_counts = appends ? cache.next_lengths : cache.lengths;
  visibility->first_kept = appends ? cache.next_firsts : cache.firsts;
  visibility->queries_at_end = true;
}

void read_cache(const CacheState& cache, Attention* attention) {
  attention->source = KeySource::cached;
  attention->k = cache.keys;
  attention->v = cache.values;
  attention->stored = cache_kernels_of(cache.config, attention->kernels->isa);
  if (cache.key_scales.data == nullptr) return;
  attention->k_scales = &cache.key_scales;
  attention->v_scales = &cache.value_scales;
}

// Positions (n,) or (B, n), one for each row; absent: none. Packed sequences are rows of one entry.
Numbers<std::int64_t> positions_by_row(const IndexView& positions, bool packed) {
  if (positions.absent()) return {};
  return {positions.data, positions.rank == 2 && !packed ? positions.strides[0] : 0, positions.strides[positions.rank - 1]};
}

}  // namespace

Sequences sequences_of(const AttentionOptions& options, std::int64_t batch, std::int64_t queries, std::int64_t keys) {
  Sequences sequences;
  sequences.count = batch;
  sequences.queries = queries;
  sequences.keys = keys;
  if (options.query_starts.absent()) return sequences;
  sequences.query_starts = numbers_of(options.query_starts);
  sequences.key_starts = numbers_of(options.key_starts);
  sequences.count = options.query_starts.sizes[0] - 1;
  sequences.packed_keys = keys;
  if (options.query_starts.data == nullptr) return sequences;
  sequences.queries = sequences.keys = 0;
  for (std::int64_t b = 0; b < sequences.count; ++b) {
    sequences.queries = larger(sequences.queries, sequences.query_count(b));
    sequences.keys = larger(sequences.keys, sequences.key_count(b));
  }
  return sequences;
}

RowPositions query_positions(const LayerCall& call, const Visibility& visibility) {
  const Sequences& sequences = visibility.sequences;
  return {positions_by_row(call.options.query_positions, sequences.packed()), sequences.query_starts, &visibility, nullptr};
}

RowPositions key_positions(const LayerCall& call, const Visibility& visibility) {
  const Sequences& sequences = visibility.sequences;
  return {positions_by_row(call.options.key_positions, sequences.packed()), sequences.key_starts, nullptr, call.cache != nullptr ? call.cache->lengths : nullptr};
}

Rows<float> weights_output(const AttentionOptions& options) {
  const TensorView& view = options.attention_weights;
  return options.average_weights ? by_entries(view) : by_heads(view);
}

AttentionShape shape_of(const Attention& attention) {
  const Sequences& sequences = attention.sequences();
  AttentionShape shape = {};
  shape.batch = sequences.count;
  shape.kv_heads = attention.kv_heads;
  shape.heads_per_kv_head = attention.heads / attention.kv_heads;
  shape.queries = sequences.queries;
  shape.keys = sequences.most_keys > 0 ? sequences.most_keys : sequences.keys;
  shape.depth = attention.depth;
  shape.value_depth = attention.value_depth;
  shape.key_row_stride = attention.k.row_stride;
  shape.value_row_stride = attention.v.row_stride;
  shape.value_stride = attention.v.stride;
  shape.source = attention.source;
  shape.stored = attention.stored != nullptr;
  shape.ring = sequences.ring;
  shape.average_weights = attention.average_weights;
  shape.may_decode = attention.visibility.empty_rows == EmptyRows::zero && attention.core == nullptr;
  shape.in_pairs = attention.core != nullptr;
  shape.mixed = sequences.packed_keys > 0 || (sequences.queries > 1 && !sequences.query_counts.absent());
  shape.packed_keys = sequences.packed_keys;
  return shape;
}

AttentionShape largest_shape_of(const Attention& attention) {
  AttentionShape shape = shape_of(attention);
  shape.mixed |= shape.source == KeySource::cached && shape.queries > 1;
  return shape;
}

Attention describe(const Kernels& kernels, const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                  const LengthsView& valid_lens, const AttentionOptions& options) {
  Attention attention = of_sizes(kernels, q.sizes[1], k.sizes[1], q.sizes[3], v.sizes[3]);
  attention.q = by_heads(q);
  attention.k = by_heads(k);
  attention.v = by_heads(v);
  attention.visibility.sequences = sequences_of(options, q.sizes[0], q.sizes[2], k.sizes[2]);
  apply_options(options, valid_lens, &attention);
  return attention;
}

Attention describe(const Kernels& kernels, const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                  const AttentionOptions& options) {
  Attention attention = of_sizes(kernels, q.sizes[1], state.config.num_kv_heads, q.sizes[3], state.config.value_dim);
  attention.q = by_heads(q);
  read_cache(state, &attention);
  attention.visibility.sequences = sequences_of(options, q.sizes[0], q.sizes[2], state.longest());
  attention.visibility.sequences.query_counts = numbers_of(query_counts);
  place_in_cache(state, false, &attention.visibility);
  apply_options(options, {}, &attention);
  return attention;
}

Attention describe(const Kernels& kernels, const LayerSizes& sizes, const LayerCall& call) {
  Attention attention = of_sizes(kernels, sizes.heads, sizes.kv_heads, sizes.depth, sizes.depth);
  attention.k.row_stride = attention.v.row_stride = sizes.depth;
  const CacheState* const cache = call.cache;
  attention.source = KeySource::projected;
  const std::int64_t keys = cache == nullptr ? call.shape.keys : cache->longest(call.counts, call.shape.keys);
  attention.visibility.sequences = sequences_of(call.options, call.shape.batch, call.shape.queries, keys);
  if (cache != nullptr) {
    read_cache(*cache, &attention);
    place_in_cache(*cache, call.appends, &attention.visibility);
    if (call.shape.queries > 0) attention.visibility.sequences.query_counts = numbers_of(call.counts);
  }
  apply_options(call.options, call.valid_lens, &attention);
  return attention;
}

}  // namespace attend
