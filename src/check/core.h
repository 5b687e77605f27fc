// The checks of the attention core, DotProductAttention and merge.
#pragma once

#include "attend/attend.hpp"

namespace attend {

struct CacheState;

/// The operands alone: their shapes and strides, whatever memory they stand for.
Status validate_operands(const ConstTensorView& queries, const ConstTensorView& keys,
                         const ConstTensorView& values) noexcept;
Status validate_dot_product(const ConstTensorView& queries, const ConstTensorView& keys,
                            const ConstTensorView& values, const LengthsView& valid_lens,
                            const TensorView& output, const AttentionOptions& options) noexcept;
Status validate_core_operands(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v) noexcept;
Status validate_core(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                     const LengthsView& valid_lens, const TensorView& output,
                     const AttentionOptions& options) noexcept;
Status validate_cached_queries(const ConstTensorView& q, const CacheState& state) noexcept;
Status validate_cached_core(const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                            const TensorView& output, const AttentionOptions& options) noexcept;
Status validate_merge(const ConstTensorView& other_output, const ConstTensorView& other_lse,
                      const TensorView& output, const TensorView& lse,
                      const OperationOptions& options) noexcept;
Status validate_slopes(std::int64_t num_heads, const TensorView& slopes) noexcept;

}  // namespace attend
