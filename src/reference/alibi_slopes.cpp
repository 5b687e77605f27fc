// The slopes that the ALiBi paper gives to each head.
#include "reference/alibi_slopes.h"

#include <cmath>

namespace attend {
namespace reference {

Array default_alibi_slopes(std::int64_t num_heads) {
  const auto slopes_of_power = [](std::int64_t heads, std::int64_t step) {
    std::vector<double> slopes;
    for (std::int64_t h = 1; h <= heads; h += step) {
      slopes.push_back(std::exp2(-8.0 * static_cast<double>(h) / static_cast<double>(heads)));
    }
    return slopes;
  };
  std::int64_t power = 1;
  while (power * 2 <= num_heads) power *= 2;
  std::vector<double> slopes = slopes_of_power(power, 1);
  for (double slope : slopes_of_power(2 * power, 2)) {
    if (static_cast<std::int64_t>(slopes.size()) < num_heads) slopes.push_back(slope);
  }
  return Array({num_heads}, slopes);
}

}  // namespace reference
}  // namespace attend
