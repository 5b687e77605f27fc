// The precision of a whole model: --precision.
#include "model_precision.h"

#include "failure.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

const ModelPrecision& find_model_precision(const std::string& flag, const std::string& given, Isa isa) {
  const std::string name = with_whole_type(given);
  std::vector<std::string> names;
  std::string all;
  for (const ModelPrecision& precision : model_precisions) {
    if (name == precision.name) {
      if (precision.linear.weight_type != WeightType::float32 && instructions_of(precision.linear, isa) == nullptr) {
        throw Failure(format("%s %s: this CPU or this build has no kernel for it on %s", flag.c_str(), name.c_str(), isa_name(isa == Isa::best ? best_isa() : isa)),
                      StatusCode::unsupported);
      }
      return precision;
    }
    names.push_back(precision.name);
    all += (all.empty() ? "" : ", ") + names.back();
  }
  throw Failure(flag + ' ' + io::quoted(name) + ": there are " + all + suggestion(name, names));
}

}  // namespace attend::tool
