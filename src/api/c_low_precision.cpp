// What links the kernels of low precision to a C program: nothing else of the C API does.
#include "api/c_structs.h"

using namespace attend;

static_assert(static_cast<int>(WeightType::int8) == ATTEND_WEIGHTS_INT8, "the last of them");
static_assert(static_cast<int>(Arithmetic::int8) == ATTEND_ARITHMETIC_INT8, "the last of them");

extern "C" {

const attend_low_precision* attend_get_low_precision(void) { return c_low_precision_of(low_precision()); }

const char* attend_product_instructions(attend_weight_type weights, attend_arithmetic arithmetic, attend_isa isa) {
  return product_instructions(static_cast<WeightType>(weights), static_cast<Arithmetic>(arithmetic), static_cast<Isa>(isa));
}

const char* attend_core_instructions(attend_arithmetic arithmetic, attend_isa isa) {
  return core_instructions(static_cast<Arithmetic>(arithmetic), static_cast<Isa>(isa));
}

}  // extern "C"
