// attend sdpa: the attention core on queries, keys and values from files.
#include <cstdio>
#include <string>
#include <vector>

#include "attend/io.hpp"
#include "clock.h"
#include "execution.h"
#include "expectation.h"
#include "failure.h"
#include "io/shape.h"
#include "layer_input.h"
#include "output.h"
#include "output_arrays.h"
#include "precision_options.h"
#include "score_options.h"
#include "verbs.h"
#include "visibility_options.h"

namespace attend::tool {
namespace {

int sdpa(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const OutputArrays outputs(arguments, {"--out", "--lse", "--attn-weights"});
  const LoadedFloats q = load_floats("--query", arguments.text("--query"), {-1, -1, -1, -1});
  const std::int64_t B = q.view().sizes[0], H = q.view().sizes[1], L = q.view().sizes[2], D = q.view().sizes[3];
  const LoadedFloats k = load_floats("--key", arguments.text("--key"), {B, -1, -1, D});
  const std::int64_t G = k.view().sizes[1], S = k.view().sizes[2];
  const LoadedFloats v = load_floats("--value", arguments.text("--value"), {B, G, S, -1});
  const io::Int64Tensor lengths = load_lengths(arguments.text("--valid-lens"), B, L);

  const std::vector<std::int64_t> output_shape = {B, H, L, v.view().sizes[3]};
  const Expectation expectation(arguments, output_shape);

  const VisibilityOptions visibility(arguments);
  const ScoreOptions scores(arguments, H);
  AttentionOptions options;
  visibility.apply(&options, {B, H, L, S}, 0, B);
  scores.apply(&options);
  require_use_of_offset(arguments, options, {});
  apply_core_arithmetic(arguments, &options);
  if (arguments.has("--scale")) options.scale = static_cast<float>(arguments.number("--scale", 0.0, -3e38));
  options.threads = threads.threads();
  options.isa = isa;

  Floats output(output_shape), lse({B, H, outputs.has("--lse") ? L : 0}), weights({B, H, L, outputs.has("--attn-weights") ? S : 0});
  if (outputs.has("--lse")) options.lse = lse.view();
  if (outputs.has("--attn-weights")) options.attention_weights = weights.view();
  Workspace workspace;
  const double begun = seconds_now();
  arguments.require(attention(q.view(), k.view(), v.view(), lengths.view, output.view(), workspace, options));
  const double seconds = seconds_now() - begun;
  outputs.write({{"--out", &output}, {"--lse", &lse}, {"--attn-weights", &weights}});
  print_remark("sdpa", visibility.remark());
  print_remark("sdpa", expectation.remark(output));
  if (outputs.none() && !expectation.given() && !arguments.has("--quiet")) {
    std::printf("output %s in %.0f us; give --out to keep it\n", io::shape_text(output.shape).c_str(), seconds * 1e6);
  }
  return expectation.compare(output, outputs.text_stream()) ? 0 : 1;
}

}  // namespace

const Verb sdpa_verb = {
    "sdpa",
    "computes attention on queries, keys and values from .npy files",
    "The output is (B, H, L, Dv); G divides H. Arrays are float32; float16, bfloat16 and float64 are\n"
    "converted. Valid lengths are int32 or int64: keys at and past them are hidden. Without --out, --lse,\n"
    "--attn-weights and --expect one line tells the output's shape and the time.\n"
    "\n" +
        std::string(mask_details),
    joined({
        {
            {"--query", "Q.npy", "queries (B, H, L, D)", true},
            {"--key", "K.npy", "keys (B, G, S, D)", true},
            {"--value", "V.npy", "values (B, G, S, Dv)", true},
            {"--valid-lens", "N.npy", "how many keys are valid, (B,) or (B, L); default: all"},
            {"--scale", "S", "what scores are multiplied by; default: 0, which stands for 1 / sqrt(D)"},
        },
        visibility_flags(),
        score_flags(),
        core_precision_flags(),
        {
            {"--out", "O.npy", "where the output goes"},
            {"--lse", "L.npy", "where the logs of the sums of exponentials go, (B, H, L)"},
            {"--attn-weights", "W.npy", "where the attention weights go, (B, H, L, S)"},
        },
        expectation_flags(),
        {{"--quiet", nullptr, "does not print the line of the shape and the time"}},
    }),
    sdpa,
};

}  // namespace attend::tool
