// What a row gives that sees no key.
#pragma once

#include <cstdint>

#include "data/attention.h"

namespace attend {

/// Zeros as its output, and as its weights, where they are asked for (else null). Averaged weights are those of head 0.
void write_empty_row(const Attention& attention, std::int64_t head, float* output, float* weights);

/// Its LSE: -inf, or its sink.
float empty_lse(const Attention& attention, std::int64_t head);

}  // namespace attend
