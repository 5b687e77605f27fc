// --expect and --tolerance: the array that an output is compared with, and how far apart they may be.
#include "expectation.h"

#include <algorithm>
#include <cmath>

#include "failure.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

constexpr double default_share = 1e-5;  // default tolerance, as a share of the largest finite |number| expected

double difference(double actual, double expected) {
  if (actual == expected || (std::isnan(actual) && std::isnan(expected))) return 0.0;
  const double apart = std::abs(actual - expected);
  return std::isnan(apart) ? INFINITY : apart;
}

}  // namespace

Expectation::Expectation(const Arguments& arguments, const std::vector<std::int64_t>& shape) : path_(arguments.text("--expect")) {
  if (!given()) {
    if (arguments.has("--tolerance")) throw Failure("--tolerance is for --expect, which is missing");
    return;
  }
  expected_ = load_floats("--expect", path_, shape);
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  double largest = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    const double magnitude = std::abs(static_cast<double>(expected_.view().data[i]));
    if (std::isfinite(magnitude)) largest = std::max(largest, magnitude);
  }
  tolerance_ = arguments.number("--tolerance", default_share * largest, 0.0);
}

bool Expectation::compare(const Floats& output, std::FILE* stream) const {
  if (!given()) return true;
  const std::string name = io::quoted(path_);
  const std::size_t count = output.values.size();
  std::size_t worst_at = 0, beyond = 0;
  double worst = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    const double apart = difference(static_cast<double>(output.values[i]), static_cast<double>(expected_.view().data[i]));
    if (apart > tolerance_) ++beyond;
    if (apart <= worst) continue;
    worst = apart;
    worst_at = i;
  }
  if (worst == 0.0) {
    std::fprintf(stream, "agrees with %s: no difference in %zu elements\n", name.c_str(), count);
    return true;
  }
  std::fprintf(stream, "%s %s: the largest difference is %.3g at %s, %.9g instead of %.9g; ", beyond == 0 ? "agrees with" : "differs from",
               name.c_str(), worst, place_text(output.shape, worst_at).c_str(), static_cast<double>(output.values[worst_at]),
               static_cast<double>(expected_.view().data[worst_at]));
  if (beyond > 0) std::fprintf(stream, "%zu of %zu elements are beyond ", beyond, count);
  std::fprintf(stream, "the tolerance%s %.3g\n", beyond > 0 ? "" : " is", tolerance_);
  return beyond == 0;
}

std::string Expectation::remark(const Floats& output) const {
  const std::size_t width = given() ? static_cast<std::size_t>(output.shape.back()) : 0;
  const auto all_nan = [&](const float* row) { return std::all_of(row, row + width, [](float number) { return std::isnan(number); }); };
  for (std::size_t first = 0; width > 0 && first < output.values.size(); first += width) {
    if (!all_nan(expected_.view().data + first) || all_nan(&output.values[first])) continue;
    return "--expect " + io::quoted(path_) + " has rows of NaN, as PyTorch gives where a query sees no key; attend gives zeros there, before an output projection";
  }
  return "";
}

}  // namespace attend::tool
