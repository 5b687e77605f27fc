// The heap, and the workspace that grows on it.
#include "memory.h"

#include <cstdlib>

#include "attend/attend.hpp"

namespace attend {

Allocator allocator = aligned_alloc;

void* allocate(std::size_t bytes) noexcept {
  if (bytes > SIZE_MAX - alignment) return nullptr;
  return allocator(alignment, aligned_bytes(bytes ? bytes : 1));
}

void release(void* memory) noexcept { std::free(memory); }

Workspace::Workspace(void* memory, std::size_t bytes) noexcept : owned_(false) {
  void* aligned = align_up(memory);
  const std::size_t lost =
      static_cast<std::size_t>(static_cast<char*>(aligned) - static_cast<char*>(memory));
  if (memory != nullptr && bytes > lost) {
    memory_ = aligned;
    bytes_ = bytes - lost;
  }
}

Workspace::~Workspace() {
  if (owned_) release(memory_);
}

void* Workspace::reserve(std::size_t bytes) noexcept {
  if (bytes <= bytes_) return memory_;
  if (!owned_) return nullptr;
  void* grown = allocate(bytes);
  if (grown == nullptr) return nullptr;
  release(memory_);
  memory_ = grown;
  bytes_ = aligned_bytes(bytes);
  return memory_;
}

}  // namespace attend
