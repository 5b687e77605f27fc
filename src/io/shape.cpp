// Shapes of arrays in files: their bytes, and how they are spelled.
#include "io/shape.h"

namespace attend::io {

bool byte_count(const std::vector<std::int64_t>& shape, std::size_t element_bytes,
                std::size_t* bytes) noexcept {
  std::int64_t total = static_cast<std::int64_t>(element_bytes);
  bool empty = false;
  for (std::int64_t size : shape) {
    if (size < 0) return false;
    empty = empty || size == 0;
    if (size > 0 && __builtin_mul_overflow(total, size, &total)) return false;
  }
  *bytes = empty ? 0 : static_cast<std::size_t>(total);
  return true;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis > 0) text += ' ';
    text += std::to_string(shape[axis]);
    if (axis + 1 < shape.size() || axis == 0) text += ',';
  }
  return text += ')';
}

}  // namespace attend::io
