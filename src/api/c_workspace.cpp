// Memory of the C API: workspaces, and where what is made stands.
#include "api/c_workspace.h"

#include "base/memory.h"

namespace attend {

CallWorkspace::CallWorkspace(attend_workspace* given) noexcept
    : growing_(given != nullptr && (given->owned != 0 || (given->memory == nullptr && given->bytes == 0)) ? given : nullptr),
      workspace_(given != nullptr ? given->memory : nullptr, given != nullptr ? given->bytes : 0) {
  workspace_.owned_ = given == nullptr || growing_ != nullptr;
}

CallWorkspace::~CallWorkspace() {
  if (growing_ == nullptr) return;
  *growing_ = {workspace_.memory_, workspace_.bytes_, workspace_.memory_ != nullptr};
  workspace_.owned_ = false;
}

Status take_memory(const char* name, std::size_t bytes, void* memory, std::size_t memory_bytes, char** start, void** heap) {
  *heap = nullptr;
  if (memory == nullptr) {
    memory = *heap = allocate(bytes);
    if (memory == nullptr) {
      return Status::error(StatusCode::out_of_memory, "memory: null, and the heap has no %s(config) = %zu", name, bytes);
    }
  } else if (memory_bytes < bytes) {
    return Status::error(StatusCode::out_of_memory, "memory_bytes: %zu, expected at least %s(config) = %zu", memory_bytes, name, bytes);
  }
  *start = static_cast<char*>(align_up(memory));
  return Status();
}

}  // namespace attend

using namespace attend;

extern "C" {

void* attend_workspace_reserve(attend_workspace* workspace, size_t bytes) {
  if (workspace == nullptr) return nullptr;
  CallWorkspace grown(workspace);
  return static_cast<Workspace&>(grown).reserve(bytes);
}

void attend_workspace_release(attend_workspace* workspace) {
  if (workspace == nullptr || workspace->owned == 0) return;
  release(workspace->memory);
  *workspace = {};
}

}  // extern "C"
