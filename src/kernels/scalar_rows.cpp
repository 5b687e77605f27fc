// The row kernels of plain C++, for any CPU.
#include "kernels/compiler.h"
#include "kernels/row_kernels.h"
#include "kernels/vec_scalar.h"

namespace attend { namespace scalar { namespace rows { namespace {

constexpr Isa isa = Isa::scalar;

#include "kernels/every_row_kernel.inl"

}}}  // namespace scalar::rows

extern const RowKernels scalar_rows;
const RowKernels scalar_rows = scalar::rows::table;

}  // namespace attend
