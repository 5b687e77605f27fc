// Shapes of arrays in files: their bytes, and how they are spelled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace attend::io {

/// Bytes of an array of that shape. False if a size is negative, or if the bytes would exceed
/// 2^63 - 1 (sizes of 0 counted as 1, so that strides fit as well).
bool byte_count(const std::vector<std::int64_t>& shape, std::size_t element_bytes,
                std::size_t* bytes) noexcept;
/// "(2, 3)", "(2,)", "()", as Python spells tuples.
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace attend::io
