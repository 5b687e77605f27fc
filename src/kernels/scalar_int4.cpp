// Weights of int4 of plain C++, for any CPU. A multiply-add of int8 rows rounds once, by libm.
#include "kernels/compiler.h"
#include "kernels/flushed_denormals.h"
#include "kernels/products.h"

#include "kernels/vec_scalar.h"

namespace attend { namespace scalar { namespace int4 { namespace {

constexpr int gemm_rows = 4, gemm_vectors = 2, widened_rows = gemm_rows;

#include "kernels/integers_scalar.inl"
ATTEND_INLINE Integers load_integers(const float* p) { return load_elements<Integers>(p); }
ATTEND_INLINE Integers shift_right(Integers x, int count) { return x >> count; }
ATTEND_INLINE Integers low_four(Integers x) { return x & 15; }
ATTEND_INLINE Integers no_integers() { return Integers{}; }
ATTEND_INLINE Integers add_integers(Integers a, Integers b) { return a + b; }
ATTEND_INLINE Vector four_bits(Integers x, int bit) { return reinterpret_cast<Vector>((x & (15 << bit)) | four_bits_exponent(bit)); }

#include "kernels/formats.inl"
#include "kernels/int4.inl"

struct Int4 : Int4Format<Int4, 4, 2> {
  static constexpr int middle_rows = 1;
  static constexpr bool holds_groups = true;
  using Narrow = Integers;
  struct Weights {
    Integers parts[4];
  };
  static ATTEND_INLINE Integers load_words(const std::int16_t* p) { return __builtin_convertvector(load_elements<Shorts>(p), Integers); }
  static ATTEND_INLINE Integers zeros_of(Integers word) { return low_four(word); }
  static ATTEND_INLINE Bytes load_row(const float* word) { return load_elements<Bytes>(word); }
  static ATTEND_INLINE Weights load_weights(const char* numbers, int half) {
    const Integers pairs = load_elements<Integers>(numbers);
    Weights weights;
    ATTEND_UNROLL
    for (int j = 0; j < 4; ++j) weights.parts[j] = low_four(pairs >> (8 * j + half * 4));
    return weights;
  }
  static ATTEND_INLINE Integers nothing() { return Integers{}; }
  static ATTEND_INLINE Integers multiply_add(Bytes word, const Weights& weights, Integers sum) {
    return sum + weights.parts[0] * word[0] + weights.parts[1] * word[1] + weights.parts[2] * word[2] + weights.parts[3] * word[3];
  }
  static ATTEND_INLINE Integers widen(Integers narrow) { return narrow; }
  static ATTEND_INLINE Integers add_pairs(Integers word, const float* pair, Integers sum) {
    const std::int32_t both = load_elements<std::int32_t>(pair);
    return sum + (word >> 4) * static_cast<std::int16_t>(both) + low_four(word) * (both >> 16);
  }
};

ATTEND_INLINE float sum_of(Vector x) { return x[0] + x[1] + x[2] + x[3]; }

#include "kernels/int4_products.inl"
#include "kernels/int4_widened.inl"

constexpr Product list[] = {int8_product(0, "C++"), float32_product("C++")};
constexpr Products products = {Isa::scalar, list, 2};

}}}  // namespace scalar::int4

extern const Products scalar_int4;
const Products scalar_int4 = scalar::int4::products;

}  // namespace attend
