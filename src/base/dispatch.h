// Which kernel table serves an ISA on this machine.
#pragma once

#include "attend/attend.hpp"
#include "kernels/kernels.h"

namespace attend {

/// The table of the ISA, or of the best usable one; null if this build or this CPU lacks it.
const Kernels* find_kernels(Isa isa) noexcept;

/// The same, with the error that a caller of the API gets.
Status require_kernels(Isa isa, const Kernels** kernels) noexcept;

/// The floats that decoding with these kernels is best to fetch ahead on this machine.
int decode_ahead(const Kernels& kernels) noexcept;

}  // namespace attend
