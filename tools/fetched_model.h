// Models that make model fetches.
#pragma once

#include <string>

namespace attend::tool {

/// The folder of the model of that name: beside the program, beside what it is installed with, or below build. Empty where none is.
std::string fetched_model(const char* name);

}  // namespace attend::tool
