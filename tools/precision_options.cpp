// The flags of low precision: --weight-type and --arithmetic of a layer, --core-arithmetic of its attention, --cache-type of its cache.
#include "precision_options.h"

#include <string_view>

#include "failure.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

const char* const weight_types[] = {"float32", "bfloat16", "float16", "int8", "int4"};
const char* const arithmetics[] = {"float32", "bfloat16", "int8"};

struct ShortName {
  std::string_view name, whole;
};
constexpr ShortName short_names[] = {{"fp32", "float32"}, {"bf16", "bfloat16"}, {"fp16", "float16"}};

/// The enumerator of a flag's name; `otherwise` where the flag is not given. Throws Failure.
template <class Enum, int count>
Enum read(const char* flag, const std::string& given, const char* const (&names)[count], Enum otherwise, const char* more = "") {
  if (given.empty()) return otherwise;
  const std::string text = with_whole_type(given);
  std::string all;
  for (int n = 0; n < count; ++n) {
    if (text == names[n]) return static_cast<Enum>(n);
    all += std::string(n == 0 ? "" : n + 1 < count ? ", " : " and ") + names[n];
  }
  throw Failure(std::string(flag) + ' ' + io::quoted(text) + ": there are " + all + more + suggestion(text, {names, names + count}));
}

}  // namespace

const char* name_of(WeightType weight_type) { return weight_types[static_cast<int>(weight_type)]; }

std::string with_whole_type(std::string word) {
  for (const ShortName& type : short_names) {
    if (word.compare(0, type.name.size(), type.name) == 0) return word.replace(0, type.name.size(), type.whole);
  }
  return word;
}

int take_group(const char* flag, std::string* type) {
  constexpr std::string_view name = "int4:";
  if (type->compare(0, name.size(), name) != 0) return 0;
  for (const int group : {32, 64, 128}) {
    if (type->substr(name.size()) != std::to_string(group)) continue;
    type->resize(name.size() - 1);
    return group;
  }
  throw Failure(std::string(flag) + ' ' + io::quoted(*type) + ": groups of int4 have 32, 64 or 128 elements");
}

const char* instructions_of(const Precision& precision, Isa isa) {
  if (precision.weight_type == WeightType::int4) return int4_instructions(precision.arithmetic, isa);
  return product_instructions(precision.weight_type, precision.arithmetic, isa);
}

const LowPrecision* kernels_of(const Precision& precision) {
  if (precision.weight_type == WeightType::int4) return low_precision_int4();
  return precision.weight_type != WeightType::float32 ? low_precision() : nullptr;
}

const char* name_of(Arithmetic arithmetic) { return arithmetics[static_cast<int>(arithmetic)]; }

Precision chosen_precision(const Arguments& arguments, Isa isa) {
  Precision precision;
  precision.arithmetic = read("--arithmetic", arguments.text("--arithmetic"), arithmetics, Arithmetic::float32);
  const WeightType multiplied = precision.arithmetic == Arithmetic::bfloat16 ? WeightType::bfloat16
                                : precision.arithmetic == Arithmetic::int8   ? WeightType::int8
                                                                             : WeightType::float32;
  std::string type = arguments.text("--weight-type");
  precision.of_file = type == "file";
  if (precision.of_file) return precision;  // what goes with it is known when the file is
  precision.group = take_group("--weight-type", &type);
  precision.weight_type = read("--weight-type", type, weight_types, multiplied, ", and file: what the file has");
  const bool int8 = precision.arithmetic == Arithmetic::int8, int4 = precision.weight_type == WeightType::int4;
  if (precision.weight_type != multiplied && precision.arithmetic != Arithmetic::float32 && !(int8 && int4)) {
    throw Failure(format("--arithmetic %s takes weights of %s, but --weight-type is %s", name_of(precision.arithmetic), int8 ? "int8 or int4" : name_of(multiplied), name_of(precision.weight_type)));
  }
  const bool low = precision.weight_type != WeightType::float32;
  if (low && instructions_of(precision, isa) == nullptr) {
    throw Failure(format("%s %s: this CPU or this build has no kernel for it on %s", precision.arithmetic == Arithmetic::float32 ? "--weight-type" : "--arithmetic",
                         name_of(precision.weight_type), isa_name(isa == Isa::best ? best_isa() : isa)));
  }
  return precision;
}

void apply_core_arithmetic(const Arguments& arguments, AttentionOptions* options) {
  constexpr const char* names[] = {"float32", "bfloat16"};
  options->core_arithmetic = read("--core-arithmetic", arguments.text("--core-arithmetic"), names, Arithmetic::float32);
  if (options->core_arithmetic != Arithmetic::float32) options->low_precision = low_precision();
}

CacheType chosen_cache_type(const Arguments& arguments) {
  constexpr const char* names[] = {"float32", "bfloat16", "float16", "int8"};
  return read("--cache-type", arguments.text("--cache-type"), names, CacheType::float32);
}

std::string remark_of(const Precision& precision, Isa isa) {
  if (precision.weight_type == WeightType::float32) return "";
  return std::string(precision.arithmetic == Arithmetic::float32 ? ", weights of " : ", ") + name_of(precision.weight_type) +
         (precision.group > 32 ? ':' + std::to_string(precision.group) : "") + " by " + instructions_of(precision, isa);
}

}  // namespace attend::tool
