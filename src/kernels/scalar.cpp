// The kernels of plain C++, for any CPU: the fallback.
#include "kernels/compiler.h"
#include "kernels/kernels.h"

#include "kernels/vec_scalar.h"

namespace attend { namespace scalar { namespace {

constexpr Isa isa = Isa::scalar;
constexpr int gemm_rows = 4, gemm_vectors = 2, gemm_row_panels = 1, gemm_steps = 1;
constexpr int score_rows = 4, wide_vectors = 2, middle_score_rows = 4, middle_vectors = 2, narrow_score_rows = 4, narrow_vectors = 2;
constexpr int value_rows = 4, value_vectors = 2;
constexpr int value_fetch = 0, value_fetch_columns = 0;
constexpr int decode_accumulators = 8;
constexpr int few_rows = 4, few_rows_of_many = 4;
constexpr bool decode_rest = false;
constexpr int decode_fewer = 2;
constexpr int decode_ahead = 512, decode_ahead_zen = 512;
constexpr int value_panel = 0;
constexpr int key_block = 64;

#include "kernels/every_kernel.inl"
}

extern const Kernels kernels;
#include "kernels/table.inl"

}}  // namespace attend::scalar
