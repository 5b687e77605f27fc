// The flags of rotary position embedding: --rope-theta and what goes with it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "attend/attend.hpp"

namespace attend::tool {

/// How a layer's queries and keys are rotated to their positions, if they are.
class RotaryOptions {
 public:
  /// Throws Failure.
  explicit RotaryOptions(const Arguments& arguments);
  bool given() const { return !theta_.empty(); }
  /// For heads of that width; views this object's memory. Throws Failure.
  RotaryEmbedding embedding(std::int64_t head_width);

 private:
  std::string theta_;  // --rope-theta; empty: no rotation
  double base_ = 0.0;
  std::int64_t width_ = 0;  // 0: that of a head
  bool interleaved_ = false;
  RotaryScaling scaling_;
  std::optional<float> attention_factor_;
  std::vector<float> frequencies_;
};

/// The flags of rotation, for a verb's table, and what its help says of them.
inline std::vector<Flag> rotary_flags() {
  return {
      {"--rope-theta", "T|none", "rotates queries and keys to their positions, by frequencies T^(-2n / R)"},
      {"--rope-scaling", "KIND,NAME=N,...", "how frequencies are scaled: linear, ntk, yarn or llama3, and numbers: factor=8,..."},
      {"--rope-dim", "R", "how many elements of a head are rotated; default: all"},
      {"--rope-interleaved", nullptr, "rotates pairs (2n, 2n + 1), as GPT-J does, instead of (n, n + R / 2)"},
  };
}
inline constexpr const char* rope_scaling_details =
    "The numbers of --rope-scaling have the names of a model's config.json: factor,\n"
    "original_max_position_embeddings (yarn, llama3), attention_factor, beta_fast, beta_slow and truncate\n"
    "(yarn), low_freq_factor and high_freq_factor (llama3). Query 0 stands at --causal-offset, key 0 at 0.\n";

}  // namespace attend::tool
