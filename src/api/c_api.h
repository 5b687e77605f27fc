// Conversions between the C API's structs and the C++ ones.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend/attend.h"
#include "attend/attend.hpp"  // defines the same version macros: a difference does not compile

struct attend_mha {
  attend::MultiHeadAttention layer;
  attend::Workspace workspace;
  void* heap;  // the block that holds this and the packed weights, if it is ours
};

namespace attend {

/// The code of a status; its message goes to *error, if there is one.
attend_code report(const Status& status, attend_error* error);
attend_code report_null(const char* name, attend_error* error);

/// Where attend_<name>_make puts things, aligned: the caller's memory, or a block from the heap, which it is to
/// release.
Status take_memory(const char* name, std::size_t bytes, void* memory, std::size_t memory_bytes, char** start, void** heap);

/// Of the scores of a call: (B, H, L, S).
struct CallSizes {
  std::int64_t batch, heads, queries, keys;
};

inline bool packed(const attend_options& o) { return o.num_sequences != 0 || o.query_starts != nullptr || o.key_starts != nullptr; }

AttentionOptions options_of(const attend_options& o, const CallSizes& shape, int empty_rows, float* attention_weights, int isa);

/// What a call of any kind says beside its operands.
template <class Call>
AttentionOptions options_of(const Call& c, std::int64_t batch, std::int64_t heads, int isa = ATTEND_ISA_BEST) {
  return options_of(c.options, {batch, heads, c.num_queries, c.num_keys}, c.empty_rows, c.attention_weights, isa);
}

}  // namespace attend
