// The options of the C API in terms of those of attend.hpp.
#include "api/c_options.h"

#include "base/isas.h"
#include "base/status.h"

namespace attend {

namespace {

static_assert(static_cast<int>(Isa::neon) == ATTEND_ISA_NEON && sizeof isas / sizeof isas[0] == ATTEND_ISA_NEON, "the last ISA, and as many");
static_assert(static_cast<int>(EmptyRows::uniform) == ATTEND_EMPTY_UNIFORM, "the last of them");

Status read_bias(const attend_relative_position_bias* given, RelativePositionBias* bias) {
  if (given == nullptr) return Status();
  attend_relative_position_bias whole;
  ATTEND_CHECK(complete("relative_position_bias", "attend_relative_position_bias", given, &whole));
  bias->table = view_of(whole.table);
  bias->bidirectional = whole.unidirectional == 0;
  if (whole.max_distance != 0) bias->max_distance = whole.max_distance;
  return Status();
}

// A distance without `windowed` would be ignored.
Status read_window(const attend_options& given, AttentionOptions* options) {
  if (given.windowed != 0) {
    options->window_left = given.window_left;
    options->window_right = given.window_right;
  } else if (given.window_left != 0 || given.window_right != 0) {
    const bool left = given.window_left != 0;
    return Status::error(StatusCode::invalid_argument, "%s: %lld, but windowed is 0", left ? "window_left" : "window_right",
                         static_cast<long long>(left ? given.window_left : given.window_right));
  }
  return Status();
}

}  // namespace

Status read_options(const attend_options* given, AttentionOptions* options) {
  if (given == nullptr) return Status();
  attend_options whole;
  ATTEND_CHECK(complete("options", "attend_options", given, &whole));
  ATTEND_CHECK(read_window(whole, options));
  ATTEND_CHECK(read_bias(whole.relative_position_bias, &options->relative_position_bias));
  options->scale = whole.scale;
  options->softcap = whole.softcap;
  options->causal = whole.causal != 0;
  options->offset = whole.offset;
  options->offsets = view_of(whole.offsets);
  options->mask = view_of(whole.mask);
  options->key_padding_mask = view_of(whole.key_padding_mask);
  options->mask_hides = whole.mask_hides != 0;
  options->valid_starts = view_of(whole.valid_starts);
  options->additive_mask = view_of(whole.additive_mask);
  options->tree_parents = view_of(whole.tree_parents);
  options->empty_rows = static_cast<EmptyRows>(whole.empty_rows);
  options->alibi_slopes = view_of(whole.alibi_slopes);
  options->sinks = view_of(whole.sinks);
  options->query_starts = view_of(whole.query_starts);
  options->key_starts = view_of(whole.key_starts);
  options->query_positions = view_of(whole.query_positions);
  options->key_positions = view_of(whole.key_positions);
  options->training = whole.training != 0;
  options->dropout_seed = whole.dropout_seed;
  options->attention_weights = view_of(whole.attention_weights);
  options->average_weights = whole.average_weights != 0;
  options->lse = view_of(whole.lse);
  options->threads = threads_of(whole.threads);
  options->isa = static_cast<Isa>(whole.isa);
  options->core_arithmetic = static_cast<Arithmetic>(whole.core_arithmetic);
  options->low_precision = low_precision_of(whole.low_precision);
  return Status();
}

Status read_options(const attend_operation_options* given, OperationOptions* options) {
  if (given == nullptr) return Status();
  attend_operation_options whole;
  ATTEND_CHECK(complete("options", "attend_operation_options", given, &whole));
  options->isa = static_cast<Isa>(whole.isa);
  options->threads = threads_of(whole.threads);
  return Status();
}

}  // namespace attend
