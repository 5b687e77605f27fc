// The heap, and the workspace that grows on it.
#include "base/memory.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "attend/attend.hpp"

namespace attend {

namespace {

// Whole pages may become huge ones; where the system has none, nothing happens.
void advise_huge_pages(std::uintptr_t from, std::size_t bytes) noexcept {
#if defined(MADV_HUGEPAGE)
  (void)madvise(reinterpret_cast<void*>(from), bytes, MADV_HUGEPAGE);
#else
  (void)from;
  (void)bytes;
#endif
}

}  // namespace

Allocator allocator = aligned_alloc;

void* allocate(std::size_t bytes) noexcept {
  if (bytes > SIZE_MAX - alignment) return nullptr;
  return allocator(alignment, aligned_bytes(bytes ? bytes : 1));
}

void prefer_huge_pages(void* memory, std::size_t bytes) noexcept {
  constexpr std::size_t least = 4 << 20, page = 64 << 10;  // no page is larger, but for huge ones
  if (bytes < least) return;
  const std::size_t lost = page - reinterpret_cast<std::uintptr_t>(memory) % page;
  advise_huge_pages(reinterpret_cast<std::uintptr_t>(memory) + lost, (bytes - lost) / page * page);
}

void prefer_huge_pages_later(void* memory, std::size_t bytes) noexcept {
  constexpr std::uintptr_t page = 2 << 20;
  const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t from = (start + 2 * page - 1) / page * page, to = (start + bytes) / page * page;
  if (from < to) advise_huge_pages(from, to - from);
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
