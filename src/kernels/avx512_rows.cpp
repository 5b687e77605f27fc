// The row kernels of AVX-512 (F, DQ, BW, VL).
#include "kernels/compiler.h"
#include "kernels/row_kernels.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__) || !defined(__AVX512VL__))
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl"
#endif
#include "kernels/vec_avx512.h"

namespace attend { namespace avx512 { namespace rows { namespace {

constexpr Isa isa = Isa::avx512;

#include "kernels/every_row_kernel.inl"

}}}  // namespace avx512::rows

extern const RowKernels avx512_rows;
const RowKernels avx512_rows = avx512::rows::table;

}  // namespace attend
