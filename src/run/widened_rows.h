// Rows of a cache that is not float32, as floats.
#pragma once

#include <cstdint>

#include "data/attention.h"
#include "plan/scratch.h"

namespace attend {

/// Columns [first, first + columns) of the rows [j, j + count) of a head's keys (`scales`: theirs, or null) or values, at most listed_rows.
/// destination: rows of `stride` floats, at least columns rounded up to whole vectors; first: a multiple of the lanes.
void widen_rows(const CacheKernels& kernels, const PagedRows<const float>& rows, const PagedRows<float>* scales, std::int64_t b,
                std::int64_t kv_head, std::int64_t j, std::int64_t count, std::int64_t first, std::int64_t columns, float* destination,
                std::int64_t stride);

}  // namespace attend
