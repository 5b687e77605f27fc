// The checks of what every call of attention takes: all but the shapes of its operands and its output.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "attend/attend.hpp"
#include "check/views.h"

namespace attend {

/// The operands of a call, by the names that its caller knows them by.
struct Operands {
  struct Input {
    const char* name;
    const ConstTensorView& view;
  };
  Input q, k, v;
  std::int64_t batch, heads, queries, keys;
};

/// Everything of a call but the shapes of its operands and its output. `others`: what outputs have to lie apart from beside operands
/// and options.
Status check_attention(const Operands& operands, const LengthsView& valid_lens, const TensorView& output,
                       const AttentionOptions& options, bool weights_by_head, std::initializer_list<Memory> others = {});

/// The packed sequences of such a call, if it has any.
Status validate_sequences(const AttentionOptions& options, const ForwardShape& shape) noexcept;
/// What the options say of scores, whatever the shape of the call.
Status validate_scoring(const AttentionOptions& options, std::int64_t heads) noexcept;
Status validate_dropout(float dropout) noexcept;

}  // namespace attend
