// The verbs of the tool, each in a file of its own name.
#pragma once

#include "arguments.h"

namespace attend::tool {

extern const Verb demo_verb, run_verb, sdpa_verb, verify_verb, info_verb, embed_verb, similar_verb, generate_verb, heatmap_verb, quantize_verb;

}  // namespace attend::tool
