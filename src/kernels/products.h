// Products of low precision: how weights and rows are stored, and the kernels that multiply them.
//
// A projection of low precision takes the way of float32's: panels of weights times rows, tile by tile. Rows that are not read as floats
// are converted first, once for all panels. All is counted in floats, each of which stands for 32 bits.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"
#include "kernels/kernels.h"

namespace attend {

/// A converted row begins with a header, a cache line: of int8 rows the scale, and the zero point as an integer.
inline constexpr std::int64_t row_header = 16;

/// Elements of a column of weights, and of a converted row, are a multiple of this; those beyond the depth are 0.
inline constexpr std::int64_t depth_step = 4;

/// Panels of products are no narrower, and tiles have all rows, 4 or 1: a third of the code that float32's sizes would take.
inline constexpr int product_least_vectors = 2;

/// row[d] = source[d * stride], in the format of a product; row points behind its header.
struct ConvertRowArguments {
  const float* source;
  std::int64_t stride, depth;
  float* row;
};

/// What a projection computes with. Element (k, n) of a panel is at ((k / group) * width + n) * group + k % group.
struct Product {
  WeightType weights;
  Arithmetic arithmetic;
  unsigned features;         // what a CPU must have beside the ISA
  const char* instructions;  // that multiply
  int columns, rows;         // of its tile: the widest panel, and rows that leave no tail
  int weight_bytes;          // of an element of a panel
  int group;                 // elements of a column that lie side by side
  int row_bytes;             // of an element of a converted row; 0: rows are floats, read where they are
  void (*convert_row)(const ConvertRowArguments*);
  void (*gemm)(const GemmArguments*);

  /// Whether so many rows fall into whole tiles, and one of 4 or 1.
  bool takes(std::int64_t count) const {
    const std::int64_t rest = count % rows;
    return rest < 2 || rest == 4;
  }
};

/// The products of one ISA, best first.
struct Products {
  Isa isa;
  const Product* list;
  int count;
};

}  // namespace attend
