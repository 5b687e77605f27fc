// What a verb's flags say of masks, causal, windows and empty rows.
#pragma once

#include "arguments.h"
#include "layer_input.h"

namespace attend::tool {

/// The options of the flags below; keeps the mask's memory.
class VisibilityOptions {
 public:
  /// Throws Failure. The mask's shape is checked where it is used.
  explicit VisibilityOptions(const Arguments& arguments);
  /// Puts them into the options of a call on `count` of `batch` entries of that many queries, from `first` on. Throws Failure.
  void apply(AttentionOptions* options, std::int64_t batch, std::int64_t queries, std::int64_t first, std::int64_t count) const;
  /// What to tell a user whose mask looks as if it were to hide keys, and was added to the scores; else nothing.
  std::string remark() const;

 private:
  BoolMaskView bool_mask_of(std::int64_t batch, std::int64_t queries) const;

  AttentionOptions given_;
  std::string mask_path_;
  io::Array bool_mask_, padding_mask_;  // integers among them, as bytes
  bool of_integers_ = false;
  io::Int64Tensor starts_;
  LoadedFloats additive_mask_;
  bool looks_like_bool_ = false;
};

/// Whether causal, a window, a start or a mask hides key j from query i of a head, in a call on one entry.
bool hidden(const AttentionOptions& options, std::int64_t head, std::int64_t i, std::int64_t j);

/// Its flags, for a verb's table.
inline std::vector<Flag> visibility_flags() {
  return {
      {"--mask", "M.npy", "bools or integers (1: may attend), or floats added to the scores"},
      {"--key-padding-mask", "M.npy", "bools or integers (B, S), 1: a key that may be attended to"},
      {"--mask-hides", nullptr, "1 hides in both masks, as nn.MultiheadAttention has it"},
      {"--valid-starts", "N.npy", "(B,): keys before are hidden, as left padding needs; default: 0"},
      {"--causal", nullptr, "query i sees keys up to i + offset"},
      {"--causal-offset", "N", "the position of query 0 among the keys; default: 0"},
      {"--window-left", "N", "how many keys before its position a query sees; default: all"},
      {"--window-right", "N", "and after it; default: all"},
      {"--empty-rows", "zero|uniform", "what a query gives that sees no key; default: zero"},
  };
}

/// What a verb's help says of --mask.
inline constexpr const char* mask_details =
    "A mask is broadcast to (B, H, L, S), from its last axis on. Bools, and int32, int64 or uint8 that are\n"
    "all 0 or 1, hide keys where they are 0 (with --mask-hides, where they are not); floats are added to the scores.\n"
    "Integers of two axes may be (B, S), as a tokenizer's attention mask is.\n";

}  // namespace attend::tool
