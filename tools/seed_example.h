// The example that this library began with: D2L's MultiHeadAttention on queries and keys of ones.
#pragma once

#include <vector>

#include "attend/attend.hpp"

namespace attend::tool {

/// Prints what goes in and what comes out, and verifies it on each ISA against the reference. False
/// if an ISA failed.
bool show_seed_example(const std::vector<Isa>& isas, const Threads& threads);

}  // namespace attend::tool
