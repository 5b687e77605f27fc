// Rounds rows as caches of low precision do.
#include "reference/stored.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attend {
namespace reference {

namespace {

// The nearest number of `bits` significant bits whose exponent is at least `least`; beyond `largest`: infinity.
double rounded(double x, int bits, int least, double largest) {
  if (x == 0.0 || !std::isfinite(x)) return x;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(x), least) - (bits - 1));
  const double nearest = std::nearbyint(x / unit) * unit;
  return std::fabs(nearest) <= largest ? nearest : std::copysign(std::numeric_limits<double>::infinity(), x);
}

void quantize(double* row, std::int64_t count) {
  double largest = 0.0;
  bool finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(row[i]);
    largest = std::max(largest, std::fabs(row[i]));
  }
  const float scale = static_cast<float>(largest) / 127.0f;
  for (std::int64_t i = 0; i < count; ++i) {
    const float ratio = scale > 0.0f ? static_cast<float>(row[i]) / scale : 0.0f;
    const double integer = std::min(std::max(std::nearbyint(static_cast<double>(ratio)), -127.0), 127.0);
    row[i] = finite ? integer * static_cast<double>(scale) : std::nan("");
  }
}

}  // namespace

Array stored(const Array& x, CacheType type) {
  Array result = x;
  if (type == CacheType::bfloat16) {
    for (double& element : result.values) element = rounded(element, 8, -126, (2.0 - 0x1p-7) * 0x1p127);
  } else if (type == CacheType::float16) {
    for (double& element : result.values) element = rounded(element, 11, -14, 65504.0);
  } else if (type == CacheType::int8) {
    const std::int64_t width = x.size(x.rank() - 1);
    for (std::int64_t i = 0; i < x.count(); i += width) quantize(result.values.data() + i, width);
  }
  return result;
}

}  // namespace reference
}  // namespace attend
