// Marks: the points of an axis that take longer than others say they should.
#pragma once

#include <cstddef>
#include <vector>

namespace attend::bench {

enum class Rule {
  more_work,  // takes longer than a point with more work
  jump,       // takes longer than the point before, scaled by work
  narrower,   // takes longer than with a narrower ISA
};

/// "more work", "jump", "narrower ISA".
const char* rule_name(Rule rule);
/// How many times as long a point may take before it is marked.
double rule_limit(Rule rule);

/// An axis as it was timed: its points in ascending order, its ISAs from the widest.
struct AxisTimes {
  std::vector<double> work;                     // [point], useful
  std::vector<std::vector<double>> whole_work;  // [isa][point], in whole vectors
  std::vector<std::vector<double>> seconds;     // [isa][point]
};

struct Sample {
  std::size_t isa, point;
};

struct Mark {
  Rule rule;
  Sample slow, fast;  // what is marked, and what it was compared with
  double scale;       // how many times as long as `fast` it should take at most
  double ratio;       // how many times as long as that it takes
};

/// At most one mark of each rule for a point and ISA: beside the fastest point with more work, the point before, the fastest narrower ISA.
///
/// A jump's scale is the work of its point over that of the one before, useful or in whole vectors, whichever is more.
std::vector<Mark> find_marks(const AxisTimes& times);

}  // namespace attend::bench
