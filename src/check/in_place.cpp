// Checks that an output is its input or lies apart from it. A file of its own, which layers do not link.
#include "check/views.h"

namespace attend {

Status check_in_place(const TensorView& output, const ConstTensorView& input, const char* output_name, const char* input_name) {
  bool same = output.data == input.data;
  for (int axis = 0; same && axis < input.rank; ++axis) {
    same = output.strides[axis] == input.strides[axis] || input.sizes[axis] < 2;
  }
  if (same || apart(memory_of("", output), memory_of("", input))) return Status();
  return Status::error(invalid, "%s: its memory meets that of %s without being the same view", output_name, input_name);
}

}  // namespace attend
