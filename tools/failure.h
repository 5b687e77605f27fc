// Failure: what ends a verb early, with the one line that the user reads.
#pragma once

#include <stdexcept>
#include <string>

#include "attend/attend.hpp"

namespace attend::tool {

/// Bad usage, input or output: main prints the message as one line and exits with 2.
struct Failure : std::runtime_error {
  explicit Failure(const std::string& message, StatusCode of = StatusCode::invalid_argument) : std::runtime_error(message), code(of) {}
  StatusCode code;
};

inline void require(const Status& status) {
  if (!status.ok()) throw Failure(status.message(), status.code());
}

}  // namespace attend::tool
