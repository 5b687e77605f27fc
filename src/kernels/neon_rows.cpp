// The row kernels of NEON on aarch64.
#include "kernels/compiler.h"
#include "kernels/row_kernels.h"
#if !defined(__aarch64__)
#error "this file is for aarch64"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace rows { namespace {

constexpr Isa isa = Isa::neon;

#include "kernels/every_row_kernel.inl"

}}}  // namespace neon::rows

extern const RowKernels neon_rows;
const RowKernels neon_rows = neon::rows::table;

}  // namespace attend
