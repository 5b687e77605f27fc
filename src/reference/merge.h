// Merging attention over some keys with attention over others into attention over all.
#pragma once

#include "reference/array.h"

namespace attend {
namespace reference {

struct Partial {
  Array output;  // (..., Dv)
  Array lse;     // (...)
};

/// Attention over all keys from two parts over disjoint keys. Two empty parts stay (0, -inf). Where
/// there are sinks, only one of the parts may have had them.
Partial merge(const Partial& first, const Partial& second);

}  // namespace reference
}  // namespace attend
