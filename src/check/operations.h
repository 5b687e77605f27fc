// The checks of the seed's functions on views.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

Status validate_factors(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed) noexcept;
Status validate_matmul(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed,
                       const ConstTensorView& bias, const TensorView& output,
                       const OperationOptions& options) noexcept;
Status validate_sequence_mask(const ConstTensorView& input, const LengthsView& valid_lens,
                              const TensorView& output, const OperationOptions& options) noexcept;
Status validate_masked_softmax(const ConstTensorView& input, const LengthsView& valid_lens,
                               const TensorView& output, const OperationOptions& options) noexcept;
/// wide: (B, n, E), the side before the split; split: (B H, n, E / H).
Status validate_transpose(const char* wide_name, const ConstTensorView& wide, const char* split_name,
                          const ConstTensorView& split, std::int64_t num_heads, bool to_heads,
                          const OperationOptions& options) noexcept;

}  // namespace attend
