// Decoding: sequences with one query. Each chunk of their keys gives a partial result; then those are merged.
#pragma once

#include <cstdint>

#include "attention.h"
#include "plan.h"

namespace attend {

/// Whether sequence b takes this path: by its own number of queries and the call's heads and options alone.
bool decodes(const Attention& attention, const AttentionPlan& plan, std::int64_t b);

/// Attention of a group's heads over the chunk-th chunk of the keys that they see. `partials`: plan.shared_bytes bytes; scratch:
/// plan.thread_bytes bytes, this task's alone.
void run_decode_chunk(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t group,
                      std::int64_t chunk, void* partials, void* scratch);

/// The outputs and LSEs of a group's heads, once all their chunks have run.
void merge_decode_chunks(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t group,
                         void* partials, void* scratch);

/// The attention weights of all heads for keys [chunk decode_chunk, (chunk + 1) decode_chunk), once merged.
void write_decode_weights(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t chunk,
                          const void* partials, void* scratch);

/// Bytes of a task's scratch, and of the partial results of `slots` chunks of every group.
std::size_t decode_scratch_bytes(std::int64_t rows, std::int64_t query_stride, std::int64_t value_stride);
std::size_t decode_partial_bytes(std::int64_t slots, std::int64_t heads, std::int64_t value_stride);

}  // namespace attend
