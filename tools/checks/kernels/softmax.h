// The check of softmax.
#pragma once

#include "check.h"

namespace attend::checks {

struct SoftmaxShape {
  std::int64_t visible = 1, total = 1;
  std::int64_t source_stride = 1, destination_stride = 1;
  bool in_place = false;
  float level = 0.0f;               // added to all scores
  std::int64_t special_score = -1;  // this one is `special`
  float special = 0.0f;
};

SoftmaxShape draw_softmax(const Kernels& kernels, Random& random);
Result check_softmax(const Kernels& kernels, const SoftmaxShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
