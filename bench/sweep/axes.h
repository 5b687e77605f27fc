// The axes of a sweep: one size of a call grows, all others stay.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "workload.h"

namespace attend::bench {

struct Point {
  std::string name;
  double work;                                 // useful multiply-adds, or bytes
  std::function<double(int lanes)> whole_work;  // where sizes that vectors of so many floats run along are whole vectors
  std::function<std::unique_ptr<Workload>(Isa isa)> prepare;
};

struct Axis {
  std::string name, what;
  const char* unit;           // of work: "multiply-add"; or "byte", where a call reads its memory once and does little else
  std::vector<Point> points;  // in ascending order of work
};

/// All axes, in the order in which they run.
const std::vector<Axis>& all_axes();

}  // namespace attend::bench
