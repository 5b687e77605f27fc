// The embedding of tokens: rows of a matrix of a file, which become floats when they are asked for.
#pragma once

#include <cstdint>
#include <string>

#include "attend/io.hpp"

namespace attend::io {
struct BlockType;
}

namespace attend::tool {

class TokenEmbedding {
 public:
  TokenEmbedding() = default;
  /// A matrix (tokens, width) of an open file, which outlives it. Throws Failure.
  TokenEmbedding(const io::TensorFile& file, const std::string& name);
  std::int64_t tokens() const noexcept { return entry_->shape[0]; }
  std::int64_t width() const noexcept { return entry_->shape[1]; }
  /// Writes the row of a token.
  void read(std::int32_t token, float* row) const noexcept;

 private:
  const io::TensorEntry* entry_ = nullptr;
  const unsigned char* bytes_ = nullptr;
  const io::BlockType* blocks_ = nullptr;  // null: numbers are of `type_`
  io::ElementType type_ = io::ElementType::float32;
};

}  // namespace attend::tool
