// Products of low precision: how weights and rows are stored, and the kernels that multiply them.
//
// A projection of low precision takes the way of float32's: panels of weights times rows, tile by tile. Rows that are not read as floats
// are converted first, once for all panels. All is counted in floats, each of which stands for 32 bits.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/cache_kernels.h"
#include "kernels/kernels.h"

namespace attend {

/// A converted row begins with a header, a cache line: of int8 rows the scale, and the zero point as an integer. Rows for weights of int4
/// have instead, behind their elements, for each group a pair of 16 bits: the zero point less 128, and less the sum of q - 128.
inline constexpr std::int64_t row_header = 16;

/// Elements of a column of weights, and of a converted row, are a multiple of this, and of the product's group; those beyond the depth are 0.
inline constexpr std::int64_t depth_step = 4;

/// The same of weights of int4, whose numbers lie 8 in 32 bits. Element k of a column is in word k / 8, of which a panel has rows of
/// [width]: byte k % 4 has it in its lower half where k % 8 < 4, else in its upper half. Behind the words are the scales, [groups][width],
/// then as many 16 bits, each 16 times the sum of a group's z - w, plus its z. What pads a column is z.
inline constexpr std::int64_t int4_step = 32;

/// Panels of products are no narrower, and tiles have all rows, 4 or 1: a third of the code that float32's sizes would take.
inline constexpr int product_least_vectors = 2;

/// row[d] = source[d * stride], in the format of a product; row points behind its header.
struct ConvertRowArguments {
  const float* source;
  std::int64_t stride, depth;
  float* row;
  std::int64_t group = 0;  // of weights of int4
};

/// What a projection computes with. Element (k, n) of a panel is at ((k / group) * width + n) * group + k % group; int4 has a format of its own.
struct Product {
  WeightType weights;
  Arithmetic arithmetic;
  unsigned features;         // what a CPU must have beside the ISA
  const char* instructions;  // that multiply
  std::int16_t columns, rows;  // of its tile: the widest panel, and rows that leave no tail. Narrow numbers: a program of int8 carries the lists
  std::int16_t middle_rows;    // of the tile that takes what others leave; what that leaves goes row by row
  std::int16_t weight_bytes;   // of an element of a panel; 0: half a byte
  std::int16_t group;          // elements of a column that lie side by side, or that a step takes
  std::int16_t row_bytes;      // of an element of a converted row; 0: rows are floats, read where they are
  std::int16_t row_offset;     // bytes of a row are q - row_offset
  void (*convert_row)(const ConvertRowArguments*);
  void (*gemm)(const GemmArguments*);
  std::int16_t row_panels = 1;  // that one row takes at once

  /// Elements of a column, and of a converted row, with what pads them.
  std::int64_t padded(std::int64_t depth) const {
    const std::int64_t step = weight_bytes == 0 ? int4_step : group > depth_step ? group : depth_step;
    return (depth + step - 1) / step * step;
  }
  /// Whether so many rows fall into whole tiles, and one of middle_rows or 1.
  bool takes(std::int64_t count) const {
    const std::int64_t rest = count % rows;
    return rest < 2 || rest == middle_rows;
  }
};

/// The bits of 2^(23 - bit): with four bits at `bit` of the mantissa, which stand for n, it is 2^(23 - bit) + n.
static inline constexpr int four_bits_exponent(int bit) { return (150 - bit) << 23; }

/// Rows of values to words of two keys: word c of pair p is (value of key 2 p, of key 2 p + 1); 0 stands for a key that is not there.
struct PairValuesArguments {
  const float* source;  // the first row
  std::int64_t source_row_stride, source_stride;
  std::int64_t rows, columns;
  bool odd;             // the first row is the second of its pair
  float* destination;   // the first pair
  std::int64_t destination_row_stride;  // columns rounded up to whole vectors, all of which are written
};

/// Attention in bfloat16: what its tiles take in place of the table's kernels. A word holds two elements, of neighbouring columns of a
/// query and a key, of neighbouring keys of weights and values. Weights are floats that bfloat16 can hold.
struct CoreKernels {
  Isa isa;
  unsigned features;         // what a CPU must have beside the ISA
  const char* instructions;  // that multiply
  /// A panel of queries [depth][width] to words [(depth + 1) / 2][width], in place.
  void (*pair_queries)(float* panel, std::int64_t depth, std::int64_t width);
  /// Rows of keys to words; a destination row has whole vectors of them.
  void (*round_keys)(const CopyArguments*);
  void (*pair_values)(const PairValuesArguments*);
  int (*scores)(const ScoreArguments*);            // scores_general, whose depth counts words. A plain one would be half of this file.
  void (*accumulate)(const AccumulateArguments*);  // value_row_stride: half of a pair's
};

/// The products of one ISA, best first, and its kernels of caches.
struct Products {
  Isa isa;
  const Product* list;
  int count;
  const CoreKernels* core = nullptr;  // null: none
  const CacheKernels* caches = nullptr;
  int cache_count = 0;
};

/// Words of a row of keys, and of a pair of values, in floats.
inline constexpr std::int64_t words_of_keys(std::int64_t depth) { return ((depth + 1) / 2 + 15) / 16 * 16; }
inline constexpr std::int64_t words_of_values(std::int64_t columns) { return (columns + 15) / 16 * 16; }

}  // namespace attend
