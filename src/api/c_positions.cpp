// Rotary embedding and its frequencies in the C API.
#include <initializer_list>

#include "api/c_options.h"
#include "api/c_workspace.h"
#include "base/status.h"

namespace attend {

namespace {

static_assert(static_cast<int>(RotaryScalingKind::llama3) == ATTEND_ROTARY_LLAMA3, "the last of them");

Status read_scaling(const attend_rotary_scaling* given, RotaryScaling* scaling) {
  if (given == nullptr) return Status();
  attend_rotary_scaling whole;
  ATTEND_CHECK(complete("scaling", "attend_rotary_scaling", given, &whole));
  const auto set = [](double value, double* to) {
    if (value != 0.0) *to = value;
  };
  scaling->kind = static_cast<RotaryScalingKind>(whole.kind);
  set(whole.factor, &scaling->factor);
  scaling->original_max_position = whole.original_max_position;
  set(whole.beta_fast, &scaling->beta_fast);
  set(whole.beta_slow, &scaling->beta_slow);
  scaling->truncate = whole.untruncated == 0;
  set(whole.low_frequency_factor, &scaling->low_frequency_factor);
  set(whole.high_frequency_factor, &scaling->high_frequency_factor);
  return Status();
}

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

attend_code attend_rotate(const attend_const_tensor* input, const attend_rotary_embedding* rotary, const attend_indices* positions,
                          int64_t offset, const attend_tensor* output, attend_workspace* workspace, const attend_operation_options* options,
                          attend_error* error) {
  RotaryEmbedding turns;
  OperationOptions given;
  attend_code code = report(read_rotary(rotary, &turns), error);
  if (code == ATTEND_OK) code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  CallWorkspace scratch(workspace);
  return report(rotary_embedding(view_of(input), turns, view_of(positions), offset, view_of(output), scratch, given), error);
}

size_t attend_rotary_workspace_bytes(const attend_const_tensor* input, const attend_rotary_embedding* rotary, const attend_indices* positions) {
  RotaryEmbedding turns;
  if (!read_rotary(rotary, &turns).ok()) return 0;
  ConstTensorView rows = view_of(input);
  for (ConstTensorView* view : {&rows, &turns.inverse_frequencies, &turns.cosines, &turns.sines}) stand_in(view);
  IndexView places = view_of(positions);
  stand_in(&places);
  return rotary_workspace_bytes(rows, turns, places);
}

attend_code attend_rotary_frequencies(int64_t rotary_dim, double base, const attend_rotary_scaling* scaling,
                                      const attend_tensor* inverse_frequencies, attend_error* error) {
  RotaryScaling given;
  const attend_code code = report(read_scaling(scaling, &given), error);
  return code == ATTEND_OK ? report(rotary_frequencies(rotary_dim, base, given, view_of(inverse_frequencies)), error) : code;
}

float attend_rotary_attention_factor(const attend_rotary_scaling* scaling) {
  RotaryScaling given;
  return read_scaling(scaling, &given).ok() ? rotary_attention_factor(given) : 0.0f;
}

}  // extern "C"
