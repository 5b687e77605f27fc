// The checks of decoding.
#pragma once

#include "check.h"

namespace attend::checks {

struct DecodeScoresShape {
  std::int64_t rows = 1, keys = 1, depth = 1;
  std::int64_t stride = 1, gap = 0;  // the keys'
};

struct DecodeWeightsShape {
  std::int64_t keys = 1;
  bool capped = false, biased = false;
  float level = 0.0f;               // added to all scores
  std::int64_t special_score = -1;  // this one is `special`
  float special = 0.0f;
};

struct DecodeValuesShape {
  std::int64_t rows = 1, keys = 1, columns = 1;
  std::int64_t stride = 1, gap = 0;  // the values'
  std::int64_t left = 1;             // keys of the first group
  bool continues = false, ends = false;
};

/// How far ahead a check has rows fetched: into both caches in turn, for nothing of what is read depends on it.
inline std::int64_t fetched_ahead(const Kernels& kernels, std::int64_t rows) { return rows % 2 ? far_ahead : kernels.decode_ahead[0]; }

/// Rows of queries or weights, and NaN in the rows that kernels read behind the last one.
Matrix readable_matrix(ArgumentMemory& memory, Random& random, const char* name, std::int64_t rows, std::int64_t columns,
                       std::int64_t row_stride, std::size_t alignment = sizeof(float));

DecodeScoresShape draw_decode_scores(const Kernels& kernels, Random& random);
DecodeWeightsShape draw_decode_weights(const Kernels& kernels, Random& random);
DecodeValuesShape draw_decode_values(const Kernels& kernels, Random& random);
Result check_decode_scores(const Kernels& kernels, const DecodeScoresShape& shape, Seed seed, ArgumentMemory& memory);
Result check_decode_weights(const Kernels& kernels, const DecodeWeightsShape& shape, Seed seed, ArgumentMemory& memory);
Result check_decode_values(const Kernels& kernels, const DecodeValuesShape& shape, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
