// Which kernel table serves an ISA on this machine.
#pragma once

#include "attend/attend.hpp"
#include "kernels/kernels.h"

namespace attend {

/// The table of the ISA, or of the best usable one; null if this build or this CPU lacks it.
const Kernels* find_kernels(Isa isa) noexcept;

/// Finds that table, or the error that a caller of the API gets.
Status require_kernels(Isa isa, const Kernels** kernels) noexcept;

/// Whether this is an AMD Zen 1 to 4, which fetches ahead in its own way.
bool zen_1_to_4() noexcept;
/// How many floats decoding with these kernels fetches ahead on this machine.
int decode_ahead(const Kernels& kernels) noexcept;

}  // namespace attend
