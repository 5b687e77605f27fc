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
  double work;                                  // useful multiply-adds, or bytes
  std::function<double(int lanes)> whole_work;  // the same, sizes along which vectors of so many floats run rounded up to whole ones
  std::function<std::unique_ptr<Workload>(Isa isa)> prepare;
};

/// What work is counted in; bytes, where a call reads its memory once and does little else.
enum class Unit { multiply_add, byte };

/// "multiply-add" or "byte".
const char* unit_name(Unit unit);

struct Axis {
  std::string name, what;
  Unit unit;
  std::vector<Point> points;  // in ascending order of work
};

/// All axes, in the order in which they run.
const std::vector<Axis>& all_axes();

}  // namespace attend::bench
