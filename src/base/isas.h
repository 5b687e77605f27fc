// The ISAs that kernels are written for, best first.
#pragma once

#include "attend/attend.hpp"
#include "base/cpu.h"

namespace attend {

struct IsaEntry {
  Isa isa;
  const char* name;
  unsigned features;  // what a CPU must have
};

/// One more is a line here; kernels/README.md says what else.
inline constexpr IsaEntry isas[] = {
    {Isa::avx512, "avx512", cpu_avx512},
    {Isa::avx2, "avx2", cpu_avx2},
    {Isa::neon, "neon", cpu_neon},
    {Isa::scalar, "scalar", 0},
};

}  // namespace attend
