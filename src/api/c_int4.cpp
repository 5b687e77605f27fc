// What links the kernels of weights of int4 to a C program: nothing else of the C API does.
#include "api/c_structs.h"

using namespace attend;

static_assert(static_cast<int>(WeightType::int4) == ATTEND_WEIGHTS_INT4, "the last of them");

extern "C" {

const attend_low_precision* attend_get_low_precision_int4(void) { return c_low_precision_of(low_precision_int4()); }

const char* attend_int4_instructions(attend_arithmetic arithmetic, attend_isa isa) {
  return int4_instructions(static_cast<Arithmetic>(arithmetic), static_cast<Isa>(isa));
}

}  // extern "C"
