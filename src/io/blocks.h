// Blocks of quantised numbers, as GGUF files have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attend::io {

/// The numbers of a block as a layer stores them, scale * (nibble - zero).
struct Int4Block {
  float scale;
  std::uint8_t zero;
  std::uint8_t nibbles[16];  // two a byte, that of an even column in the lower half
};

/// A type whose numbers come in blocks of a row.
struct BlockType {
  const char* name;       // as GGUF spells it
  std::int64_t elements;  // of a block
  std::size_t bytes;      // of a block
  /// Writes the numbers of a block, of any alignment, as floats.
  void (*widen)(const unsigned char* block, float* numbers);
  /// Writes a block as integers of 4 bits. False where its numbers are not exactly theirs; null: they never are.
  bool (*narrow)(const unsigned char* block, Int4Block* narrowed);
};

/// The type of that name; null if there is none that can be widened.
const BlockType* find_block_type(std::string_view name) noexcept;

}  // namespace attend::io
