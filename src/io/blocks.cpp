// Blocks of quantised numbers, as GGUF files have them.
#include "io/blocks.h"

#include "kernels/half_floats.h"

#include <cstring>

namespace attend::io {

namespace {

constexpr int count = 32;

float half_at(const unsigned char* bytes) {
  std::uint16_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return float_from_float16(bits);
}

// A scale, 32 integers of 8 bits.
void widen_q8_0(const unsigned char* block, float* numbers) {
  const float scale = half_at(block);
  for (int i = 0; i < count; ++i) {
    std::int8_t integer;
    std::memcpy(&integer, block + 2 + i, 1);
    numbers[i] = scale * static_cast<float>(integer);
  }
}

// Byte i has number i in its low four bits, number i + 16 in its high ones.
int four_bits(const unsigned char* bytes, int i) { return i < count / 2 ? bytes[i] & 15 : bytes[i - count / 2] >> 4; }

void put_in_order(const unsigned char* bytes, Int4Block* narrowed) {
  for (int i = 0; i < count; i += 2) narrowed->nibbles[i / 2] = static_cast<std::uint8_t>(four_bits(bytes, i) | four_bits(bytes, i + 1) << 4);
}

// A scale, 32 integers of 4 bits, of which 8 is zero.
void widen_q4_0(const unsigned char* block, float* numbers) {
  const float scale = half_at(block);
  for (int i = 0; i < count; ++i) numbers[i] = scale * static_cast<float>(four_bits(block + 2, i) - 8);
}

bool narrow_q4_0(const unsigned char* block, Int4Block* narrowed) {
  narrowed->scale = half_at(block);
  narrowed->zero = 8;
  put_in_order(block + 2, narrowed);
  return true;
}

// A scale, what is added, 32 integers of 4 bits.
void widen_q4_1(const unsigned char* block, float* numbers) {
  const float scale = half_at(block), added = half_at(block + 2);
  for (int i = 0; i < count; ++i) numbers[i] = scale * static_cast<float>(four_bits(block + 4, i)) + added;
}

// What is added has to be a number of steps, from -15 to 0.
bool narrow_q4_1(const unsigned char* block, Int4Block* narrowed) {
  const float scale = half_at(block), added = half_at(block + 2);
  narrowed->scale = scale;
  put_in_order(block + 4, narrowed);
  for (narrowed->zero = 0; narrowed->zero < 16; ++narrowed->zero) {
    if (scale * static_cast<float>(narrowed->zero) == -added) return true;
  }
  return false;
}

constexpr BlockType types[] = {{"Q8_0", count, 34, widen_q8_0, nullptr}, {"Q4_0", count, 18, widen_q4_0, narrow_q4_0}, {"Q4_1", count, 20, widen_q4_1, narrow_q4_1}};

}  // namespace

const BlockType* find_block_type(std::string_view name) noexcept {
  for (const BlockType& type : types) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

}  // namespace attend::io
