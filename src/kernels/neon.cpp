// The kernels of NEON on aarch64.
#include "kernels/compiler.h"
#include "kernels/kernels.h"
#if !defined(__aarch64__)
#error "this file is for aarch64"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace {

constexpr Isa isa = Isa::neon;
constexpr int gemm_rows = 8, gemm_vectors = 2, gemm_row_panels = 1, gemm_steps = 1;
constexpr int score_rows = 4, wide_vectors = 4, middle_score_rows = 8, middle_vectors = 2, narrow_score_rows = 8, narrow_vectors = 1;
constexpr int value_rows = 8, value_vectors = 2;
constexpr int value_fetch = 0, value_fetch_columns = 0;
constexpr int decode_accumulators = 16;
constexpr int few_rows = 4, few_rows_of_many = 4;
constexpr bool decode_rest = true;
constexpr int decode_fewer = 2;
constexpr int decode_ahead = 512, decode_ahead_zen = 512;
constexpr int value_panel = 0;
constexpr int key_block = 64;

#include "kernels/every_kernel.inl"
}

extern const Kernels kernels;
#include "kernels/table.inl"

}}  // namespace attend::neon
