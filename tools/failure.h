// Failure: what ends a verb early, with the one line that the user reads.
#pragma once

#include <stdexcept>
#include <string>

#include "attend/attend.hpp"

namespace attend::tool {

/// Bad usage, input or output: main prints the message as one line and exits with 2.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(const Status& status) {
  if (!status.ok()) throw Failure(status.message());
}

}  // namespace attend::tool
