// Which token comes next: the likeliest, or one drawn at random from the likely ones.
#include "token_choice.h"

#include <algorithm>
#include <cmath>

namespace attend::tool {

std::int32_t likeliest(const float* scores, std::int64_t count) noexcept { return static_cast<std::int32_t>(std::max_element(scores, scores + count) - scores); }

std::int32_t TokenChoice::choose(const float* scores, std::int64_t count) {
  if (options_.temperature == 0.0) return likeliest(scores, count);
  likely_.clear();
  for (std::int64_t id = 0; id < count; ++id) {
    const double score = static_cast<double>(scores[id]);
    likely_.push_back({static_cast<std::int32_t>(id), std::isnan(score) ? -HUGE_VAL : score});
  }
  const std::size_t kept = options_.top_k == 0 ? likely_.size() : std::min(likely_.size(), static_cast<std::size_t>(options_.top_k));
  std::partial_sort(likely_.begin(), likely_.begin() + static_cast<std::ptrdiff_t>(kept), likely_.end(),
                    [](const Likely& a, const Likely& b) { return a.weight != b.weight ? a.weight > b.weight : a.id < b.id; });
  likely_.resize(kept);
  const double highest = likely_[0].weight;
  double sum = 0.0;
  for (Likely& one : likely_) sum += one.weight = std::exp((one.weight - highest) / options_.temperature);
  double taken = 0.0;
  std::size_t end = 0;
  while (end < kept && (end == 0 || taken < options_.top_p * sum)) taken += likely_[end++].weight;
  double drawn = static_cast<double>(random_() >> 11) * 0x1p-53 * taken;
  for (std::size_t n = 0; n < end; ++n) {
    if (drawn < likely_[n].weight) return likely_[n].id;
    drawn -= likely_[n].weight;
  }
  return likely_[end - 1].id;  // rounding
}

}  // namespace attend::tool
