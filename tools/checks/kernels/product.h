// The checks of a product of low precision: rows that are converted, weights that are packed, and its gemm.
#pragma once

#include <string>

#include "kernels/half_floats.h"
#include "check.h"
#include "gemm.h"
#include "kernels/products.h"
#include "reference/low_precision.h"

namespace attend::checks {

/// What a row of floats holds that is to be converted: row_any has any bits, so infinities and NaN, too.
enum RowKind : std::int64_t {
  row_usual, row_negative, row_positive, row_constant, row_zero, row_vanishing, row_small, row_huge, row_halves, row_any, row_infinite, row_nan,
  row_kinds
};

struct ConvertRowShape {
  std::int64_t depth = 1, stride = 1;
  std::int64_t kind = row_usual;
};

struct PackWeightsShape {
  std::int64_t inputs = 1, outputs = 1;
  std::int64_t stride = 1, gap = 0, bias_stride = 1;
  bool transposed = false, bias = false;
  bool stored = false;  // a matrix in the type of the product, not one of floats
};

ConvertRowShape draw_convert_row(const Kernels& kernels, const Product& product, Random& random);
PackWeightsShape draw_pack_weights(const Kernels& kernels, const Product& product, Random& random);
GemmShape draw_product_gemm(const Kernels& kernels, const Product& product, Random& random);

/// Of a product that reads rows of floats where they are, nothing is to be checked.
Result check_convert_row(const Kernels& kernels, const Product& product, const ConvertRowShape& shape, Seed seed, ArgumentMemory& memory);
Result check_pack_weights(const Kernels& kernels, const Product& product, const PackWeightsShape& shape, Seed seed, ArgumentMemory& memory);
/// Int8 times int8 and bfloat16 times bfloat16 are compared bit for bit.
Result check_product_gemm(const Kernels& kernels, const Product& product, const GemmShape& shape, Seed seed, ArgumentMemory& memory);

/// Checks all that a product has at a few random shapes.
Result check_product(const Kernels& kernels, const Product& product, Random& random, ArgumentMemory& memory);

/// "convert_row of int8 x int8 (vpmaddwd)".
std::string name_of(const char* kernel, const Product& product);

/// Where element (k, n) of a panel is, in bytes.
inline std::int64_t panel_place(const Product& product, std::int64_t width, std::int64_t k, std::int64_t n) {
  return ((k / product.group * width + n) * product.group + k % product.group) * product.weight_bytes;
}

/// What the bits of a weight stand for.
inline float from_half(const Product& product, std::uint16_t bits) {
  return product.weights == WeightType::float16 ? float_from_float16(bits) : float_from_bfloat16(bits);
}
inline float without_denormals(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

/// Floats of a row of so many elements as it is converted, behind its header; `group` is of int4.
inline std::int64_t converted_floats(const Product& product, std::int64_t depth, std::int64_t group) {
  const std::int64_t pairs = product.weights == WeightType::int4 ? 4 * steps_to(depth, group) : 0;
  return round_up(product.padded(depth) * product.row_bytes + pairs, 64) / 4;
}

/// Elements of a column of int4 that share a scale.
inline std::int64_t draw_group(Random& random) { return random.one_of({32, 64, 128}); }
/// Where the number of element (k, n) of a panel of int4 is: its byte, and how far it is shifted there.
inline std::int64_t int4_place(std::int64_t width, std::int64_t k, std::int64_t n) { return (k / 8 * width + n) * 4 + k % 4; }
inline int int4_shift(std::int64_t k) { return k % 8 < 4 ? 0 : 4; }

}  // namespace attend::checks
