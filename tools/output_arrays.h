// The arrays that a verb writes, and where its text goes beside them.
#pragma once

#include <cstdio>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>

#include "arguments.h"
#include "layer_input.h"

namespace attend::tool {

/// The .npy files that a verb's flags ask for.
class OutputArrays {
 public:
  /// Throws Failure where a file could not be written, or is another output or --expect's file.
  OutputArrays(const Arguments& arguments, std::initializer_list<const char*> flags);

  bool has(const std::string& flag) const { return paths_.count(flag) != 0; }
  bool none() const { return paths_.empty(); }
  /// Where text goes: standard output, or standard error where an array goes to standard output.
  std::FILE* text_stream() const;
  /// Writes each array whose flag was given. Throws Failure.
  void write(std::initializer_list<std::pair<const char*, const Floats*>> arrays) const;

 private:
  std::map<std::string, std::string> paths_;  // by flag
};

}  // namespace attend::tool
