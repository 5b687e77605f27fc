// Blocks of quantised numbers, as GGUF files have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attend::io {

/// A type whose numbers come in blocks of a row.
struct BlockType {
  const char* name;       // as GGUF spells it
  std::int64_t elements;  // of a block
  std::size_t bytes;      // of a block
  /// Writes the numbers of a block, of any alignment, as floats.
  void (*widen)(const unsigned char* block, float* numbers);
};

/// The type of that name; null if there is none that can be widened.
const BlockType* find_block_type(std::string_view name) noexcept;

}  // namespace attend::io
