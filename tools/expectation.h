// --expect and --tolerance: the array that an output is compared with, and how far apart they may be.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "arguments.h"
#include "layer_input.h"

namespace attend::tool {

/// The array of --expect, if it was given.
class Expectation {
 public:
  /// Throws Failure if the array has not the shape, or if there is a tolerance for no array.
  Expectation(const Arguments& arguments, const std::vector<std::int64_t>& shape);

  bool given() const { return !path_.empty(); }
  /// Prints one line: the largest difference and where it is. False if it is beyond the tolerance, as a NaN or an infinity is that
  /// only one of the two has. True where nothing is expected.
  bool compare(const Floats& output, std::FILE* stream) const;
  /// A remark for a user who expects rows of NaN, which attend does not give; else nothing.
  std::string remark(const Floats& output) const;

 private:
  std::string path_;
  LoadedFloats expected_;
  double tolerance_ = 0.0;
};

/// The flags of an expectation, for a verb's table.
inline std::vector<Flag> expectation_flags() {
  return {
      {"--expect", "R.npy", "compares the output with this array; the exit code is 1 if they differ"},
      {"--tolerance", "T", "how far two numbers may be apart; default: 1e-5 of the largest |number| expected"},
  };
}

}  // namespace attend::tool
