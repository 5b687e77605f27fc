// The checks of accumulate, fold, unfold and finish.
#pragma once

#include "check.h"

namespace attend::checks {

struct AccumulateShape {
  std::int64_t keys = 1, columns = 1, width = 1;
  std::int64_t first_lane = 0, lane_count = 1;
  std::int64_t gap = 0;  // the values'
  Accumulation accumulation = Accumulation::store;
};

struct FoldShape {
  std::int64_t count = 1;
  bool first = false;
};

struct FinishShape {
  std::int64_t lane_count = 1, columns = 1, stride = 1;
  std::int64_t broken_lane = -1, broken_column = 0;  // the source there is `broken`
  float broken = 0.0f;
};

AccumulateShape draw_accumulate(const Kernels& kernels, Random& random);
FoldShape draw_fold(const Kernels& kernels, Random& random);
FinishShape draw_finish(const Kernels& kernels, Random& random);
FoldShape draw_unfold(const Kernels& kernels, Random& random);
Result check_accumulate(const Kernels& kernels, const AccumulateShape& shape, Seed seed, ArgumentMemory& memory);
Result check_fold(const Kernels& kernels, const FoldShape& shape, Seed seed, ArgumentMemory& memory);
Result check_unfold(const Kernels& kernels, const FoldShape& shape, Seed seed, ArgumentMemory& memory);
Result check_finish(const Kernels& kernels, const FinishShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
