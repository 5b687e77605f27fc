// Comparing results with the reference, element by element.
#include "reference/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace attend {
namespace reference {
namespace {

/// "[1, 0, 2]": where in the shape the element is that comes so far, row-major.
std::string position_of(std::int64_t flat, const Shape& shape) {
  std::string text;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    text = std::to_string(flat % shape[axis]) + (text.empty() ? "" : ", ") + text;
    flat /= shape[axis];
  }
  return "[" + text + "]";
}

std::string shape_text(const Shape& shape) {
  std::string text;
  for (std::int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace

Comparison compare(const Array& actual, const Array& expected, const Array& tolerance) {
  Comparison result;
  if (actual.shape != expected.shape) {
    result.failures = expected.count();
    result.message =
        "shape " + shape_text(actual.shape) + ", expected " + shape_text(expected.shape);
    return result;
  }
  const std::int64_t count = expected.count();
  require(count == 0 || (tolerance.count() > 0 && count % tolerance.count() == 0),
          "compare: tolerance has one value, one a row or one an element");
  const std::int64_t repeat = count == 0 ? 1 : count / tolerance.count();

  const auto element = [&](std::int64_t n) {
    char text[160];
    const std::size_t at = static_cast<std::size_t>(n);
    std::snprintf(text, sizeof text, ": %.9g, expected %.9g, tolerance %.3g", actual.values[at],
                  expected.values[at], tolerance.values[static_cast<std::size_t>(n / repeat)]);
    return position_of(n, expected.shape) + text;
  };

  for (std::int64_t n = 0; n < count; ++n) {
    const double is = actual.values[static_cast<std::size_t>(n)],
                 should = expected.values[static_cast<std::size_t>(n)];
    const double allowed = tolerance.values[static_cast<std::size_t>(n / repeat)];
    double error = std::abs(is - should);
    bool fails = !(error <= allowed);
    if (!std::isfinite(should)) {
      fails = std::isnan(should) ? !std::isnan(is) : is != should;
      error = fails ? INFINITY : 0.0;
    }
    // A failure that cannot be measured (NaN on either side) is the worst of all.
    if (std::isnan(error)) error = INFINITY;
    double ratio = !fails && error == 0.0 ? 0.0 : error / allowed;
    if (std::isnan(ratio)) ratio = INFINITY;

    if (fails) {
      ++result.failures;
      if (result.first < 0) result.first = n;
    }
    if (result.worst < 0 || ratio > result.worst_ratio) {
      result.worst = n;
      result.worst_ratio = ratio;
      result.worst_error = error;
    }
  }

  result.ok = result.failures == 0;
  if (!result.ok) {
    result.message = std::to_string(result.failures) + " of " + std::to_string(count) +
                     " elements differ; first " + element(result.first) + "; worst " +
                     element(result.worst);
  } else if (count > 0) {
    result.message = "worst of " + std::to_string(count) + ": " + element(result.worst);
  }
  return result;
}

Comparison compare(const Array& actual, const Array& expected, double tolerance) {
  return compare(actual, expected, Array({1}, std::vector<double>{tolerance}));
}

}  // namespace reference
}  // namespace attend
