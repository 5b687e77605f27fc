// The precision of a whole model: --precision.
#pragma once

#include <string>
#include <vector>

#include "arguments.h"
#include "attend/attend.hpp"
#include "precision_options.h"

namespace attend::tool {

struct ModelPrecision {
  const char* name;
  Precision linear;          // of all matrices of its layers
  bool bfloat16_attention;   // attention computes in bfloat16 where the CPU has the instructions
};
inline constexpr ModelPrecision model_precisions[] = {
    {"float32", {}, false},
    {"bfloat16", {WeightType::bfloat16, Arithmetic::bfloat16}, true},
    {"int8", {WeightType::int8, Arithmetic::int8}, true},
    {"int4", {WeightType::int4, Arithmetic::int8}, true},
    {"bfloat16-weights", {WeightType::bfloat16, Arithmetic::float32}, false},
    {"float16-weights", {WeightType::float16, Arithmetic::float32}, false},
    {"int8-weights", {WeightType::int8, Arithmetic::float32}, false},
    {"int4-weights", {WeightType::int4, Arithmetic::float32}, false},
};

/// That of a name. Throws Failure where there is none such, or this CPU or this build lacks its kernels; messages call it `flag`.
const ModelPrecision& find_model_precision(const std::string& flag, const std::string& name, Isa isa);

/// That of --precision, float32 if it was not given. Throws Failure.
inline const ModelPrecision& chosen_model_precision(const Arguments& arguments, Isa isa) {
  return find_model_precision("--precision", arguments.has("--precision") ? arguments.text("--precision") : "float32", isa);
}

inline std::vector<Flag> model_precision_flags() {
  return {{"--precision", "P", "float32, bfloat16, int8 or int4: what matrices are stored as and multiplied in; bfloat16-, float16-, int8- or int4-weights: what they are stored as alone; default: float32"}};
}

}  // namespace attend::tool
