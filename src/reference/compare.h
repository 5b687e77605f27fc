// Comparing results with the reference: an element fails unless its error is within its tolerance.
#pragma once

#include "reference/array.h"

namespace attend {
namespace reference {

struct Comparison {
  bool ok = false;
  std::int64_t failures = 0;  // elements that fail
  std::int64_t first = -1;    // the first that fails, counted row-major; -1: none
  std::int64_t worst = -1;    // the one with the largest error / tolerance; -1: no elements
  double worst_error = 0.0;   // its |actual - expected|
  double worst_ratio = 0.0;   // its error / tolerance: above 1 it fails
  std::string message;        // one line for people; says the worst when all pass, too
};

/// Compares element by element: fails where !(|actual - expected| <= tolerance), so that NaN fails.
///
/// Where the reference has NaN the result must have NaN, and infinities must be equal. `tolerance`
/// holds one value in all, one for each row (last axis), or one for each element.
Comparison compare(const Array& actual, const Array& expected, const Array& tolerance);
Comparison compare(const Array& actual, const Array& expected, double tolerance);

}  // namespace reference
}  // namespace attend
