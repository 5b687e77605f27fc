// Memory for the arguments of a kernel call with a page that faults right before or after each array.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <new>

#include "../tools/checks/argument_memory.h"

namespace attend {

class GuardedMemory : public checks::ArgumentMemory {
 public:
  GuardedMemory() : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* memory = mmap(nullptr, slots * (slot_bytes + page_) + page_, PROT_NONE, flags, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<unsigned char*>(memory);
    for (std::size_t slot = 0; slot < slots; ++slot) {
      if (mprotect(begin_of(slot), slot_bytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    }
  }
  ~GuardedMemory() override { munmap(memory_, slots * (slot_bytes + page_) + page_); }

  /// Where arrays lie: against the page before them, `misalignment` elements from it where their
  /// alignment allows that, or else against the page after them.
  void against_page_before(std::size_t misalignment) {
    before_ = true;
    misalignment_ = misalignment;
  }
  void against_page_after() { before_ = false; }
  /// So many bytes, a multiple of 64, stay free before that page: for emulators that load what a mask hides.
  void keep_from_page_after(std::size_t bytes) { distance_ = bytes; }

  void clear() override {
    ArgumentMemory::clear();
    used_ = 0;
  }

 protected:
  Space place(std::size_t bytes, std::size_t element, std::size_t alignment) override {
    constexpr std::size_t margin = 1024;
    if (used_ == slots || bytes + 2 * margin > slot_bytes) throw std::bad_alloc();
    unsigned char* begin = begin_of(used_++);
    unsigned char* end = begin + slot_bytes;
    if (before_) {
      unsigned char* first = begin + (alignment > element ? 0 : misalignment_ * element);
      return {begin, first, first + bytes, first + bytes + margin};
    }
    unsigned char* first = end - distance_ - (bytes + alignment - 1) / alignment * alignment;
    return {first - margin, first, first + bytes, end};
  }

 private:
  static constexpr std::size_t slots = 16, slot_bytes = 1 << 23;
  unsigned char* begin_of(std::size_t slot) const { return memory_ + page_ + slot * (slot_bytes + page_); }

  std::size_t page_;
  unsigned char* memory_;
  std::size_t used_ = 0, misalignment_ = 0, distance_ = 0;
  bool before_ = true;
};

}  // namespace attend
