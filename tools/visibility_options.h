// The flags of masks, causal, windows and empty rows.
#pragma once

#include "arguments.h"
#include "layer_input.h"

namespace attend::tool {

/// The options of the flags below; keeps the mask's memory.
class VisibilityOptions {
 public:
  /// Throws Failure. The mask's shape is checked where it is used.
  explicit VisibilityOptions(const Arguments& arguments);
  /// Sets the options of a call on `count` entries, from `first` on, of scores of a shape (B, H, L, S). Throws Failure.
  void apply(AttentionOptions* options, const std::int64_t (&shape)[4], std::int64_t first, std::int64_t count) const;
  /// A remark for a user whose mask looks as if it should hide keys, but was added to the scores; else nothing.
  std::string remark() const;

 private:
  BoolMaskView bool_mask_of(std::int64_t batch, std::int64_t queries) const;

  AttentionOptions given_;
  std::string mask_path_;
  io::Array bool_mask_, padding_mask_;  // integer masks become bytes
  bool of_integers_ = false;
  io::Int64Tensor starts_;
  LoadedFloats additive_mask_;
  bool looks_like_bool_ = false;
};

/// Throws Failure if there is an offset, but nothing in a call that it changes.
void require_use_of_offset(const Arguments& arguments, const AttentionOptions& options, const RotaryEmbedding& rotary);

/// Whether causal, a window, a start or a mask hides key j from query i of a head, in a call on one entry.
bool hidden(const AttentionOptions& options, std::int64_t head, std::int64_t i, std::int64_t j);

/// The flags of visibility, for a verb's table.
inline std::vector<Flag> visibility_flags() {
  return {
      {"--mask", "M.npy", "a mask: bools or integers hide keys where they are 0, floats are added to the scores"},
      {"--key-padding-mask", "M.npy", "a mask (B, S) of bools or integers, which hides keys where it is 0"},
      {"--mask-hides", nullptr, "makes both masks hide keys where they are 1, as nn.MultiheadAttention has it"},
      {"--valid-starts", "N.npy", "the first key of each sequence that is not left padding, (B,); default: 0"},
      {"--causal", nullptr, "hides keys after a query's position, which is i + offset for query i"},
      {"--causal-offset", "N", "the offset: the position of query 0 among the keys; default: 0"},
      {"--window-left", "N", "how many keys before its position a query sees; default: all"},
      {"--window-right", "N", "how many keys after its position a query sees; default: all"},
      {"--empty-rows", "zero|uniform", "how a query that sees no key weighs them: all 0, or all alike; default: zero"},
  };
}

/// What a verb's help says of --mask.
inline constexpr const char* mask_details =
    "A mask is broadcast to (B, H, L, S), from its last axis on. Bools, and int32, int64 or uint8 that are\n"
    "all 0 or 1, hide keys where they are 0 (with --mask-hides, where they are 1); floats are added to the scores.\n"
    "Integers of two axes may be (B, S), as a tokenizer's attention mask is; a mask (B H, L, S) is taken as\n"
    "(B, H, L, S): that of nn.MultiheadAttention, for each head.\n";

}  // namespace attend::tool
