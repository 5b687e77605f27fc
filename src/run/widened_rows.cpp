// Finds rows and their scales, page by page, and widens them.
#include "run/widened_rows.h"

namespace attend {

void widen_rows(const CacheKernels& kernels, const PagedRows<const float>& rows, const PagedRows<float>* scales, std::int64_t b,
                std::int64_t kv_head, std::int64_t j, std::int64_t count, std::int64_t first, std::int64_t columns, float* destination,
                std::int64_t stride) {
  const float* places[listed_rows];
  float* scale_places[listed_rows];
  rows.list(b, kv_head, j, j + count, places);
  if (scales != nullptr) scales->list(b, kv_head, j, j + count, scale_places);
  const WidenRowsArguments arguments = {places, scales != nullptr ? scale_places : nullptr, count, first, columns, destination, stride};
  kernels.widen_rows(&arguments);
}

}  // namespace attend
