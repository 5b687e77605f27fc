// The naive loops, with the flags of the library's scalar kernels.
#include "naive.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace attend::bench {

// Columns innermost: the order that compilers vectorize.
void naive_matmul(const float* input, const float* weights, const float* bias, float* output, std::int64_t M,
                  std::int64_t K, std::int64_t N) {
  for (std::int64_t m = 0; m < M; ++m) {
    float* row = output + m * N;
    for (std::int64_t n = 0; n < N; ++n) row[n] = bias != nullptr ? bias[n] : 0.0f;
    for (std::int64_t k = 0; k < K; ++k) {
      for (std::int64_t n = 0; n < N; ++n) row[n] += input[m * K + k] * weights[k * N + n];
    }
  }
}

void naive_attention(const float* q, const float* k, const float* v, float* output, std::int64_t L, std::int64_t S,
                     std::int64_t D, std::int64_t row_stride, const float* bias) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  std::vector<float> weights(static_cast<std::size_t>(S));
  for (std::int64_t i = 0; i < L; ++i) {
    float largest = -INFINITY;
    for (std::int64_t j = 0; j < S; ++j) {
      float score = 0.0f;
      for (std::int64_t d = 0; d < D; ++d) score += q[i * row_stride + d] * k[j * row_stride + d];
      score = score * scale + (bias == nullptr ? 0.0f : bias[i * S + j]);
      weights[static_cast<std::size_t>(j)] = score;
      largest = std::max(largest, score);
    }
    float sum = 0.0f;
    for (float& weight : weights) {
      weight = std::exp(weight - largest);
      sum += weight;
    }
    float* row = output + i * row_stride;
    std::fill(row, row + D, 0.0f);
    for (std::int64_t j = 0; j < S; ++j) {
      const float weight = weights[static_cast<std::size_t>(j)] / sum;
      for (std::int64_t d = 0; d < D; ++d) row[d] += weight * v[j * row_stride + d];
    }
  }
}

}  // namespace attend::bench
