// Attention on given queries, keys and values in the C API.
#include <initializer_list>

#include "api/c_options.h"
#include "api/c_workspace.h"

namespace attend {

namespace {

__attribute__((noinline)) attend_code read_call(const attend_attention_call* given, CallArguments* call, attend_error* error) {
  attend_attention_call whole;
  const Status status = complete("call", "attend_attention_call", given, &whole);
  if (!status.ok()) return report(status, error);
  call->queries = view_of(whole.q);
  call->keys = view_of(whole.k);
  call->values = view_of(whole.v);
  call->counts = view_of(whole.valid_lens);
  call->output = view_of(whole.output);
  call->workspace = whole.workspace;
  return report(read_options(whole.options, &call->options), error);
}

// And what it is a call of.
__attribute__((noinline)) attend_code read_call(const attend_dot_product_call* given, CallArguments* call, DotProductAttention* attention,
                                                attend_error* error) {
  attend_dot_product_call whole;
  const Status status = complete("call", "attend_dot_product_call", given, &whole);
  if (!status.ok()) return report(status, error);
  call->queries = view_of(whole.queries);
  call->keys = view_of(whole.keys);
  call->values = view_of(whole.values);
  call->counts = view_of(whole.valid_lens);
  call->output = view_of(whole.output);
  call->workspace = whole.workspace;
  const attend_code code = report(read_options(whole.options, &call->options), error);
  return code == ATTEND_OK ? report(DotProductAttention::make(whole.dropout, attention, call->options.isa), error) : code;
}

void stand_in(CallArguments* call) {
  for (ConstTensorView* view : {&call->queries, &call->keys, &call->values}) stand_in(view);
}

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

attend_code attend_attention(const attend_attention_call* call, attend_error* error) {
  CallArguments c;
  const attend_code code = read_call(call, &c, error);
  if (code != ATTEND_OK) return code;
  CallWorkspace workspace(c.workspace);
  return report(attention(c.queries, c.keys, c.values, c.counts, c.output, workspace, c.options), error);
}

size_t attend_attention_workspace_bytes(const attend_attention_call* call) {
  CallArguments c;
  if (read_call(call, &c, nullptr) != ATTEND_OK) return 0;
  stand_in(&c);
  return attention_workspace_bytes(c.queries, c.keys, c.values, c.options);
}

attend_code attend_dot_product_attention(const attend_dot_product_call* call, attend_error* error) {
  CallArguments c;
  DotProductAttention made;
  const attend_code code = read_call(call, &c, &made, error);
  if (code != ATTEND_OK) return code;
  CallWorkspace workspace(c.workspace);
  return report(made.forward(c.queries, c.keys, c.values, c.counts, c.output, workspace, c.options), error);
}

size_t attend_dot_product_workspace_bytes(const attend_dot_product_call* call) {
  CallArguments c;
  DotProductAttention made;
  if (read_call(call, &c, &made, nullptr) != ATTEND_OK) return 0;
  stand_in(&c);
  return made.workspace_bytes(c.queries, c.keys, c.values, c.options);
}

}  // extern "C"
