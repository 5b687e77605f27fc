// The embedding of tokens: rows of a matrix of a file, which become floats when they are asked for.
#include "token_embedding.h"

#include <cstddef>

#include "failure.h"
#include "io/blocks.h"
#include "io/shape.h"
#include "io/text.h"

namespace attend::tool {

TokenEmbedding::TokenEmbedding(const io::TensorFile& file, const std::string& name) : entry_(file.find(name)) {
  if (entry_ == nullptr) require(io::tensor_error(file.path(), name, "there is none of that name"));
  if (entry_->shape.size() != 2) require(io::tensor_error(file.path(), name, "shape " + io::shape_text(entry_->shape) + ", expected (tokens, width)"));
  bytes_ = file.bytes(*entry_);
  blocks_ = io::find_block_type(entry_->dtype);
  if (blocks_ != nullptr || entry_->dtype == "F32") return;
  if (entry_->dtype == "F16") type_ = io::ElementType::float16;
  else if (entry_->dtype == "BF16") type_ = io::ElementType::bfloat16;
  else require(io::tensor_error(file.path(), name, "dtype " + io::quoted(entry_->dtype) + ", expected F32, F16, BF16, or blocks of Q8_0, Q4_0 or Q4_1"));
}

void TokenEmbedding::read(std::int32_t token, float* row) const noexcept {
  const std::size_t columns = static_cast<std::size_t>(width()), number = static_cast<std::size_t>(token);
  if (blocks_ == nullptr) return io::convert_to_float32(type_, bytes_ + number * columns * io::element_bytes(type_), columns, row);
  const std::size_t elements = static_cast<std::size_t>(blocks_->elements), count = columns / elements;
  const unsigned char* block = bytes_ + number * count * blocks_->bytes;
  for (std::size_t n = 0; n < count; ++n) blocks_->widen(block + n * blocks_->bytes, row + n * elements);
}

}  // namespace attend::tool
