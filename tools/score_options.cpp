// The flags of scores and their softmax: --softcap, --alibi-slopes and --sinks.
#include "score_options.h"

#include "failure.h"
#include "io/text.h"

namespace attend::tool {

ScoreOptions::ScoreOptions(const Arguments& arguments, std::int64_t heads)
    : softcap_(static_cast<float>(arguments.number("--softcap", 0.0, 0.0))), sinks_path_(arguments.text("--sinks")) {
  const std::string slopes = arguments.text("--alibi-slopes");
  if (slopes == "default") {
    float* memory = slopes_.tensor.own({heads}, static_cast<std::size_t>(heads));
    require(default_alibi_slopes(heads, TensorView(memory, heads)));
  } else if (!slopes.empty()) {
    slopes_ = load_floats("--alibi-slopes", slopes, {heads});
  }
  if (!sinks_path_.empty()) sinks_ = load_floats("--sinks", sinks_path_, {heads});
}

void ScoreOptions::apply(AttentionOptions* options) const {
  options->softcap = softcap_;
  options->alibi_slopes = slopes_.view();
  if (sinks_path_.empty()) return;
  if (!options->sinks.absent()) throw Failure("--sinks " + io::quoted(sinks_path_) + ": the layer has sinks of its own");
  options->sinks = sinks_.view();
}

}  // namespace attend::tool
