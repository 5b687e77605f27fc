// Which kernel table serves an ISA on this machine.
#pragma once

#include "attend/attend.hpp"
#include "kernels/kernels.h"
#include "kernels/row_kernels.h"

namespace attend {

/// The table of the ISA, or of the best usable one; null if this build or this CPU lacks it.
const Kernels* find_kernels(Isa isa) noexcept;

/// Finds that table, or the error that a caller of the API gets.
Status require_kernels(Isa isa, const Kernels** kernels) noexcept;

/// The row kernels of an ISA that find_kernels has given. In a file of its own, which alone links them.
const RowKernels& row_kernels(Isa isa) noexcept;

/// Whether this is an AMD Zen 1 to 4, which fetches ahead in its own way.
bool zen_1_to_4() noexcept;
/// How many floats decoding with these kernels fetches ahead on this machine.
int decode_ahead(const Kernels& kernels) noexcept;

}  // namespace attend
