// The kernels of AVX-512 (F, DQ, BW, VL).
#include "kernels/compiler.h"
#include "kernels/kernels.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__) || !defined(__AVX512VL__))
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl"
#endif
#include "kernels/vec_avx512.h"

namespace attend { namespace avx512 { namespace {

constexpr Isa isa = Isa::avx512;
constexpr int gemm_rows = 8, gemm_vectors = 3, gemm_row_panels = 1, gemm_steps = 4;
constexpr int score_rows = 8, wide_vectors = 2, middle_score_rows = 8, middle_vectors = 2, narrow_score_rows = 8, narrow_vectors = 1;
constexpr int value_rows = 8, value_vectors = 2;
constexpr int value_fetch = 8, value_fetch_columns = 48;
constexpr int decode_accumulators = 16;
constexpr int few_rows = 8, few_rows_of_many = 8;
constexpr bool decode_rest = true;
constexpr int decode_fewer = 1;  // two rows take as long as four
// With 512, Cascade Lake is 4 to 19 % slower, Zen 5 7 to 12 % from memory; with 256, Zen 5 12 to 16 %, Zen 4 12 % where rows lie apart.
constexpr int decode_ahead = 1024, decode_ahead_zen = 512;
constexpr int value_panel = 0;
constexpr int key_block = 96;

#include "kernels/every_kernel.inl"
}

extern const Kernels kernels;
#include "kernels/table.inl"

}}  // namespace attend::avx512
