// The checks that `attend verify` repeats: one call draws one set of random shapes from its seed.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend::checks {

/// Whether everything agreed with the reference; if not, one line that names the shape and the error.
struct Result {
  bool ok = true;
  char message[512] = {};
};

/// Checks every kernel of the ISA once at random shapes drawn from the seed, against the reference.
Result check_kernels(Isa isa, std::uint64_t seed);

/// Checks whole calls of the public API once at random shapes drawn from the seed.
Result check_calls(Isa isa, std::uint64_t seed, int threads);

/// How wide heads are: mostly small, or mostly about as wide as they may be.
enum class Heads { small, wide };

/// Checks `count` calls of attention(), or of layers, with random options.
Result check_cores(Isa isa, std::uint64_t seed, int count, Heads heads = Heads::small);
Result check_layers(Isa isa, std::uint64_t seed, int count, Heads heads = Heads::small);

}  // namespace attend::checks
