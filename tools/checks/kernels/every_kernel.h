// Every kernel of the table, by its check.
#pragma once

#include "accumulate.h"
#include "bias.h"
#include "cache.h"
#include "decode.h"
#include "exp.h"
#include "gemm.h"
#include "pack.h"
#include "product.h"
#include "reshape.h"
#include "rms_norm.h"
#include "rotate.h"
#include "rows.h"
#include "scores.h"
#include "softmax.h"
#include "visible.h"

namespace attend::checks {

template <class Shape>
using Check = Result (*)(const Kernels& kernels, const Shape& shape, Seed seed, ArgumentMemory& memory);

/// Checks each kernel and row kernel, and each product and kernel of a cache that this CPU has, at a few random shapes.
Result check_random_shapes(const Kernels& kernels, Seed seed, ArgumentMemory& memory);

}  // namespace attend::checks
