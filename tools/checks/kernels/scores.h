// The checks of scores and rescale.
#pragma once

#include "check.h"

namespace attend::checks {

struct ScoreShape {
  std::int64_t keys = 1, depth = 1, width = 1;
  std::int64_t stride = 1, gap = 0;  // the keys'
  bool general = false, biased = false, capped = false;  // general: keys are hidden; biased: and added to
  std::int64_t moving_lane = -1;     // a lane whose chains start `moving` higher
  float moving = 0.0f;
  std::int64_t nan_key = -1;         // general: every second lane does not see it
};

struct RescaleShape {
  std::int64_t lane_count = 1, columns = 1;
};

ScoreShape draw_scores_plain(const Kernels& kernels, Random& random);
ScoreShape draw_scores_general(const Kernels& kernels, Random& random);
RescaleShape draw_rescale(const Kernels& kernels, Random& random);
Result check_scores(const Kernels& kernels, const ScoreShape& shape, Seed seed, ArgumentMemory& memory);
Result check_rescale(const Kernels& kernels, const RescaleShape& shape, Seed seed, ArgumentMemory& memory);

inline Result check_scores_plain(const Kernels& kernels, const ScoreShape& shape, Seed seed, ArgumentMemory& memory) {
  return check_scores(kernels, shape, seed, memory);
}
inline Result check_scores_general(const Kernels& kernels, const ScoreShape& shape, Seed seed, ArgumentMemory& memory) {
  return check_scores(kernels, shape, seed, memory);
}

}  // namespace attend::checks
