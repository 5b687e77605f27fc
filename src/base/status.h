// Passing errors on.
#pragma once

#include "attend/attend.hpp"

// Returns from the function with the status of a call that failed.
#define ATTEND_CHECK(call)                    \
  do {                                        \
    const Status status = (call);             \
    if (!status.ok()) return status;          \
  } while (false)
