// The loops that anybody would write first: what the scalar ISA must not be slower than.
#pragma once

#include <cstdint>

namespace attend::bench {

/// output = input weights + bias: input (M, K), weights (K, N), bias (N,) or null.
void naive_matmul(const float* input, const float* weights, const float* bias, float* output, std::int64_t M,
                  std::int64_t K, std::int64_t N);

/// softmax(q k^T / sqrt(D)) v of one head; rows of all four are row_stride apart. bias: null, or (L, S), added
/// to the scores; -inf hides.
void naive_attention(const float* q, const float* k, const float* v, float* output, std::int64_t L, std::int64_t S,
                     std::int64_t D, std::int64_t row_stride, const float* bias = nullptr);

}  // namespace attend::bench
