// A real layer on real sentences, compared with PyTorch's answers and drawn.
#pragma once

#include <string>

#include "attend/attend.hpp"

namespace attend::tool {

/// Prints what a layer of MiniLM makes of the sentences in `folder`, and writes a picture of its
/// attention. False if an answer is not PyTorch's; throws Failure if a file is missing or wrong.
bool show_sentence_example(const std::string& folder, const std::string& svg, Isa isa, const Threads& threads);

}  // namespace attend::tool
