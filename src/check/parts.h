// Checks that several calls share.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "attend/attend.hpp"
#include "check/views.h"

namespace attend {

struct CacheState;
struct ProjectionPrecision;

constexpr std::int64_t largest_size = std::int64_t{1} << 24;  // columns of a row: the product of two fits into 63 bits

/// The operands of a call, under the names that its caller knows.
struct Operands {
  struct Input {
    const char* name;
    const ConstTensorView& view;
  };
  Input q, k, v;
  std::int64_t batch, heads, queries, keys;
};

/// Checks a call of attention, but for the shapes of its operands and its output. `others`: what outputs have to lie apart from, beside
/// operands and options.
Status check_attention(const Operands& operands, const LengthsView& valid_lens, const TensorView& output,
                       const AttentionOptions& options, bool weights_by_head, std::initializer_list<Memory> others = {});

/// Checks the shapes of a rotary embedding of rows of `width`; messages put `prefix` before its fields.
Status check_rotary(const char* prefix, const RotaryEmbedding& rotary, const char* rows, std::int64_t width);
Status check_attention_factor(const char* prefix, const RotaryEmbedding& rotary);
Status check_epsilon(const char* name, float epsilon);
/// Whether positions lie in tables of `limit` rows; -1: there is no table.
Status check_positions(const char* name, const IndexView& positions, std::int64_t offset, std::int64_t batch, std::int64_t rows,
                       std::int64_t limit);

/// Checks what projections are stored as and compute with, and that sums over the widest of their rows are exact.
Status check_precision(const ProjectionPrecision& precision, std::int64_t widest);
/// Checks a matrix of low precision: of that type, and of the projection's shape.
Status check_stored(const char* name, const StoredMatrix& stored, const ProjectionPrecision& precision, std::int64_t outputs, std::int64_t inputs);

/// Checks how many rows of each entry there are: 0 to `rows`.
Status check_counts(const char* name, const IndexView& counts, std::int64_t batch, std::int64_t rows);
/// Whether rows that go into a cache lie outside of it.
Status check_apart_from_cache(const char* name, const ConstTensorView& view, const CacheState& state);
/// Whether there are kernels for what the cache holds.
Status check_cache_kernels(const CacheState& state, Isa isa);

}  // namespace attend
