// The seed's functions one by one, as plain loops.
#include "reference/operations.h"

#include <algorithm>
#include <cmath>

namespace attend {
namespace reference {

Array matmul(const Array& a, const Array& b, bool b_transposed, const Array& bias) {
  require(a.rank() == 2 || a.rank() == 3, "matmul: a is (L, K) or (B, L, K)");
  require(b.rank() == 2 || b.rank() == a.rank(), "matmul: b has two axes, or three like a");
  const std::int64_t L = a.size(a.rank() - 2), K = a.size(a.rank() - 1);
  const std::int64_t N = b.size(b.rank() - (b_transposed ? 2 : 1));
  const std::int64_t B = a.rank() == 3 ? a.size(0) : 1;
  require(b.size(b.rank() - (b_transposed ? 1 : 2)) == K, "matmul: a and b agree on K");
  require(b.rank() == 2 || b.size(0) == B, "matmul: a and b agree on B");
  require(bias.absent() || bias.shape == Shape{N}, "matmul: bias is (N,)");

  Shape shape = a.shape;
  shape.back() = N;
  Array result = Array::zeros(shape);
  for (std::int64_t entry = 0; entry < B; ++entry) {
    const double* b_entry = b.values.data() + (b.rank() == 3 ? entry * K * N : 0);
    for (std::int64_t i = 0; i < L; ++i) {
      const double* a_row = a.values.data() + (entry * L + i) * K;
      for (std::int64_t n = 0; n < N; ++n) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < K; ++k)
          sum += a_row[k] * (b_transposed ? b_entry[n * K + k] : b_entry[k * N + n]);
        if (!bias.absent()) sum += bias.at(n);
        result.values[static_cast<std::size_t>((entry * L + i) * N + n)] = sum;
      }
    }
  }
  return result;
}

Array linear(const Array& x, const Array& weight, const Array& bias) {
  require(x.rank() >= 1 && weight.rank() == 2, "linear: x is (..., K), weight (N, K)");
  const Shape outer(x.shape.begin(), x.shape.end() - 1);
  Shape shape = outer;
  shape.push_back(weight.size(0));
  return matmul(x.reshaped({count_of(outer), x.shape.back()}), weight, true, bias).reshaped(shape);
}

std::int64_t valid_length(const LengthsView& valid_lens, std::int64_t b, std::int64_t i,
                          std::int64_t S) {
  if (valid_lens.absent()) return S;
  std::int64_t element = b * valid_lens.strides[0];
  if (valid_lens.rank == 2) element += i * valid_lens.strides[1];
  return std::min(valid_lens.data[element], S);
}

Array sequence_mask(const Array& x, const LengthsView& valid_lens, double value) {
  require(x.rank() >= 2, "sequence_mask: x is (B, S) or (B, S, ...)");
  require(valid_lens.rank == 1 && valid_lens.sizes[0] == x.size(0),
          "sequence_mask: valid_lens is (B,)");
  const std::int64_t B = x.size(0), S = x.size(1),
                     E = count_of(Shape(x.shape.begin() + 2, x.shape.end()));
  Array result = x;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t j = valid_length(valid_lens, b, 0, S); j < S; ++j) {
      for (std::int64_t e = 0; e < E; ++e)
        result.values[static_cast<std::size_t>((b * S + j) * E + e)] = value;
    }
  }
  return result;
}

Array masked_softmax(const Array& x, const LengthsView& valid_lens) {
  require(x.rank() == 3, "masked_softmax: x is (B, L, S)");
  const std::int64_t B = x.size(0), L = x.size(1), S = x.size(2);
  Array result = Array::zeros(x.shape);
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t i = 0; i < L; ++i) {
      const std::int64_t length = valid_length(valid_lens, b, i, S);
      double* row = result.row(b, i);
      for (std::int64_t j = 0; j < S; ++j) row[j] = j < length ? x.at(b, i, j) : -1e6;

      double largest = -INFINITY;
      for (std::int64_t j = 0; j < S; ++j) {
        if (row[j] > largest) largest = row[j];  // a NaN is never larger, and shows up in the sum
      }
      double sum = 0.0;
      for (std::int64_t j = 0; j < S; ++j) {
        row[j] = std::exp(row[j] - largest);
        sum += row[j];
      }
      for (std::int64_t j = 0; j < S; ++j) row[j] /= sum;
    }
  }
  return result;
}

Array transpose_qkv(const Array& x, std::int64_t num_heads) {
  require(x.rank() == 3 && num_heads > 0 && x.size(2) % num_heads == 0,
          "transpose_qkv: x is (B, n, E), H divides E");
  const std::int64_t B = x.size(0), n = x.size(1), H = num_heads, D = x.size(2) / H;
  Array result = Array::zeros({B * H, n, D});
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t d = 0; d < D; ++d) result.at(b * H + h, i, d) = x.at(b, i, h * D + d);
      }
    }
  }
  return result;
}

Array transpose_output(const Array& x, std::int64_t num_heads) {
  require(x.rank() == 3 && num_heads > 0 && x.size(0) % num_heads == 0,
          "transpose_output: x is (B H, n, E / H)");
  const std::int64_t H = num_heads, B = x.size(0) / H, n = x.size(1), D = x.size(2);
  Array result = Array::zeros({B, n, H * D});
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t d = 0; d < D; ++d) result.at(b, i, h * D + d) = x.at(b * H + h, i, d);
      }
    }
  }
  return result;
}

}  // namespace reference
}  // namespace attend
