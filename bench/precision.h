// Precision: how a case stores its weights, what it computes with, and how far off that may be.
#pragma once

#include <algorithm>
#include <cmath>

#include "attend/attend.hpp"
#include "data/low_precision.h"
#include "reference/array.h"

namespace attend::bench {

struct Precision {
  WeightType weights = WeightType::float32;
  Arithmetic arithmetic = Arithmetic::float32;  // of projections
  Arithmetic core = Arithmetic::float32;        // of attention, where the ISA has it

  bool is_float32() const { return weights == WeightType::float32; }
  /// Of int4 in groups of 32 with their scales, sums and zeros.
  double weight_bytes() const { return is_float32() ? 4.0 : weights == WeightType::int4 ? 22.0 / 32.0 : weights == WeightType::int8 ? 1.0 : 2.0; }
  const LowPrecision* kernels() const { return is_float32() ? nullptr : weights == WeightType::int4 ? low_precision_int4() : low_precision(); }
  /// Whether the ISA has such projections on this CPU.
  bool usable(Isa isa) const { return is_float32() || kernels()->find(weights, arithmetic, isa) != nullptr; }
};

inline bool core_usable(Arithmetic arithmetic, Isa isa) { return arithmetic == Arithmetic::float32 || find_core(isa) != nullptr; }

/// What an attention in bfloat16 may be off, beside what the rest of its call may be: 1 / 64 of the largest output.
inline reference::Array with_bfloat16_core(reference::Array bounds, const reference::Array& expected) {
  double largest = 0.0;
  for (const double value : expected.values) largest = std::max(largest, std::abs(value));
  for (double& bound : bounds.values) bound += largest / 64.0;
  return bounds;
}

}  // namespace attend::bench
