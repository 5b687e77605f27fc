// The only place that takes memory from the heap.
#pragma once

#include <cstddef>
#include <cstdint>

namespace attend {

constexpr std::size_t alignment = 64;  // a cache line: what kernels stream begins on one

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

/// Lets the system give a block of the heap huge pages: only for one that is about to be written from end to end, for untouched rows
/// would take memory too. Without it the 2300 page faults of a layer 768 wide are 5 of the 18 ms to a process's first result (Zen 3).
void prefer_huge_pages(void* memory, std::size_t bytes) noexcept;

/// The same for memory that is written from its start on, little by little: past its first 2 MiB. What is written and the rest of a huge
/// page are then at most twice what is written.
void prefer_huge_pages_later(void* memory, std::size_t bytes) noexcept;

/// The function that allocate calls; tests put a failing one here.
using Allocator = void* (*)(std::size_t alignment, std::size_t bytes);
extern Allocator allocator;

}  // namespace attend
