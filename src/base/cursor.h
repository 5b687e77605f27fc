// Lays arrays out one after the other, each on cache lines of its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/memory.h"

namespace attend {

struct Cursor {
  std::uintptr_t at;
  template <class Element>
  Element* take(std::int64_t count) {
    Element* start = reinterpret_cast<Element*>(at);
    at += aligned_bytes(static_cast<std::size_t>(count) * sizeof(Element));
    return start;
  }
};

}  // namespace attend
