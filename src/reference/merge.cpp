// Merging attention over some keys with attention over others into attention over all.
#include "reference/merge.h"

#include <algorithm>
#include <cmath>

namespace attend {
namespace reference {

Partial merge(const Partial& first, const Partial& second) {
  require(first.output.shape == second.output.shape && first.lse.shape == second.lse.shape,
          "merge: parts of one shape");
  Partial result = {Array::zeros(first.output.shape), Array::zeros(first.lse.shape)};
  const std::size_t rows = result.lse.values.size();
  const std::size_t Dv = static_cast<std::size_t>(first.output.shape.back());
  for (std::size_t row = 0; row < rows; ++row) {
    const double a = first.lse.values[row], b = second.lse.values[row];
    if (a == -INFINITY && b == -INFINITY) {  // 0 and -inf, as before
      result.lse.values[row] = -INFINITY;
      continue;
    }
    const double largest = std::max(a, b);
    const double sum = std::exp(a - largest) + std::exp(b - largest);
    result.lse.values[row] = largest + std::log(sum);
    for (std::size_t d = row * Dv; d < (row + 1) * Dv; ++d) {
      result.output.values[d] = std::exp(a - largest) / sum * first.output.values[d] +
                                std::exp(b - largest) / sum * second.output.values[d];
    }
  }
  return result;
}

}  // namespace reference
}  // namespace attend
