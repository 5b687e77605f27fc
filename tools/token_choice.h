// Which token comes next: the likeliest, or one drawn at random from the likely ones.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace attend::tool {

/// How tokens are drawn.
struct ChoiceOptions {
  double temperature = 0.0;  // scores are divided by it; 0: the likeliest token is taken
  std::int64_t top_k = 0;    // of so many of the likeliest tokens; 0: of all
  double top_p = 1.0;        // of the fewest of the likeliest tokens whose probabilities have this sum
  std::uint64_t seed = 1;
};

/// Of several likeliest tokens the first.
std::int32_t likeliest(const float* scores, std::int64_t count) noexcept;

/// Draws tokens: the same from the same seed and scores.
class TokenChoice {
 public:
  explicit TokenChoice(const ChoiceOptions& options) : options_(options), random_(options.seed) {}
  /// A token by the scores of all.
  std::int32_t choose(const float* scores, std::int64_t count);

 private:
  struct Likely {
    std::int32_t id;
    double weight;  // its score, then its probability times a constant
  };
  ChoiceOptions options_;
  std::mt19937_64 random_;
  std::vector<Likely> likely_;
};

}  // namespace attend::tool
