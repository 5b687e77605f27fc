// Known reasons: why points are marked that cannot be faster, or not yet, as bench/README.md lists them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attend/attend.hpp"
#include "sweep/axes.h"
#include "sweep/marks.h"

namespace attend::bench {

struct KnownReason {
  const Axis* axis;
  std::vector<bool> points;  // of the axis: which it is about
  std::optional<Isa> isa;    // absent: all of them
  Rule rule;
  double up_to;              // the largest ratio that it explains
  std::string text;
};

/// The rows of the table under the heading "### Known reasons": | axis | points | ISA | mark | up to | reason |.
///
/// Points are "all", or names and ranges, "3, 9 to 12". Throws Failure where there is no such table, or a row has a name that is not one.
std::vector<KnownReason> parse_known_reasons(const std::string& markdown, const std::vector<Axis>& axes);

/// The index of the first reason for a mark of an axis; nothing if there is none.
std::optional<std::size_t> find_reason(const std::vector<KnownReason>& reasons, const Axis& axis, Isa isa, const Mark& mark);

}  // namespace attend::bench
