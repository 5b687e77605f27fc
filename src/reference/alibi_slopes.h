// The slopes that the ALiBi paper gives to each head.
#pragma once

#include "reference/array.h"

namespace attend {
namespace reference {

/// The slopes (H,) of Press et al. 2022: 2^(-8/H), 2^(-16/H), ... where H is a power of two; else
/// the slopes of the power of two below, followed by every other slope of twice that power.
Array default_alibi_slopes(std::int64_t num_heads);

}  // namespace reference
}  // namespace attend
