// Shapes at random, and the contract in double precision.
#include "exp.h"

namespace attend::checks {

Exp2Shape draw_exp2_array(const Kernels& kernels, Random& random) {
  Exp2Shape shape;
  shape.count = draw_size(random, 0, kernels.lanes);
  return shape;
}

double exp2_error(Isa isa) { return isa == Isa::avx512 ? 1.6e-7 : 2.2e-7; }

Result check_exp2_array(const Kernels& kernels, const Exp2Shape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "exp2_array", {{"count", shape.count}}, seed, memory);
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "source", 1, shape.count, 0, 1);
  const Matrix destination = output_matrix(memory, "destination", 1, shape.count, 0, 1);
  for (std::int64_t i = 0; i < shape.count; ++i) {
    const float arguments[] = {random.uniform(-126.0f, 127.0f), random.uniform(-2.0f, 2.0f), random.value() * 0x1p-20f,
                               static_cast<float>(random.between(-126, 127)), random.uniform(-300.0f, -126.0f),
                               random.uniform(-127.0f, -126.0f), -1e30f, -infinity, not_a_number};
    *source.at(0, i) = arguments[random.between(0, 8)];
  }
  kernels.exp2_array(source.data, destination.data, shape.count);
  for (std::int64_t i = 0; i < shape.count; ++i) {
    const double x = *source.at(0, i);
    const bool denormal = x < -126.0 && x >= -126.5 && *destination.at(0, i) != 0.0f;  // or 0
    const double power = x < -126.0 && !denormal ? 0.0 : std::exp2(x);
    const double error = x == std::floor(x) ? 0.0 : exp2_error(kernels.isa);
    report.close("destination", 0, i, destination.at(0, i), power, power * error + (denormal ? 0x1p-149 : 0.0));
  }
  return report.result();
}

}  // namespace attend::checks
