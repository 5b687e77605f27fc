// The row kernels of AVX2 with FMA.
#include "kernels/compiler.h"
#include "kernels/row_kernels.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX2__) || !defined(__FMA__))
#error "compile this file with -mavx2 -mfma"
#endif
#include "kernels/vec_avx2.h"

namespace attend { namespace avx2 { namespace rows { namespace {

constexpr Isa isa = Isa::avx2;

#include "kernels/every_row_kernel.inl"

}}}  // namespace avx2::rows

extern const RowKernels avx2_rows;
const RowKernels avx2_rows = avx2::rows::table;

}  // namespace attend
