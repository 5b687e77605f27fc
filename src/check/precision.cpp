// Checks the precision of projections: what they are stored as and compute with, and matrices as files store them.
#include "check/parts.h"

#include "base/dispatch.h"
#include "data/layer.h"

namespace attend {

namespace {

constexpr std::int64_t most_int8_depth = 65536;  // sums of 255 * 128 stay below 2^31

const char* const weight_types[] = {"float32", "bfloat16", "float16", "int8", "int4"};
const char* const arithmetics[] = {"float32", "bfloat16", "int8"};

template <int count, class Enum>
Status check_listed(const char* name, Enum value, const char* const (&)[count]) {
  if (static_cast<unsigned>(value) < unsigned{count}) return Status();
  return Status::error(invalid, "%s: %d is none that there is", name, static_cast<int>(value));
}

}  // namespace

Status check_precision(const ProjectionPrecision& precision, std::int64_t widest) {
  ATTEND_CHECK(check_listed("weight_type", precision.weight_type, weight_types));
  ATTEND_CHECK(check_listed("arithmetic", precision.arithmetic, arithmetics));
  const char* const weights = weight_types[static_cast<int>(precision.weight_type)];
  const char* const arithmetic = arithmetics[static_cast<int>(precision.arithmetic)];
  const bool of_int4 = precision.weight_type == WeightType::int4, int8 = precision.arithmetic == Arithmetic::int8;
  if (precision.arithmetic != Arithmetic::float32 && !(int8 && of_int4) && precision.weight_type != (int8 ? WeightType::int8 : WeightType::bfloat16)) {
    return Status::error(invalid, "arithmetic: %s takes weights of %s, but weight_type is %s", arithmetic, int8 ? "int8 or int4" : arithmetic, weights);
  }
  const int group = precision.weight_group;
  if (group != 0 && (!of_int4 || (group != 32 && group != 64 && group != 128))) {
    return Status::error(invalid, of_int4 ? "weight_group: %d, expected 32, 64 or 128, or 0: 32" : "weight_group: %d, but weight_type is %s", group, weights);
  }
  if (precision.weight_type == WeightType::float32) return Status();
  if (precision.low_precision == nullptr || precision.low_precision->int4() != of_int4) {
    const char* const expected = of_int4 ? "low_precision_int4()" : "low_precision()";
    const char* const other = of_int4 ? "low_precision()" : "low_precision_int4()";
    return Status::error(invalid, "low_precision: %s, but weight_type is %s: expected %s, which links its kernels",
                         precision.low_precision == nullptr ? "null" : other, weights, expected);
  }
  const Kernels* const kernels = find_kernels(precision.isa);
  if (kernels != nullptr && product_of(*kernels, precision) == nullptr) {
    return Status::error(StatusCode::unsupported, "weight_type: this CPU or this build has no kernel for weights of %s on %s", weights, isa_name(kernels->isa));
  }
  if (!int8 || widest <= most_int8_depth) return Status();
  return Status::error(invalid, "arithmetic: int8 takes rows of at most %lld, but one is %lld wide", Number{most_int8_depth}, Number{widest});
}

Status check_stored(const char* name, const StoredMatrix& stored, const ProjectionPrecision& precision, std::int64_t outputs, std::int64_t inputs) {
  const WeightType type = precision.weight_type;
  const char* const type_name = weight_types[static_cast<int>(type)];
  if (type == WeightType::int4) {
    const std::int64_t groups = steps_to(inputs, weight_group_of(precision));
    if (!stored.halves.absent() || !stored.integers.absent()) {
      return Status::error(invalid, "%s: %s, but weight_type is %s", name, stored.halves.absent() ? "integers" : "halves", type_name);
    }
    ATTEND_CHECK(check_view(name, stored.nibbles, outputs, (inputs + 1) / 2));
    ATTEND_CHECK(check_view(name, stored.scales, outputs, groups));
    return stored.zeros.absent() ? Status() : check_view(name, stored.zeros, outputs, groups);
  }
  if (!stored.nibbles.absent() || !stored.zeros.absent()) {
    return Status::error(invalid, "%s: %s, but weight_type is %s", name, "nibbles", type_name);
  }
  const bool has_halves = !stored.halves.absent(), has_integers = !stored.integers.absent() || !stored.scales.absent() || !has_halves;
  const bool wants_integers = type == WeightType::int8, wants_halves = type == WeightType::bfloat16 || type == WeightType::float16;
  if (has_integers != wants_integers || has_halves != wants_halves) {
    return Status::error(invalid, "%s: %s, but weight_type is %s", name, has_integers && has_halves ? "integers and halves" : has_integers ? "integers" : "halves", type_name);
  }
  if (wants_halves) return check_view(name, stored.halves, outputs, inputs);
  ATTEND_CHECK(check_view(name, stored.integers, outputs, inputs));
  return check_view(name, stored.scales, outputs);
}

}  // namespace attend
