// What is known of the models of GGUF files by the names of their architectures.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attend::io {

/// How rows of queries and keys lie for their rotation, which turns two elements of a head.
enum class Rotation {
  none,
  halves,  // n and n + R / 2
  pairs,   // 2n and 2n + 1
};

/// False if the architecture is not known.
bool find_rotation(std::string_view architecture, Rotation* rotation) noexcept;

/// "llama", "granite", ...
std::vector<std::string> known_architectures();

}  // namespace attend::io
