// Lists the options, and the calls that refuse them because they would ignore them.
#include "check/calls.h"

#include "base/dispatch.h"
#include "check/views.h"
#include "data/low_precision.h"

namespace attend {

namespace {

const char* name_of(CallKind call) {
  switch (call) {
    case attention_call: return "attention";
    case cached_attention_call: return "attention over a cache";
    case dot_product_call: return "DotProductAttention";
    case cached_forward_call: return "a forward over a cache";
    case project_call: return "project";
  }
  return "this call";
}

// An option, and the calls that have no use for it.
struct OptionUse {
  const char* name;
  bool (*given)(const AttentionOptions& options);
  unsigned without_use;
};
constexpr unsigned core_calls = attention_call | cached_attention_call, cached_calls = cached_attention_call | cached_forward_call;
constexpr AttentionOptions none = {};
constexpr RelativePositionBias no_bias = {};
using Options = AttentionOptions;
constexpr OptionUse option_uses[] = {
    {"scale", [](const Options& o) { return o.scale != none.scale; }, project_call},
    {"softcap", [](const Options& o) { return o.softcap != none.softcap; }, project_call},
    {"causal", [](const Options& o) { return o.causal; }, project_call},
    {"offset", [](const Options& o) { return o.offset != none.offset; }, project_call},
    {"offsets", [](const Options& o) { return !o.offsets.absent(); }, project_call},
    {"window_left", [](const Options& o) { return o.window_left != none.window_left; }, project_call},
    {"window_right", [](const Options& o) { return o.window_right != none.window_right; }, project_call},
    {"mask", [](const Options& o) { return !o.mask.absent(); }, project_call},
    {"mask_hides", [](const Options& o) { return o.mask_hides; }, project_call},
    {"key_padding_mask", [](const Options& o) { return !o.key_padding_mask.absent(); }, project_call},
    {"valid_starts", [](const Options& o) { return !o.valid_starts.absent(); }, project_call},
    {"additive_mask", [](const Options& o) { return !o.additive_mask.absent(); }, project_call},
    {"tree_parents", [](const Options& o) { return !o.tree_parents.absent(); }, project_call},
    {"empty_rows", [](const Options& o) { return o.empty_rows != none.empty_rows; }, dot_product_call | project_call},
    {"alibi_slopes", [](const Options& o) { return !o.alibi_slopes.absent(); }, project_call},
    {"relative_position_bias.table", [](const Options& o) { return !o.relative_position_bias.table.absent(); }, project_call},
    {"relative_position_bias.bidirectional", [](const Options& o) { return o.relative_position_bias.bidirectional != no_bias.bidirectional; }, project_call},
    {"relative_position_bias.max_distance", [](const Options& o) { return o.relative_position_bias.max_distance != no_bias.max_distance; }, project_call},
    {"sinks", [](const Options& o) { return !o.sinks.absent(); }, project_call},
    {"query_starts", [](const Options& o) { return !o.query_starts.absent(); }, cached_calls | project_call},
    {"key_starts", [](const Options& o) { return !o.key_starts.absent(); }, cached_calls | project_call},
    {"query_positions", [](const Options& o) { return !o.query_positions.absent(); }, core_calls | dot_product_call | project_call},
    {"key_positions", [](const Options& o) { return !o.key_positions.absent(); }, core_calls | dot_product_call},
    {"training", [](const Options& o) { return o.training; }, core_calls | project_call},
    {"dropout_seed", [](const Options& o) { return o.dropout_seed != none.dropout_seed; }, core_calls | project_call},
    {"attention_weights", [](const Options& o) { return !o.attention_weights.absent(); }, project_call},
    {"average_weights", [](const Options& o) { return o.average_weights; }, dot_product_call | project_call},
    {"lse", [](const Options& o) { return !o.lse.absent(); }, project_call},
    {"core_arithmetic", [](const Options& o) { return o.core_arithmetic != none.core_arithmetic; }, cached_calls | project_call},
};

}  // namespace

Status validate_use(CallKind call, const AttentionOptions& options) noexcept {
  for (const OptionUse& use : option_uses) {
    if ((use.without_use & call) == 0 || !use.given(options)) continue;
    return Status::error(invalid, "%s: given, but %s has no use for it", use.name, name_of(call));
  }
  return Status();
}

Status validate_core_arithmetic(const Kernels& kernels, const AttentionOptions& options) noexcept {
  if (options.core_arithmetic == Arithmetic::float32) return Status();
  if (options.core_arithmetic != Arithmetic::bfloat16) {
    return Status::error(invalid, "core_arithmetic: %d, expected float32 or bfloat16", static_cast<int>(options.core_arithmetic));
  }
  if (options.low_precision == nullptr || options.low_precision->int4()) {
    return Status::error(invalid, "low_precision: %s, but core_arithmetic is bfloat16: expected low_precision(), which links its kernels",
                         options.low_precision == nullptr ? "null" : "low_precision_int4()");
  }
  if (options.low_precision->find_core(kernels.isa) == nullptr) {
    return Status::error(StatusCode::unsupported, "core_arithmetic: this CPU or this build has no attention in bfloat16 on %s", isa_name(kernels.isa));
  }
  if (options.training) return Status::error(invalid, "training: given, with core_arithmetic bfloat16, which has no dropout");
  return Status();
}

Status validate_isa(const Kernels* made_for, const AttentionOptions& options) noexcept {
  if (options.isa == Isa::best || find_kernels(options.isa) == made_for) return Status();
  return Status::error(invalid, "isa: %s, expected the one that this was made for, or best", isa_name(options.isa));
}

}  // namespace attend
