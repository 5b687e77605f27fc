// The arrays that a verb writes, and where its text goes beside them.
#include "output_arrays.h"

#include <algorithm>

#include "attend/io.hpp"
#include "failure.h"
#include "output.h"

namespace attend::tool {

OutputArrays::OutputArrays(const Arguments& arguments, std::initializer_list<const char*> flags) {
  std::map<std::string, std::string> others;
  if (arguments.has("--expect")) others["--expect"] = arguments.text("--expect");
  for (const char* flag : flags) {
    const std::string path = arguments.text(flag);
    if (path.empty()) continue;
    for (const auto& [other_flag, other] : others) require_two_files(other_flag.c_str(), other, flag, path);
    require_writable(path);
    others[flag] = paths_[flag] = path;
  }
}

std::FILE* OutputArrays::text_stream() const {
  const bool taken = std::any_of(paths_.begin(), paths_.end(), [](const auto& entry) { return is_standard_output(entry.second); });
  return taken ? stderr : stdout;
}

void OutputArrays::write(std::initializer_list<std::pair<const char*, const Floats*>> arrays) const {
  // Devices first: files are known to be writable, so that all outputs appear or none.
  for (const bool device : {true, false}) {
    for (const auto& [flag, array] : arrays) {
      if (!has(flag) || is_device(paths_.at(flag)) != device) continue;
      require(io::write_npy(paths_.at(flag), io::ElementType::float32, array->shape, array->values.data()));
    }
  }
}

}  // namespace attend::tool
