// The kernels of AVX2 with FMA.
#include "kernels/compiler.h"
#include "kernels/kernels.h"
#if !defined(ATTEND_REGIONS) && (!defined(__AVX2__) || !defined(__FMA__))
#error "compile this file with -mavx2 -mfma"
#endif
#include "kernels/vec_avx2.h"

namespace attend { namespace avx2 { namespace {

constexpr Isa isa = Isa::avx2;
constexpr int gemm_rows = 4, gemm_vectors = 3, gemm_row_panels = 2;
#if defined(__clang__)  // clang 19 spills in attention's 4x24 (43 % of the peak), and in four steps of the projection's (66 %)
constexpr int gemm_steps = 1;
constexpr int score_rows = 4, wide_vectors = 2, middle_score_rows = 4, middle_vectors = 2, narrow_score_rows = 8, narrow_vectors = 1;
constexpr int value_rows = 4, value_vectors = 2;
#else
constexpr int gemm_steps = 4;
constexpr int score_rows = 4, wide_vectors = 3, middle_score_rows = 4, middle_vectors = 2, narrow_score_rows = 8, narrow_vectors = 1;
constexpr int value_rows = 4, value_vectors = 3;
#endif
constexpr int value_fetch = 8, value_fetch_columns = 0;
constexpr int decode_accumulators = 8;
// With 8, tiles take a quarter less time where keys and values lie in the L2 or L3; from memory, 36 % more (8 rows, 4096 keys, Zen 4).
constexpr int few_rows = 6, few_rows_of_many = 8;
constexpr bool decode_rest = true;
constexpr int decode_fewer = 3;
constexpr int decode_ahead = 1024, decode_ahead_zen = 512;  // with 512, Cascade Lake is 5 to 25 % slower, Zen 5 12 %; Zen 4 with 256, 10 to 30 %
constexpr int value_panel = 16;
constexpr int key_block = 96;

#include "kernels/every_kernel.inl"
}

extern const Kernels kernels;
#include "kernels/table.inl"

}}  // namespace attend::avx2
