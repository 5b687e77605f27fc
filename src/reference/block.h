// What a block has beside attention: activations, layer norm; and how far float32 may be from them.
#pragma once

#include "reference/array.h"
#include "reference/bounds.h"

namespace attend {
namespace reference {

double activated(double x, Activation activation);

/// GELU: 12 u |y| (1 + x^2 / 2), for exp(-x^2 / 2) multiplies the rounding of its argument by it, and 12 u are for its tail's polynomial,
/// quotient and products. SiLU 12 u |y| (1 + |x|), GELU by tanh so with its argument twice. + 2^-118, where exponentials are 0.
double activated_bound(double x, Activation activation);
/// The most by which an error of x is multiplied.
double activated_slope(Activation activation);

/// (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis; not centred: RMS norm, then + bias. weight and bias (D,) or
/// absent.
///
/// c = sqrt(D), structured D. The mean is off by m = (c + 2) u mean|x|, z = x - mean by that and u |z|, the root's relative error is
/// (c / 2 + 6) u + m^2 / (2 root^2): |w| / root (|z| ((c / 2 + 8) u + m^2 / (2 root^2)) + m) + 2 u |b| + 2^-148.
struct NormResult {
  Array output, bounds;
};
NormResult norm(const Array& x, bool centred, const Array& weight, const Array& bias, double epsilon, Data data);

}  // namespace reference
}  // namespace attend
