// The workspace of a call of the C API.
#pragma once

#include "attend/attend.h"
#include "attend/attend.hpp"

namespace attend {

/// The caller's workspace while a call runs; then what it has grown to is the caller's struct's. Null: one for this call alone.
class CallWorkspace {
 public:
  explicit CallWorkspace(attend_workspace* given) noexcept;
  ~CallWorkspace();
  CallWorkspace(const CallWorkspace&) = delete;
  CallWorkspace& operator=(const CallWorkspace&) = delete;
  operator Workspace&() noexcept { return workspace_; }

 private:
  attend_workspace* growing_;  // null: it does not grow, or not for longer than the call
  Workspace workspace_;
};

/// Where a function of the C API puts what it makes, aligned: the caller's memory, or a block from the heap (else *heap is null),
/// which it is to release. `name`: of the function that says how many bytes it takes.
Status take_memory(const char* name, std::size_t bytes, void* memory, std::size_t memory_bytes, char** start, void** heap);

}  // namespace attend
