// What a verb's flags say of masks, causal and empty rows.
#pragma once

#include "arguments.h"
#include "layer_input.h"

namespace attend::tool {

/// The options of --mask, --causal, --causal-offset and --empty-rows; keeps the mask's memory.
class VisibilityOptions {
 public:
  /// Throws Failure. The mask's shape is checked where it is used.
  explicit VisibilityOptions(const Arguments& arguments);
  /// Puts them into the options of a call on `count` of `batch` entries, from `first` on. Throws Failure.
  void apply(AttentionOptions* options, std::int64_t batch, std::int64_t first, std::int64_t count) const;

 private:
  AttentionOptions given_;
  io::Array bool_mask_;
  LoadedFloats additive_mask_;
};

/// Whether causal or a mask hides key j from query i of a head, in a call on one entry.
bool hidden(const AttentionOptions& options, std::int64_t head, std::int64_t i, std::int64_t j);

/// Its flags, for a verb's table.
inline constexpr Flag mask_flag = {"--mask", "M.npy", "bool (true: may attend) or added to the scores; broadcast to (B, H, L, S)"};
inline constexpr Flag causal_flag = {"--causal", nullptr, "query i sees keys up to i + offset"};
inline constexpr Flag causal_offset_flag = {"--causal-offset", "N", "the position of query 0 among the keys; default: 0"};
inline constexpr Flag empty_rows_flag = {"--empty-rows", "zero|uniform", "what a query gives that sees no key; default: zero"};

}  // namespace attend::tool
