// Decoding: sequences with one query, or few. Each chunk of their keys gives a partial result; then those are merged.
#pragma once

#include <cstdint>

#include "data/attention.h"
#include "plan/plan.h"

namespace attend {

/// Whether sequence b decodes: by its own queries, the keys that they see, and the call's heads and options alone.
bool decodes(const Attention& attention, const AttentionPlan& plan, std::int64_t b);

/// Attention of the heads of `kv_heads` key heads from `kv_head` on over the chunk-th chunk of the keys that they see. `partials`:
/// plan.shared_bytes bytes; scratch: plan.thread_bytes bytes, this task's alone. The only chunk of a plan of one is merged, too.
void run_decode_chunk(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head, std::int64_t kv_heads,
                      std::int64_t chunk, void* partials, void* scratch);

/// The outputs and LSEs of a key head's heads, once all their chunks have run; for a plan of several chunks.
void merge_decode_chunks(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head,
                         void* partials, void* scratch);

/// The attention weights of all heads for keys [chunk decode_chunk, (chunk + 1) decode_chunk), once the chunks are merged.
void write_decode_weights(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t chunk,
                          const void* partials, void* scratch);

}  // namespace attend
