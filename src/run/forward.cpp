// Lists the stages of a layer's forward.
#include "run/forward.h"

namespace attend {

namespace {

void run_converted_inputs(const void* context, std::int64_t task, int) {
  const ConvertedRows* converted = static_cast<const Forward*>(context)->converted;
  for (; task >= converted->tasks(); ++converted) task -= converted->tasks();
  converted->run(task);
}

void run_converted_heads(const void* context, std::int64_t task, int) {
  static_cast<const Forward*>(context)->converted[output_projection].run(task);
}

void run_inputs(const void* context, std::int64_t task, int) {
  const Forward& forward = *static_cast<const Forward*>(context);
  int which = 0;
  for (; task >= forward.input_tasks[which]; ++which) task -= forward.input_tasks[which];
  forward.projections[which].run(task);
}

void run_head_rows(const void* context, std::int64_t task, int) {
  const Forward& forward = *static_cast<const Forward*>(context);
  const std::int64_t of_queries = forward.query_rows.tasks();
  if (task < of_queries) forward.query_rows.run(task);
  else forward.key_rows.run(task - of_queries);
}

Append append_of(const Forward& forward) {
  const PagedRows<float>&keys = forward.projections[key_projection].output, &values = forward.projections[value_projection].output;
  return {forward.call.attention.kernels, forward.call.attention.stored, forward.appended, keys, values};
}

void run_new_rows(const void* context, std::int64_t task, int) { append_of(*static_cast<const Forward*>(context)).run(task); }

void run_output(const void* context, std::int64_t task, int) {
  static_cast<const Forward*>(context)->projections[output_projection].run(task);
}

}  // namespace

void add_forward_stages(Forward& forward, bool queries) {
  Stage* const stages = forward.stages;
  int& count = forward.stage_count;
  std::int64_t converted = 0;
  for (int which = 0; which < output_projection; ++which) converted += forward.converted[which].tasks();
  if (converted > 0) stages[count++] = {converted, run_converted_inputs, &forward};
  stages[count++] = {forward.input_tasks[query_projection] + forward.input_tasks[key_projection] + forward.input_tasks[value_projection], run_inputs, &forward, true};
  const std::int64_t head_tasks = forward.query_rows.tasks() + forward.key_rows.tasks();
  if (head_tasks > 0) stages[count++] = {head_tasks, run_head_rows, &forward};
  if (forward.appended != nullptr) stages[count++] = {append_of(forward).tasks(), run_new_rows, &forward};
  if (!queries) return;
  count += add_attention_stages(forward.call, stages + count);
  const std::int64_t converted_heads = forward.converted[output_projection].tasks();
  if (converted_heads > 0) stages[count++] = {converted_heads, run_converted_heads, &forward};
  stages[count++] = {forward.projections[output_projection].tasks(), run_output, &forward, true};
}

}  // namespace attend
