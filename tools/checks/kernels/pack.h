// The checks of what packs and unpacks: pack, pack_queries, write_weights.
#pragma once

#include "check.h"

namespace attend::checks {

struct PackShape {
  std::int64_t depth = 1, columns = 1, width = 1;
  std::int64_t k_stride = 1, n_stride = 1;
};

struct PackQueriesShape {
  std::int64_t count = 1, width = 1, depth = 1, stride = 1;
};

struct WriteWeightsShape {
  std::int64_t keys = 1, width = 1, lane_count = 1, stride = 1;
  bool add = false;
};

PackShape draw_pack(const Kernels& kernels, Random& random);
PackQueriesShape draw_pack_queries(const Kernels& kernels, Random& random);
WriteWeightsShape draw_write_weights(const Kernels& kernels, Random& random);
Result check_pack(const Kernels& kernels, const PackShape& shape, Seed seed, ArgumentMemory& memory);
Result check_pack_queries(const Kernels& kernels, const PackQueriesShape& shape, Seed seed, ArgumentMemory& memory);
Result check_write_weights(const Kernels& kernels, const WriteWeightsShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
