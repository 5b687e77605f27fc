// The flags of scores and their softmax: --softcap, --alibi-slopes and --sinks.
#pragma once

#include <string>

#include "arguments.h"
#include "layer_input.h"

namespace attend::tool {

/// The options of those flags; keeps the memory of their arrays.
class ScoreOptions {
 public:
  /// Throws Failure.
  ScoreOptions(const Arguments& arguments, std::int64_t heads);
  /// Sets the options of a call. Throws Failure where these have sinks already.
  void apply(AttentionOptions* options) const;

 private:
  float softcap_;
  LoadedFloats slopes_, sinks_;
  std::string sinks_path_;
};

/// The flags of scores, for a verb's table.
inline std::vector<Flag> score_flags() {
  return {
      {"--softcap", "C", "turns a score s into C tanh(s / C); default: 0, which changes nothing"},
      {"--alibi-slopes", "A.npy|default", "slopes (H,), or ALiBi's own: minus slope times distance is added to the scores"},
      {"--sinks", "S.npy", "a logit for each head (H,), which counts in the denominator and has no value"},
  };
}

}  // namespace attend::tool
