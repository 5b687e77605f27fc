// All kernels, over the vector type and the sizes of the ISA that includes this.

#include "kernels/exp.inl"
#include "kernels/strided.inl"

// Rows of the tile that takes what tiles of `rows` leave over; bfloat16's keys go one by one then, for half the code.
constexpr int fewer(int rows) { return rows > 4 ? 4 : rows / 2; }
#include "kernels/product.inl"
#include "kernels/pack.inl"
#include "kernels/row_tiles.inl"
#include "kernels/gemm.inl"

ATTEND_INLINE Vector stored_weight(Vector weight) { return weight; }  // bfloat16's are rounded
#include "kernels/scores.inl"
#include "kernels/visible.inl"
#include "kernels/bias.inl"
#include "kernels/accumulate.inl"
#include "kernels/decode_rows.inl"
#include "kernels/decode.inl"
#include "kernels/reshape.inl"
#include "kernels/softmax.inl"
#include "kernels/rotate.inl"
#include "kernels/rms_norm.inl"
