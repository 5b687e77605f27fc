// The types of array elements in files.
#include "attend/io.hpp"

#include "kernels/half_floats.h"

#include <cstdint>
#include <cstring>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "attend_io reads and writes little-endian files on little-endian machines only"
#endif

namespace attend::io {

namespace {

struct Facts {
  const char* name;
  std::size_t bytes;
};
constexpr Facts facts[] = {{"float16", 2}, {"bfloat16", 2}, {"float32", 4}, {"float64", 8},
                           {"int32", 4},   {"int64", 8},    {"bool", 1},    {"uint8", 1}};

template <class Stored, class Convert>
void convert_each(const void* elements, std::size_t count, float* output, Convert convert) {
  const unsigned char* bytes = static_cast<const unsigned char*>(elements);
  for (std::size_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, bytes + i * sizeof stored, sizeof stored);
    output[i] = convert(stored);
  }
}

}  // namespace

const char* element_type_name(ElementType type) noexcept {
  return facts[static_cast<int>(type)].name;
}

std::size_t element_bytes(ElementType type) noexcept { return facts[static_cast<int>(type)].bytes; }

bool is_floating(ElementType type) noexcept { return type <= ElementType::float64; }

void convert_to_float32(ElementType type, const void* elements, std::size_t count,
                        float* output) noexcept {
  const auto cast = [](auto stored) { return static_cast<float>(stored); };
  switch (type) {
    case ElementType::float16:
      return convert_each<std::uint16_t>(elements, count, output, float_from_float16);
    case ElementType::bfloat16:
      return convert_each<std::uint16_t>(elements, count, output, float_from_bfloat16);
    case ElementType::float32: return convert_each<float>(elements, count, output, cast);
    case ElementType::float64: return convert_each<double>(elements, count, output, cast);
    case ElementType::int32: return convert_each<std::int32_t>(elements, count, output, cast);
    case ElementType::int64: return convert_each<std::int64_t>(elements, count, output, cast);
    case ElementType::boolean:
      return convert_each<unsigned char>(elements, count, output,
                                         [](unsigned char stored) { return stored ? 1.0f : 0.0f; });
    case ElementType::uint8: return convert_each<unsigned char>(elements, count, output, cast);
  }
}

}  // namespace attend::io
