// Which ISA and how many threads a verb uses: --isa, $ATTEND_ISA and --threads.
#pragma once

#include <vector>

#include "arguments.h"
#include "attend/attend.hpp"

namespace attend::tool {

/// The ISA of --isa, else of the environment's ATTEND_ISA, else Isa::best. Throws Failure if there is no such ISA, or if this build or
/// this CPU lacks it.
Isa chosen_isa(const Arguments& arguments);

/// The chosen ISA, or all usable ones, best first.
std::vector<Isa> chosen_isas(const Arguments& arguments);

/// The threads of --threads, which live as long as this object.
class ChosenThreads {
 public:
  /// Throws Failure.
  explicit ChosenThreads(const Arguments& arguments);
  Threads threads() { return count_ == 1 ? Threads() : pool_.threads(); }
  int count() const { return count_; }

 private:
  int count_;
  ThreadPool pool_;
};

}  // namespace attend::tool
