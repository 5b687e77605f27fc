// What a cache of low precision gives back of the rows that it was given.
#pragma once

#include "reference/array.h"

namespace attend {
namespace reference {

/// The elements of x as a cache of the type holds them; a row, which has a scale of int8, is the last axis.
///
/// bfloat16, float16: the nearest number of 8 or 11 significant bits, ties to even, with the least exponent -126 or -14; infinity beyond
/// the range. int8: max |x| / 127 and x divided by it as float32 has them, rounded to the nearest integer within +-127, ties to even,
/// times that scale; 0 where the scale is 0; NaN throughout where the row has NaN or infinity.
Array stored(const Array& x, CacheType type);

}  // namespace reference
}  // namespace attend
