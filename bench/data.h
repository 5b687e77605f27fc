// What workloads are made of: random inputs, outputs to be filled, samples of both.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "attend/attend.hpp"
#include "base/memory.h"

namespace attend::bench {

/// Uniform in +-limit; limit sqrt(3) gives variance 1.
inline std::vector<float> random_floats(std::int64_t count, float limit, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = limit * (static_cast<float>(generator() >> 8) * 0x1p-23f - 1.0f);
  return values;
}
inline const float unit_variance = std::sqrt(3.0f);

/// NaN everywhere, so that an element that is not written fails its check.
inline std::vector<float> unwritten_floats(std::int64_t count) {
  return std::vector<float>(static_cast<std::size_t>(count), NAN);
}

/// At most `most` (two or more) evenly spaced indices of an axis, the first one and the last one (or nearly) among them.
template <class Element>
View<Element> sampled(View<Element> view, int axis, std::int64_t most) {
  const std::int64_t size = view.sizes[axis];
  if (size <= most) return view;
  view.sizes[axis] = most;
  view.strides[axis] *= (size - 1) / (most - 1);
  return view;
}

struct Release {
  void operator()(void* memory) const { release(memory); }
};
/// Not written, and in huge pages, as a layer holds its weights: small ones are read at half the speed on Zen 4.
inline std::unique_ptr<float, Release> large_floats(std::int64_t count) {
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
  std::unique_ptr<float, Release> memory(static_cast<float*>(allocate(bytes)));
  if (memory == nullptr) throw std::bad_alloc();
  prefer_huge_pages(memory.get(), bytes);
  return memory;
}

inline void require(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.message());
}

}  // namespace attend::bench
