// The boundary where exceptions of the standard library become a Status.
#pragma once

#include <attend/attend.hpp>
#include <utility>

namespace attend::io {

/// Runs body(); out_of_memory if it throws, for only want of memory throws here.
template <class Body>
Status guarded(Body&& body) noexcept {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    return Status::error(StatusCode::out_of_memory, "out of memory");
  }
}

}  // namespace attend::io
