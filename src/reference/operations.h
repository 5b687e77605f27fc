// The seed's functions one by one: products, masking, softmax, splitting into heads.
#pragma once

#include "reference/array.h"

namespace attend {
namespace reference {

/// a b + bias: a (L, K) or (B, L, K); b (K, N) or (B, K, N), with b_transposed (N, K) or (B, N, K);
/// bias (N,) or absent. A two-axis b serves every entry of a three-axis a.
Array matmul(const Array& a, const Array& b, bool b_transposed = false, const Array& bias = {});

/// x W^T + bias over the last axis: x (..., K), weight (N, K), bias (N,) or absent -> (..., N).
Array linear(const Array& x, const Array& weight, const Array& bias = {});

/// x[b, j, ...] for j < valid_lens[b], and `value` beyond: x (B, S) or (B, S, ...), valid_lens
/// (B,).
Array sequence_mask(const Array& x, const LengthsView& valid_lens, double value = 0.0);

/// Softmax over the last axis, with what lies at or past the valid length taken as -1e6:
/// x (B, L, S), valid_lens absent, (B,) or (B, L). Length 0 gives 1/S everywhere.
Array masked_softmax(const Array& x, const LengthsView& valid_lens = {});

/// (B, n, E) -> (B H, n, E / H): row b H + h holds columns h E/H and on of entry b.
Array transpose_qkv(const Array& x, std::int64_t num_heads);

/// (B H, n, E / H) -> (B, n, E), the inverse of transpose_qkv.
Array transpose_output(const Array& x, std::int64_t num_heads);

/// The valid length of query i of batch entry b, at most S; S where lengths are absent.
std::int64_t valid_length(const LengthsView& valid_lens, std::int64_t b, std::int64_t i,
                          std::int64_t S);

}  // namespace reference
}  // namespace attend
