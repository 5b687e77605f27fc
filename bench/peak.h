// The peak of an ISA: the most multiply-adds that its registers let this CPU do, now.
#pragma once

#include "attend/attend.hpp"

namespace attend::bench {

/// GFLOP/s of all threads together, in 10 ms.
///
/// Fused multiply-adds of zmm, ymm or NEON registers, in independent chains, from inline assembly: compilers
/// spill or fold intrinsics. The scalar ISA has no fused ones, so there it is as many multiplications as
/// additions, on four floats at a time, as compilers turn plain C++ into on x86-64 and aarch64.
double measure_peak(Isa isa, const Threads& threads);


}  // namespace attend::bench
