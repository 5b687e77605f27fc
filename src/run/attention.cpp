// The stages of a call, and which sequences take tiles and which decode.
#include "run/attention.h"

#include "base/arithmetic.h"
#include "run/decode.h"
#include "run/tiles.h"

namespace attend {

namespace {

std::int64_t weight_chunks(const Attention& attention) {
  return steps_to(attention.sequences().keys, decode_chunk);
}

void* scratch_of(const AttentionCall& call, int thread) {
  return call.memory + call.plan.shared_bytes + static_cast<std::size_t>(thread) * call.plan.thread_bytes;
}

void run_compute(const void* context, std::int64_t task, int thread) {
  const AttentionCall& call = *static_cast<const AttentionCall*>(context);
  const Attention& attention = call.attention;
  const AttentionPlan& plan = call.plan;
  const std::int64_t kv_heads = plan.all_kv_heads ? 1 : attention.kv_heads, parts = plan.parts;
  const std::int64_t b = quotient(task, parts * kv_heads), within = task - b * parts * kv_heads;
  if (!decodes(attention, plan, b)) {
    const std::int64_t kv_head = quotient(within, parts);
    run_tiles(attention, plan, b, kv_head, within - kv_head * parts, scratch_of(call, thread));
    return;
  }
  // Chunk by chunk, for all key heads, which lie side by side in a token-major cache (67 % of the read bandwidth; 28 head by head).
  const std::int64_t chunk = quotient(within, kv_heads), first = within - chunk * kv_heads;
  run_decode_chunk(attention, plan, b, first, plan.all_kv_heads ? attention.kv_heads : 1, chunk, call.memory, scratch_of(call, thread));
}

void run_merge(const void* context, std::int64_t task, int thread) {
  const AttentionCall& call = *static_cast<const AttentionCall*>(context);
  const std::int64_t b = quotient(task, call.attention.kv_heads), kv_head = task - b * call.attention.kv_heads;
  if (decodes(call.attention, call.plan, b)) merge_decode_chunks(call.attention, call.plan, b, kv_head, call.memory, scratch_of(call, thread));
}

void run_weights(const void* context, std::int64_t task, int thread) {
  const AttentionCall& call = *static_cast<const AttentionCall*>(context);
  const std::int64_t chunks = weight_chunks(call.attention), b = task / chunks, chunk = task % chunks;
  if (decodes(call.attention, call.plan, b)) write_decode_weights(call.attention, call.plan, b, chunk, call.memory, scratch_of(call, thread));
}

}  // namespace

void write_padding(const Attention& attention) {
  const Sequences& sequences = attention.sequences();
  if (sequences.query_counts.absent()) return;
  for (std::int64_t b = 0; b < sequences.count; ++b) {
    for (std::int64_t h = 0; h < attention.heads; ++h) {
      for (std::int64_t i = sequences.query_count(b); i < sequences.queries; ++i) {
        attention.write_empty_row(h, attention.output.row(b, h, i), attention.weights.data ? attention.weights.row(b, h, i) : nullptr);
        if (attention.lse.data != nullptr) *attention.lse.row(b, h, i) = attention.empty_lse(h);
      }
    }
  }
}

int add_attention_stages(const AttentionCall& call, Stage* stages) {
  const std::int64_t sequences = call.attention.sequences().count;
  int count = 0;
  stages[count++] = {call.plan.tasks, run_compute, &call};
  if (call.plan.slots == 0) return count;
  if (call.plan.chunks > 1) stages[count++] = {sequences * call.attention.kv_heads, run_merge, &call};
  if (call.attention.weights.data != nullptr) stages[count++] = {sequences * weight_chunks(call.attention), run_weights, &call};
  return count;
}

}  // namespace attend
