// Weights of int4 of NEON's dot products (Armv8.2 DotProd), times int8 rows.
#include "kernels/compiler.h"
#include "kernels/features.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"
#if !defined(ATTEND_REGIONS) && !defined(__ARM_FEATURE_DOTPROD)
#error "compile this file with -march=armv8.2-a+dotprod"
#endif
#include "kernels/vec_neon.h"

namespace attend { namespace neon { namespace dotprod_int4 { namespace {

#include "kernels/int4_neon.inl"

// A group of 32 takes the whole tile 144 cycles on a Neoverse-N1, 136 (g++) or 146 (clang) on an N2, 68 on a V1: 44 to 48 % of what these can do
// in sdot, and of groups of 128 71 to 74 %, for a group ends with four instructions a sum. Two tiles of neon_int4.cpp take 364, 334 and 174. On
// a Cortex-A55, where loads wait, it takes 414 (clang: 377), not 816 (866) (llvm-mca; never timed on hardware). smmla would take half as many
// instructions as sdot, and others to join rows and columns: by count 7 % fewer in all of groups of 32, 18 % of 128.
struct Int4 : Int4Format<Int4, 8, 2>, Int4Operations {
  static constexpr bool holds_groups = true;
  static constexpr int words = 2;  // of the panel, which a vector of a row multiplies
  using Narrow = Integers;
  static ATTEND_INLINE Integers nothing() { return no_integers(); }
  // Of intrinsics compilers make a broadcast more for each row.
  static ATTEND_INLINE Integers multiply_add(Scalars row, int index, int8x16_t weights, Integers sum) {
    switch (index) {
      case 0: asm("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(sum) : "w"(weights), "w"(row)); return sum;
      case 1: asm("sdot %0.4s, %1.16b, %2.4b[1]" : "+w"(sum) : "w"(weights), "w"(row)); return sum;
      case 2: asm("sdot %0.4s, %1.16b, %2.4b[2]" : "+w"(sum) : "w"(weights), "w"(row)); return sum;
      default: asm("sdot %0.4s, %1.16b, %2.4b[3]" : "+w"(sum) : "w"(weights), "w"(row)); return sum;
    }
  }
  template <int rows, int vectors>
  static ATTEND_INLINE void multiply_word(Integers (&sums)[rows][vectors], const float* const (&a)[rows], std::int64_t at, const char* numbers) {
    constexpr int word_bytes = 4 * vectors * lanes;
    if constexpr (rows == 1) fetch_stream<words * word_bytes>(numbers);
    Scalars row[rows];
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      row[r] = load_scalars(a[r] + at);
      keep_order(row[r]);
    }
    ATTEND_UNROLL
    for (int part = 0; part < 2 * words; ++part) {
      int8x16_t weights[vectors];
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) weights[v] = load_weights(numbers + part / 2 * word_bytes + v * 4 * lanes, part % 2);
      ATTEND_UNROLL
      for (int r = 0; r < rows; ++r) {
        ATTEND_UNROLL
        for (int v = 0; v < vectors; ++v) sums[r][v] = multiply_add(row[r], part, weights[v], sums[r][v]);
      }
    }
  }
  static ATTEND_INLINE Integers widen(Integers narrow) { return narrow; }
};

#include "kernels/int4_products.inl"

constexpr Product product = int8_product(cpu_neon_dotprod, "sdot");
constexpr Products products = {Isa::neon, &product, 1};

}}}  // namespace neon::dotprod_int4

extern const Products neon_dotprod_int4;
const Products neon_dotprod_int4 = neon::dotprod_int4::products;

}  // namespace attend
