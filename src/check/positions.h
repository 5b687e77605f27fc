// The checks of rotary embeddings, their positions and frequencies, and of the RMS norm.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

/// The shapes alone, whatever the positions are.
Status validate_rotary_shapes(const ConstTensorView& input, const RotaryEmbedding& rotary,
                              const IndexView& positions) noexcept;
Status validate_rotary_embedding(const ConstTensorView& input, const RotaryEmbedding& rotary,
                                 const IndexView& positions, std::int64_t offset, const TensorView& output,
                                 const OperationOptions& options) noexcept;
Status validate_rms_norm(const ConstTensorView& input, const ConstTensorView& weight, float epsilon,
                         const TensorView& output, const OperationOptions& options) noexcept;
Status validate_rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                                   const TensorView& inverse_frequencies) noexcept;

// The shapes of a rotary embedding of rows of `width`; prefix: what its fields belong to.
Status check_rotary(const char* prefix, const RotaryEmbedding& rotary, const char* rows, std::int64_t width);
Status check_attention_factor(const char* prefix, const RotaryEmbedding& rotary);
Status check_epsilon(const char* name, float epsilon);
// Whether rows stand at positions of tables with `limit` rows; -1: of any.
Status check_positions(const char* name, const IndexView& positions, std::int64_t offset, std::int64_t batch, std::int64_t rows,
                       std::int64_t limit);

}  // namespace attend
