// Random choices of checks and tests: the same from the same seed on every machine.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace attend::checks {

/// splitmix64 (Steele, Lea and Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(most - least + 1));
  }
  bool one_in(std::int64_t count) { return between(1, count) == 1; }
  template <class Value>
  Value one_of(std::initializer_list<Value> values) {
    return values.begin()[between(0, static_cast<std::int64_t>(values.size()) - 1)];
  }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f; }
  /// In [-largest, largest).
  float number(float largest = 1.0f) { return largest * (static_cast<float>(bits() >> 40) * 0x1p-23f - 1.0f); }
  /// A number of magnitude 1/4 to 1, so that every term of a sum is far larger than the sum's error.
  float value() { return one_in(2) ? uniform(0.25f, 1.0f) : -uniform(0.25f, 1.0f); }
  /// A size of at least 1, mostly small, sometimes up to `most`.
  std::int64_t size(std::int64_t most) { return between(1, one_in(4) || most < 20 ? most : 20); }

 private:
  std::uint64_t state_;
};

}  // namespace attend::checks
