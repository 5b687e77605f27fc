// Lists the stages of a layer's forward.
#include "run/forward.h"

namespace attend {

namespace {

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

void run_output(const void* context, std::int64_t task, int) {
  static_cast<const Forward*>(context)->projections[output_projection].run(task);
}

}  // namespace

void add_forward_stages(Forward& forward, bool queries) {
  Stage* const stages = forward.stages;
  int& count = forward.stage_count;
  stages[count++] = {forward.input_tasks[query_projection] + forward.input_tasks[key_projection] + forward.input_tasks[value_projection], run_inputs, &forward};
  const std::int64_t head_tasks = forward.query_rows.tasks() + forward.key_rows.tasks();
  if (head_tasks > 0) stages[count++] = {head_tasks, run_head_rows, &forward};
  if (!queries) return;
  count += add_attention_stages(forward.call, stages + count);
  stages[count++] = {forward.projections[output_projection].tasks(), run_output, &forward};
}

}  // namespace attend
