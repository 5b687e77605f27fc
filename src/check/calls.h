// The check of every call: shapes, strides, options, and whether they agree.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

struct CacheState;
struct Kernels;
struct LayerCall;
struct Visibility;

// What a call of attention says, before it runs or when it asks for its bytes.

/// The kinds of calls that have no use for some of the options. (A layer's forward without a cache has a use for all.)
enum CallKind : unsigned { attention_call = 1, cached_attention_call = 2, dot_product_call = 4, cached_forward_call = 8, project_call = 16 };
/// Whether a call has a use for all options that are given; else names the first that it would ignore.
Status validate_use(CallKind call, const AttentionOptions& options) noexcept;
/// Whether a call asks for the ISA that its object was made for.
Status validate_isa(const Kernels* made_for, const AttentionOptions& options) noexcept;
/// Whether the attention of a call that has a use for core_arithmetic can be computed so, with these kernels.
Status validate_core_arithmetic(const Kernels& kernels, const AttentionOptions& options) noexcept;
/// Checks the packed sequences of a call, if it has any.
Status validate_sequences(const AttentionOptions& options, const ForwardShape& shape) noexcept;
/// Checks options of scores and threads, whatever the shape of the call.
Status validate_scoring(const AttentionOptions& options, std::int64_t heads) noexcept;
Status validate_dropout(float dropout) noexcept;

// The core, DotProductAttention and merge. `_operands` and `_queries` check shapes and strides alone, whatever memory these stand for.
Status validate_operands(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values) noexcept;
Status validate_dot_product(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values,
                            const LengthsView& valid_lens, const TensorView& output, const AttentionOptions& options) noexcept;
Status validate_core_operands(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v) noexcept;
Status validate_core(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v, const LengthsView& valid_lens,
                     const TensorView& output, const AttentionOptions& options) noexcept;
Status validate_cached_queries(const ConstTensorView& q, const CacheState& state) noexcept;
Status validate_cached_core(const ConstTensorView& q, const CacheState& state, const IndexView& query_counts, const TensorView& output,
                            const AttentionOptions& options) noexcept;
Status validate_merge(const ConstTensorView& other_output, const ConstTensorView& other_lse, const TensorView& output,
                      const TensorView& lse, const OperationOptions& options) noexcept;
Status validate_slopes(std::int64_t num_heads, const TensorView& slopes) noexcept;

// A layer.
Status validate_config(const MultiHeadAttentionConfig& config) noexcept;
Status validate_weights(const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights) noexcept;
Status validate_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries, const ConstTensorView& keys,
                        const ConstTensorView& values, const LengthsView& valid_lens, const TensorView& output,
                        const AttentionOptions& options) noexcept;
/// Whether the cache fits the layer's heads and the batch.
Status validate_layer_cache(const MultiHeadAttentionConfig& config, const CacheState& state, std::int64_t batch) noexcept;
Status validate_cached_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries, const ConstTensorView& keys,
                               const ConstTensorView& values, const IndexView& new_counts, const CacheState& state,
                               const TensorView& output, const AttentionOptions& options) noexcept;
Status validate_project(const MultiHeadAttentionConfig& config, const ConstTensorView& keys, const ConstTensorView& values,
                        const IndexView& counts, const CacheState& state, const AttentionOptions& options) noexcept;
/// Whether all rows whose positions are counted stand within the rotary tables, if the layer has tables.
Status validate_counted_positions(const RotaryEmbedding& rotary, const LayerCall& call, const Visibility& visibility) noexcept;

// A cache.
Status validate_cache_config(const KeyValueCacheConfig& config) noexcept;
/// Whether `counts` (absent: `rows`) more tokens fit, and the page table has pages for them.
Status validate_room(const CacheState& state, const IndexView& counts, std::int64_t rows) noexcept;
Status validate_append(const CacheState& state, const ConstTensorView& k, const ConstTensorView& v, const IndexView& counts,
                       const OperationOptions& options) noexcept;
Status validate_truncate(const CacheState& state, std::int64_t b, std::int64_t length) noexcept;
/// Whether all keys that the queries see are there: no ring has let one go, no page lies outside of the pool.
Status validate_reach(const CacheState& state, const Visibility& visibility) noexcept;

// The seed's functions. Transposes: wide is (B, n, E), the side before the split; split is (B H, n, E / H).
Status validate_factors(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed) noexcept;
Status validate_matmul(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed, const ConstTensorView& bias,
                       const TensorView& output, const OperationOptions& options) noexcept;
Status validate_sequence_mask(const ConstTensorView& input, const LengthsView& valid_lens, const TensorView& output,
                              const OperationOptions& options) noexcept;
Status validate_masked_softmax(const ConstTensorView& input, const LengthsView& valid_lens, const TensorView& output,
                               const OperationOptions& options) noexcept;
Status validate_transpose(const char* wide_name, const ConstTensorView& wide, const char* split_name, const ConstTensorView& split,
                          std::int64_t num_heads, bool to_heads, const OperationOptions& options) noexcept;

// What a block has beside attention.
Status validate_linear_config(const LinearConfig& config) noexcept;
Status validate_linear_weights(const LinearConfig& config, const LinearWeights& weights) noexcept;
Status validate_linear_forward(const LinearConfig& config, const ConstTensorView& input, const TensorView& output,
                               const LinearOptions& options) noexcept;
Status validate_norm(const ConstTensorView& input, float epsilon, const TensorView& output, const NormOptions& options) noexcept;

// Positions. `_shapes` checks shapes alone, whatever the positions are.
Status validate_rotary_shapes(const ConstTensorView& input, const RotaryEmbedding& rotary, const IndexView& positions) noexcept;
Status validate_rotary_embedding(const ConstTensorView& input, const RotaryEmbedding& rotary, const IndexView& positions,
                                 std::int64_t offset, const TensorView& output, const OperationOptions& options) noexcept;
Status validate_rms_norm(const ConstTensorView& input, const ConstTensorView& weight, float epsilon, const TensorView& output,
                         const OperationOptions& options) noexcept;
Status validate_rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                                   const TensorView& inverse_frequencies) noexcept;

}  // namespace attend
