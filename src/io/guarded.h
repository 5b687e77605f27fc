// The boundary where exceptions of the standard library become a Status.
#pragma once

#include <attend/attend.hpp>
#include <utility>

namespace attend::io {

/// body(), or out_of_memory if it throws: nothing here throws but for want of memory.
template <class Body>
Status guarded(Body&& body) noexcept {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    return Status::error(StatusCode::out_of_memory, "out of memory");
  }
}

}  // namespace attend::io
