// The only place that takes memory from the heap.
#pragma once

#include <cstddef>
#include <cstdint>

namespace attend {

constexpr std::size_t alignment = 64;  // of everything that kernels stream

/// Bytes rounded up to a whole number of cache lines.
constexpr std::size_t aligned_bytes(std::size_t bytes) {
  return (bytes + alignment - 1) / alignment * alignment;
}
inline void* align_up(void* memory) {
  return reinterpret_cast<void*>(
      (reinterpret_cast<std::uintptr_t>(memory) + alignment - 1) / alignment * alignment);
}

/// 64-byte aligned memory, or null; freed by release.
void* allocate(std::size_t bytes) noexcept;
void release(void* memory) noexcept;

/// Where allocate gets it from; tests put a failing one here.
using Allocator = void* (*)(std::size_t alignment, std::size_t bytes);
extern Allocator allocator;

}  // namespace attend
