// What the checks of several calls have in common.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "attend/attend.hpp"
#include "check/views.h"

namespace attend {

struct CacheState;

/// The operands of a call, by the names that its caller knows them by.
struct Operands {
  struct Input {
    const char* name;
    const ConstTensorView& view;
  };
  Input q, k, v;
  std::int64_t batch, heads, queries, keys;
};

/// Everything of a call of attention but the shapes of its operands and its output. `others`: what outputs have to lie apart from
/// beside operands and options.
Status check_attention(const Operands& operands, const LengthsView& valid_lens, const TensorView& output,
                       const AttentionOptions& options, bool weights_by_head, std::initializer_list<Memory> others = {});

/// The shapes of a rotary embedding of rows of `width`; prefix: what its fields belong to.
Status check_rotary(const char* prefix, const RotaryEmbedding& rotary, const char* rows, std::int64_t width);
Status check_attention_factor(const char* prefix, const RotaryEmbedding& rotary);
Status check_epsilon(const char* name, float epsilon);
/// Whether rows stand at positions of tables with `limit` rows; -1: of any.
Status check_positions(const char* name, const IndexView& positions, std::int64_t offset, std::int64_t batch, std::int64_t rows,
                       std::int64_t limit);

/// How many rows of each entry are there: 0 to `rows`.
Status check_counts(const char* name, const IndexView& counts, std::int64_t batch, std::int64_t rows);
/// Whether rows that go into a cache come from elsewhere.
Status check_apart_from_cache(const char* name, const ConstTensorView& view, const CacheState& state);

}  // namespace attend
