// The types of array elements in files.
#pragma once

#include <cstddef>

namespace attend::io {

enum class ElementType : int { float16, bfloat16, float32, float64, int32, int64, boolean };

/// "float16", ..., "int64", "bool".
const char* element_type_name(ElementType type) noexcept;
/// Bytes of one element.
std::size_t element_bytes(ElementType type) noexcept;
/// Whether it is one of the four floating-point types.
bool is_floating(ElementType type) noexcept;
/// Writes the nearest float32 of `count` elements of any alignment: exact from the 16-bit floats,
/// infinity beyond its range, 0 or 1 from bool.
void convert_to_float32(ElementType type, const void* elements, std::size_t count,
                        float* output) noexcept;

}  // namespace attend::io
