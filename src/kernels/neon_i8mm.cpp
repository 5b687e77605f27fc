// The product of NEON's matrix products of bytes (Armv8.6 I8MM): int8 rows as bytes, two rows at a time.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__ARM_FEATURE_MATMUL_INT8)
#error "compile this file with -march=armv8.2-a+i8mm"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace i8mm { namespace {

#include "kernels/integers_neon.inl"
#include "kernels/formats.inl"
#include "kernels/signed_rows_neon.inl"

// smmla multiplies 8 elements of two rows by as many of two columns, and adds to a sum (row 0 by column 0, row 0 by column 1, row 1 by
// column 0, row 1 by column 1).
constexpr int step_elements = 8;

// The loop of the whole tile takes 7 cycles for its 24 smmla on a Neoverse-V1 and 14 on an N2, 86 % of what these can do: to join two rows takes
// the place of an smmla. On a Cortex-A510, where loads wait, it takes 38 (clang) or 44 (g++). The 48 sdot instead take 12, 24 and 74 (llvm-mca;
// never timed on hardware).
struct Int8 : SignedInt8Format<Int8, 8, 3> {
  static constexpr int pair_bytes = 2 * step_elements, vector_bytes = 2 * pair_bytes;

  static ATTEND_INLINE int8x8_t load_row(const float* words) { return vld1_s8(reinterpret_cast<const std::int8_t*>(words)); }

  // A row that is alone takes both places of its pair.
  template <bool whole, int rows, int vectors>
  static ATTEND_INLINE void compute(const GemmArguments& arguments, std::int64_t row, const float* next, Vector (&results)[rows][vectors]) {
    static_assert(rows == 1 || rows % 2 == 0, "rows in pairs");
    constexpr int row_pairs = (rows + 1) / 2, column_pairs = 2 * vectors;
    const float* a[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) a[r] = arguments.rows[row + r];
    Integers products[row_pairs][column_pairs];
    ATTEND_UNROLL
    for (int p = 0; p < row_pairs; ++p) {
      ATTEND_UNROLL
      for (int c = 0; c < column_pairs; ++c) products[p][c] = vdupq_n_s32(0);
    }
    const char* panel = reinterpret_cast<const char*>(arguments.panel);
    const std::int64_t depth = arguments.depth;
    Ahead ahead = {next, arguments.ahead_end};
    std::int64_t at = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      if constexpr (rows == 1) {
        fetch_stream<vectors * vector_bytes>(panel);
      } else {
        ahead.fetch(k);
      }
      // Loads keep their places: g++ would load all weights first, and spill sums for them.
      int8x16_t both[row_pairs];
      ATTEND_UNROLL
      for (int p = 0; p < row_pairs; ++p) {
        both[p] = vcombine_s8(load_row(a[2 * p] + at), load_row(a[rows == 1 ? 0 : 2 * p + 1] + at));
        ATTEND_KEEP(both[p]);
      }
      ATTEND_UNROLL
      for (int c = 0; c < column_pairs; ++c) {
        int8x16_t weights = vld1q_s8(reinterpret_cast<const std::int8_t*>(panel + c * pair_bytes));
        ATTEND_KEEP(weights);
        ATTEND_UNROLL
        for (int p = 0; p < row_pairs; ++p) products[p][c] = vmmlaq_s32(products[p][c], both[p], weights);
      }
      panel += vectors * vector_bytes;
      at += step_elements / 4;
    }
    Integers sums[rows][vectors];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        const int64x2_t left = vreinterpretq_s64_s32(products[r / 2][2 * v]), right = vreinterpretq_s64_s32(products[r / 2][2 * v + 1]);
        sums[r][v] = vreinterpretq_s32_s64(r % 2 == 0 ? vzip1q_s64(left, right) : vzip2q_s64(left, right));
      }
    }
    finish(arguments, a, sums, results);
  }
};

void gemm_int8(const GemmArguments* arguments) { gemm_of<Int8>(arguments); }
void convert_to_bytes(const ConvertRowArguments* arguments) { quantize_row<true, store_bytes, step_elements>(*arguments); }

constexpr Product int8_product = {WeightType::int8, Arithmetic::int8, cpu_neon_i8mm, "smmla", Int8::tile_vectors * lanes, Int8::tile_rows, Int8::middle_rows, 1, step_elements, 1, row_offset, convert_to_bytes, gemm_int8};

constexpr Products products = {Isa::neon, &int8_product, 1};

}}}  // namespace neon::i8mm

extern const Products neon_i8mm;
const Products neon_i8mm = neon::i8mm::products;

}  // namespace attend
