// attend sdpa: the attention core on queries, keys and values from files.
#include <cstdio>

#include "attend/io.hpp"
#include "clock.h"
#include "execution.h"
#include "failure.h"
#include "io/shape.h"
#include "io/text.h"
#include "layer_input.h"
#include "output.h"
#include "verbs.h"
#include "visibility_options.h"

namespace attend::tool {
namespace {

int sdpa(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const std::string out = arguments.text("--out"), lse_out = arguments.text("--lse"), weights_out = arguments.text("--attn-weights");
  const std::pair<const char*, const std::string*> paths[] = {{"--out", &out}, {"--lse", &lse_out}, {"--attn-weights", &weights_out}};
  for (const auto& [flag, path] : paths) {
    if (path->empty()) continue;
    require_writable(*path);
    for (const auto& [other_flag, other] : paths) {
      if (other == path) break;
      if (!other->empty() && same_file(*path, *other)) {
        throw Failure(std::string(other_flag) + " and " + flag + " are both " + io::quoted(*path));
      }
    }
  }
  const LoadedFloats q = load_floats("--query", arguments.text("--query"), {-1, -1, -1, -1});
  const std::int64_t B = q.view().sizes[0], H = q.view().sizes[1], L = q.view().sizes[2], D = q.view().sizes[3];
  const LoadedFloats k = load_floats("--key", arguments.text("--key"), {B, -1, -1, D});
  const std::int64_t G = k.view().sizes[1], S = k.view().sizes[2];
  const LoadedFloats v = load_floats("--value", arguments.text("--value"), {B, G, S, -1});
  const io::Int64Tensor lengths = load_lengths(arguments.text("--valid-lens"), B, L);

  const VisibilityOptions visibility(arguments);
  AttentionOptions options;
  visibility.apply(&options, B, 0, B);
  const double most = 3e38;
  const std::int64_t widest = std::int64_t{1} << 40;
  if (arguments.has("--scale")) options.scale = static_cast<float>(arguments.number("--scale", 0.0, -most));
  options.softcap = static_cast<float>(arguments.number("--softcap", 0.0, 0.0));
  options.window_left = arguments.integer("--window-left", -1, -1, widest);
  options.window_right = arguments.integer("--window-right", -1, -1, widest);
  LoadedFloats slopes, sinks;
  if (arguments.has("--alibi-slopes")) slopes = load_floats("--alibi-slopes", arguments.text("--alibi-slopes"), {H});
  if (arguments.has("--sinks")) sinks = load_floats("--sinks", arguments.text("--sinks"), {H});
  options.alibi_slopes = slopes.view();
  options.sinks = sinks.view();
  options.threads = threads.threads();

  Floats output({B, H, L, v.view().sizes[3]}), lse({B, H, lse_out.empty() ? 0 : L}), weights({B, H, L, weights_out.empty() ? 0 : S});
  if (!lse_out.empty()) options.lse = lse.view();
  if (!weights_out.empty()) options.attention_weights = weights.view();
  Workspace workspace;
  const double begun = seconds_now();
  require(attention(q.view(), k.view(), v.view(), lengths.view, output.view(), workspace, options, isa));
  const double seconds = seconds_now() - begun;
  for (const bool device : {true, false}) {
    for (const auto& [path, array] : {std::pair(&out, &output), std::pair(&lse_out, &lse), std::pair(&weights_out, &weights)}) {
      if (path->empty() || is_device(*path) != device) continue;
      require(io::write_npy(*path, io::ElementType::float32, array->shape, array->values.data()));
    }
  }
  if (out.empty() && lse_out.empty() && weights_out.empty()) {
    std::printf("output %s in %.0f us; give --out to keep it\n", io::shape_text(output.shape).c_str(), seconds * 1e6);
  }
  return 0;
}

}  // namespace

const Verb sdpa_verb = {
    "sdpa",
    "computes attention on queries, keys and values from .npy files",
    "(B, H, L, D), (B, G, S, D) and (B, G, S, Dv) give (B, H, L, Dv); G divides H. Arrays are float32;\n"
    "float16, bfloat16 and float64 are converted. Valid lengths are int32 or int64, (B,) or (B, L).\n"
    "Without --out, --lse and --attn-weights a summary is printed.\n",
    {
        {"--query", "Q.npy", "queries (B, H, L, D)", true},
        {"--key", "K.npy", "keys (B, G, S, D)", true},
        {"--value", "V.npy", "values (B, G, S, Dv)", true},
        {"--scale", "S", "of the scores; default: 1 / sqrt(D)"},
        mask_flag,
        causal_flag,
        causal_offset_flag,
        {"--window-left", "N", "how many keys before its position a query sees; default: all"},
        {"--window-right", "N", "and after it; default: all"},
        {"--valid-lens", "N.npy", "how many keys are valid; default: all"},
        {"--softcap", "C", "scores become C tanh(s / C); default: 0, none"},
        {"--alibi-slopes", "A.npy", "(H,): minus slope times distance is added to the scores"},
        {"--sinks", "S.npy", "(H,): logits in the denominator that have no value"},
        empty_rows_flag,
        {"--out", "O.npy", "where the output goes"},
        {"--lse", "L.npy", "where the logs of the sums of exponentials go, (B, H, L)"},
        {"--attn-weights", "W.npy", "where the attention weights go, (B, H, L, S)"},
    },
    sdpa,
};

}  // namespace attend::tool
