// The cases: what each is called, how much work it is, how to prepare it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "workload.h"

namespace attend::bench {

struct Case {
  std::string name;
  double flops;   // of visible work: what hidden keys would cost is not counted
  double bytes;   // that have to be read, where they and not the arithmetic are the bound; else 0
  bool threaded;  // whether it can use more than one thread
  bool float32;   // else neither the scalar ISA nor plain loops are set beside it
  std::function<std::unique_ptr<Workload>(Isa isa, const Threads& threads)> prepare;  // null where the ISA has no kernels for it
};

/// All cases, in the order in which they run.
const std::vector<Case>& all_cases();

}  // namespace attend::bench
