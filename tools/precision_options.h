// The flags of low precision: --weight-type and --arithmetic of a layer, --core-arithmetic of its attention, --cache-type of its cache.
#pragma once

#include <string>
#include <vector>

#include "arguments.h"
#include "attend/attend.hpp"

namespace attend::tool {

/// What a layer's projections are stored as and compute with.
struct Precision {
  WeightType weight_type = WeightType::float32;
  Arithmetic arithmetic = Arithmetic::float32;
  bool of_file = false;  // the weights' type is what the file stores them as
  int group = 0;         // of int4; 0: the file's, or 32
};

/// All but float32's own.
inline constexpr Precision low_precisions[] = {{WeightType::bfloat16, Arithmetic::bfloat16}, {WeightType::int8, Arithmetic::int8},
                                               {WeightType::bfloat16, Arithmetic::float32},  {WeightType::float16, Arithmetic::float32},
                                               {WeightType::int8, Arithmetic::float32},      {WeightType::int4, Arithmetic::int8},
                                               {WeightType::int4, Arithmetic::float32}};

/// "bfloat16".
const char* name_of(WeightType weight_type);
const char* name_of(Arithmetic arithmetic);

/// The word with its type by the name that attend prints: "bfloat16-weights" for "bf16-weights".
std::string with_whole_type(std::string word);

/// Cuts the group off "int4:64"; 0 where there is none. Throws Failure where it is none of int4's.
int take_group(const char* flag, std::string* type);

/// By which instructions, and by which kernels; null: by none.
const char* instructions_of(const Precision& precision, Isa isa);
const LowPrecision* kernels_of(const Precision& precision);

/// What a LinearConfig or io::LoadOptions says of a precision and of where it is computed.
template <class Config>
void set_precision(const Precision& precision, Isa isa, Config* config) {
  config->isa = isa;
  config->weight_type = precision.weight_type;
  config->arithmetic = precision.arithmetic;
  config->low_precision = kernels_of(precision);
  config->weight_group = precision.group;
}

/// The precision of the flags; an arithmetic implies its weights. Throws Failure where the two do not go together, or where this build
/// or this CPU has no kernels for them on the ISA.
Precision chosen_precision(const Arguments& arguments, Isa isa);

/// Sets the arithmetic of attention itself. Throws Failure.
void apply_core_arithmetic(const Arguments& arguments, AttentionOptions* options);

/// What the flag says of a KV cache. Throws Failure.
CacheType chosen_cache_type(const Arguments& arguments);

/// What a line says behind the ISA: ", int8 by vpdpbusd"; nothing of float32.
std::string remark_of(const Precision& precision, Isa isa);

/// The flags of a layer's projections, of attention itself, and of a cache, for a verb's table, and what its help says of them.
inline std::vector<Flag> precision_flags() {
  return {
      {"--weight-type", "TYPE", "stores the projections' weights as float32, bfloat16, float16, int8, int4:32, int4:64 or int4:128, or as the file does, file; default: as --arithmetic asks"},
      {"--arithmetic", "TYPE", "projects in float32, bfloat16 or int8, with weights of that type, or of int4 in int8; default: float32"},
  };
}
inline std::vector<Flag> core_precision_flags() {
  return {{"--core-arithmetic", "TYPE", "attends in float32 or bfloat16; default: float32"}};
}
inline std::vector<Flag> cache_flags() {
  return {{"--cache-type", "TYPE", "keeps keys and values as float32, bfloat16, float16 or int8; default: float32"}};
}
inline constexpr const char* precision_details =
    "Weights of bfloat16, float16, int8 and int4 take a half, a quarter or a sixth of the memory. They are made\n"
    "from the file's, or are the file's own where it stores them in that type: BF16, F16, I8 with the scales\n"
    "X.weight_scale, or 4 bits in X.weight_packed, as compressed-tensors stores them; of GGUF files Q4_0. 32,\n"
    "64 or 128 elements of a row share a scale of int4; int4 alone takes the file's groups, or 32.\n"
    "--arithmetic multiplies them as they are, which is faster, by the instructions that attend info tells.\n"
    "Results then differ from those of float32 by more than rounding.\n";

}  // namespace attend::tool
