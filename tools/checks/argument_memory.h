// Memory for the arguments of one kernel call, poisoned wherever the call must not read or write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace attend::checks {

/// Hands out arrays. Inputs start as NaN, so that what is read without having been set shows in the
/// results; outputs start as another NaN, so that what is written shows: a check gives each element
/// that it has seen back with `restore`, and then `damage` finds whatever else was written. Both are
/// signaling: a NaN that arithmetic made is neither.
class ArgumentMemory {
 public:
  ArgumentMemory() = default;
  ArgumentMemory(const ArgumentMemory&) = delete;
  ArgumentMemory& operator=(const ArgumentMemory&) = delete;
  virtual ~ArgumentMemory() = default;

  /// `count` elements that the call reads. `name` outlives the memory. `alignment`: what the
  /// contract of the argument promises, in bytes; without one, as unaligned as elements can be.
  template <class Element>
  Element* input(const char* name, std::int64_t count, std::size_t alignment = sizeof(Element)) {
    return static_cast<Element*>(take(name, count, sizeof(Element), alignment, input_poison));
  }
  /// `count` floats that the call writes.
  float* output(const char* name, std::int64_t count, std::size_t alignment = sizeof(float)) {
    return static_cast<float*>(take(name, count, sizeof(float), alignment, output_poison));
  }

  /// What the element of an output was before the call.
  static void restore(float* element) { std::memcpy(element, &output_poison, sizeof(output_poison)); }
  static bool untouched(const float* element) {
    return std::memcmp(element, &output_poison, sizeof(output_poison)) == 0;
  }

  /// The first float that was written and not restored, in an output or around any array: its array
  /// and its index there; null if there is none.
  struct Damage {
    const char* name;
    std::int64_t index;
  };
  Damage damage() const {
    for (const Array& array : arrays_) {
      const bool output = array.poison == output_poison;
      for (unsigned char* at = array.space.begin; at != array.space.end; at += sizeof(array.poison)) {
        if (!output && at == array.space.first) at = array.space.last;
        if (at == array.space.end) break;
        if (std::memcmp(at, &array.poison, sizeof(array.poison)) != 0) {
          return {array.name, (at - array.space.first) / static_cast<std::ptrdiff_t>(sizeof(float))};
        }
      }
    }
    return {nullptr, 0};
  }

  /// Takes all arrays back.
  virtual void clear() { arrays_.clear(); }

 protected:
  /// Bytes [first, last) for an array, and what lies around them; all multiples of 4 apart.
  struct Space {
    unsigned char *begin, *first, *last, *end;
  };
  virtual Space place(std::size_t bytes, std::size_t element, std::size_t alignment) = 0;

 private:
  struct Array {
    const char* name;
    Space space;
    std::uint32_t poison;
  };
  static constexpr std::uint32_t input_poison = 0x7fa0dead, output_poison = 0x7fa0beef;

  void* take(const char* name, std::int64_t count, std::size_t element, std::size_t alignment, std::uint32_t poison) {
    const Space space = place(static_cast<std::size_t>(count) * element, element, alignment);
    for (unsigned char* at = space.begin; at != space.end; at += sizeof(poison)) {
      std::memcpy(at, &poison, sizeof(poison));
    }
    arrays_.push_back({name, space, poison});
    return space.first;
  }

  std::vector<Array> arrays_;
};

/// From the heap, with margins, `misalignment` elements past a cache line where that is allowed.
class HeapMemory : public ArgumentMemory {
 public:
  explicit HeapMemory(std::size_t misalignment) : misalignment_(misalignment) {}

  void clear() override {
    ArgumentMemory::clear();
    blocks_.clear();
  }

 protected:
  Space place(std::size_t bytes, std::size_t element, std::size_t alignment) override {
    constexpr std::size_t line = 64, margin = 4 * line;
    const std::size_t shift = alignment > element ? 0 : misalignment_ * element;
    blocks_.emplace_back(new unsigned char[margin + line + shift + bytes + margin]);
    const std::size_t address = reinterpret_cast<std::uintptr_t>(blocks_.back().get()) + margin;
    unsigned char* first = blocks_.back().get() + margin + (line - address % line) % line + shift;
    return {first - margin, first, first + bytes, first + bytes + margin};
  }

 private:
  std::size_t misalignment_;
  std::vector<std::unique_ptr<unsigned char[]>> blocks_;
};

}  // namespace attend::checks
