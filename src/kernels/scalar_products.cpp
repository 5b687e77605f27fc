// The products of low precision of plain C++, for any CPU. A multiply-add of bfloat16 and of int8's end rounds once, by libm.
#include "kernels/cache_kernels.h"
#include "kernels/compiler.h"
#include "kernels/flushed_denormals.h"
#include "kernels/half_floats.h"
#include "kernels/products.h"

#include "kernels/vec_scalar.h"

namespace attend { namespace scalar { namespace products { namespace {

constexpr Isa isa = Isa::scalar;
constexpr int gemm_rows = 4, gemm_vectors = 2, chained_panels = 1;
constexpr int stored_rows = 1, stored_vectors = 2;

#include "kernels/integers_scalar.inl"
ATTEND_INLINE Vector flushed_multiply_add(Vector a, Vector b, Vector c) {
  const Vector sum = fused_multiply_add(a, b, c);
  const Mask sign = reinterpret_cast<Mask>(sum) & static_cast<std::int32_t>(0x80000000u);
  const Mask exponent = reinterpret_cast<Mask>(sum) & 0x7f800000;
  return select(exponent == 0, reinterpret_cast<Vector>(sign), sum);
}
using Words = std::uint32_t __attribute__((vector_size(16)));
ATTEND_INLINE Vector widen_bfloat16(const char* p) {
  return reinterpret_cast<Vector>(__builtin_convertvector(load_elements<Shorts>(p), Integers) << 16);
}
ATTEND_NOINLINE Vector widen_float16(const char* p) {
  Vector x = zero();
  for (int i = 0; i < lanes; ++i) x[i] = float_from_float16(static_cast<std::uint16_t>(load_elements<Shorts>(p)[i]));
  return x;
}
ATTEND_INLINE Vector widen_int8(const char* p) { return to_floats(__builtin_convertvector(load_elements<Bytes>(p), Integers)); }
ATTEND_INLINE Vector odd_bfloat16(const char* p) { return reinterpret_cast<Vector>(load_elements<Words>(p) & 0xffff0000u); }
ATTEND_INLINE Vector even_bfloat16(const char* p) { return reinterpret_cast<Vector>(load_elements<Words>(p) << 16); }
ATTEND_INLINE Vector round_to_bfloat16(Vector x) {
  for (int i = 0; i < lanes; ++i) {
    const std::uint32_t bits = std::uint32_t{bfloat16_from_float(x[i])} << 16;
    x[i] = float_of((bits & 0x7f800000u) != 0 ? bits : bits & 0x80000000u);
  }
  return x;
}
ATTEND_NOINLINE void store_bfloat16(char* p, Vector x) {
  for (int i = 0; i < lanes; ++i) {
    const std::uint16_t half = bfloat16_from_float(x[i]);
    __builtin_memcpy(p + 2 * i, &half, sizeof half);
  }
}
ATTEND_NOINLINE void store_float16(char* p, Vector x) {
  for (int i = 0; i < lanes; ++i) {
    const std::uint16_t half = float16_from_float(x[i]);
    __builtin_memcpy(p + 2 * i, &half, sizeof half);
  }
}

#include "kernels/formats.inl"

struct Int8 : Int8Format<Int8, 4, 2, false> {
  static constexpr int vector_bytes = 2 * lanes;
  struct Weights {
    Integers even, odd;
  };
  using Pair = std::int16_t __attribute__((vector_size(4)));
  static ATTEND_INLINE Integers nothing() { return Integers{}; }
  static ATTEND_INLINE Pair load_row(const float* word, int) { return load_elements<Pair>(word); }
  static ATTEND_INLINE Weights load_weights(const char* panel, int) {
    const Integers pairs = __builtin_convertvector(load_elements<Shorts>(panel), Integers);
    return {pairs << 24 >> 24, pairs >> 8};
  }
  static ATTEND_INLINE Integers multiply_add(Pair word, const Weights& weights, Integers sum) {
    return sum + weights.even * word[0] + weights.odd * word[1];
  }
};

ATTEND_INLINE void store_shorts(float* row, std::int64_t d, Vector x) {
  for (int i = 0; i < lanes; ++i) {
    const std::int16_t integer = static_cast<std::int16_t>(x[i]);
    __builtin_memcpy(reinterpret_cast<char*>(row) + 2 * (d + i), &integer, sizeof integer);
  }
}

constexpr const char* int8_instructions = "C++";
constexpr const char* float_instructions = "C++";
constexpr unsigned float16_features = 0;

#include "kernels/every_product.inl"
#include "kernels/cache.inl"

constexpr Products products = {isa, every_product, sizeof every_product / sizeof every_product[0], nullptr, every_cache, sizeof every_cache / sizeof every_cache[0]};

}}}  // namespace scalar::products

extern const Products scalar_products;
const Products scalar_products = scalar::products::products;

}  // namespace attend
