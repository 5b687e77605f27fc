// attend run: a whole layer on arrays from files.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "attend/io.hpp"
#include "clock.h"
#include "execution.h"
#include "expectation.h"
#include "failure.h"
#include "io/architecture.h"
#include "io/shape.h"
#include "io/text.h"
#include "layer_input.h"
#include "output.h"
#include "output_arrays.h"
#include "precision_options.h"
#include "progress.h"
#include "rotary_options.h"
#include "score_options.h"
#include "text.h"
#include "verbs.h"
#include "visibility_options.h"

namespace attend::tool {
namespace {

/// One line: whose names the weights have, what goes in, what comes out, how long it takes and on what. The shapes are those of queries,
/// keys, values and output.
void print_line(const io::LoadedLayer& layer, const std::vector<std::vector<std::int64_t>>& shapes, double seconds, std::FILE* stream) {
  const MultiHeadAttentionConfig& config = layer.attention.config();
  const auto shape = [&](std::size_t which) { return io::shape_text(shapes[which]); };
  std::string heads = format("%lld heads", static_cast<long long>(config.num_heads));
  if (config.num_kv_heads != config.num_heads) heads += format(" (%lld of keys)", static_cast<long long>(config.num_kv_heads));
  std::fprintf(stream, "%s layer, %s: queries %s, keys %s, values %s give %s in %.0f us on %s%s\n", layer.convention, heads.c_str(),
               shape(0).c_str(), shape(1).c_str(), shape(2).c_str(), shape(3).c_str(),
               seconds * 1e6, isa_name(layer.attention.isa()), remark_of({config.weight_type, config.arithmetic, false, config.weight_group}, config.isa).c_str());
}

void print_beginning(const Floats& output) {
  const std::size_t shown = std::min<std::size_t>(output.values.size(), 6);
  for (std::size_t i = 0; i < shown; ++i) std::printf("%s%.6g", i == 0 ? "begins " : " ", output.values[i]);
  std::printf("%sgive --out to keep the output\n", shown > 0 ? "; " : "");
}

int run(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const VisibilityOptions visibility(arguments);
  const OutputArrays outputs(arguments, {"--out", "--attn-weights"});

  Progress progress;
  progress.show("reading");
  const io::LoadedLayer layer = load_layer(arguments, isa);
  const MultiHeadAttention& attention = layer.attention;
  const MultiHeadAttentionConfig& config = attention.config();
  AttentionOptions options = layer.options;
  const ScoreOptions scores(arguments, config.num_heads);
  scores.apply(&options);
  apply_core_arithmetic(arguments, &options);
  options.threads = threads.threads();
  // As a file has it: (B, L, width), or with --sequence-first (L, B, width).
  const bool sequence_first = arguments.has("--sequence-first");
  const auto ordered = [&](std::int64_t batch, std::int64_t tokens, std::int64_t width) -> std::vector<std::int64_t> {
    if (sequence_first) return {tokens, batch, width};
    return {batch, tokens, width};
  };
  const auto load = [&](const char* flag, std::int64_t batch, std::int64_t tokens, std::int64_t width) {
    LoadedFloats loaded = load_floats(flag, arguments.text(flag), ordered(batch, tokens, width));
    if (sequence_first) loaded.tensor.view = loaded.view().transposed(0, 1);
    return loaded;
  };
  const LoadedFloats queries = load("--query", -1, -1, config.query_size);
  const std::int64_t B = queries.view().sizes[0], L = queries.view().sizes[1];
  LoadedFloats given_keys, given_values;
  ConstTensorView keys = queries.view();
  if (arguments.has("--key")) {
    given_keys = load("--key", B, -1, config.key_size);
    keys = given_keys.view();
  }
  const std::int64_t S = keys.sizes[1];
  ConstTensorView values = keys;
  if (arguments.has("--value")) {
    given_values = load("--value", B, S, config.value_size);
    values = given_values.view();
  }
  const io::Int64Tensor lengths = load_lengths(arguments.text("--valid-lens"), B, L);

  const std::vector<std::int64_t> output_shape = ordered(B, L, config.output_size);
  const Expectation expectation(arguments, output_shape);

  Floats output(output_shape), weights({B, config.num_heads, L, outputs.has("--attn-weights") ? S : 0});
  const TensorView result = sequence_first ? output.view().transposed(0, 1) : output.view();
  Workspace workspace;
  // A few sequences at a time: the workspace stays small, and progress can be shown.
  const std::int64_t step = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>({L, S, 1}));
  const double begun = seconds_now();
  std::int64_t first = 0;
  do {
    progress.show(format("computing: %lld of %lld sequences", static_cast<long long>(first),
                         static_cast<long long>(B)));
    const std::int64_t count = std::min(step, B - first);
    visibility.apply(&options, {B, config.num_heads, L, S}, first, count);
    require_use_of_offset(arguments, options, config.rotary);
    if (outputs.has("--attn-weights")) options.attention_weights = weights.view().slice(0, first, count);
    arguments.require(attention.forward(queries.view().slice(0, first, count), keys.slice(0, first, count),
                              values.slice(0, first, count), lengths.view.slice(0, first, count),
                              result.slice(0, first, count), workspace, options));
    first += count;
  } while (first < B);
  const double seconds = seconds_now() - begun;
  progress.clear();
  outputs.write({{"--out", &output}, {"--attn-weights", &weights}});
  print_remark("run", visibility.remark());
  print_remark("run", expectation.remark(output));
  if (layer.convention == std::string("D2L") && !arguments.has("--empty-rows") && std::count(lengths.owned.begin(), lengths.owned.end(), 0) > 0) {
    print_remark("run", "a length is 0: its rows give zeros; those of D2L's module give the mean of all values, by --empty-rows uniform");
  }
  for (const std::string& remark : layer.remarks) print_remark("run", remark);
  if (!arguments.has("--quiet")) {
    print_line(layer, {queries.array.shape, ordered(B, S, config.key_size), ordered(B, S, config.value_size), output.shape}, seconds, outputs.text_stream());
    if (outputs.none() && !expectation.given()) print_beginning(output);
  }
  return expectation.compare(output, outputs.text_stream()) ? 0 : 1;
}

}  // namespace

const Verb run_verb = {
    "run",
    "computes a layer of multi-head attention on arrays from .npy files",
    "Queries and the output are (B, L, width), or (L, B, width) with --sequence-first, as torch's modules\n"
    "have it without batch_first; attention weights (B, H, L, S). Arrays are float32; float16, bfloat16\n"
    "and float64 are converted. Valid lengths are int32 or int64: keys at and past them are hidden. One\n"
    "line tells whose names the weights have, the shapes, the time and the ISA, on standard output, or on\n"
    "standard error where an array goes to standard output.\n"
    "\n" +
        std::string(mask_details) + "\n" + rope_scaling_details + "\n" + precision_details +
        "\n"
    "Names recognised under the prefix, each but T5's with a .bias or without:\n"
    "  W_q.weight W_k.weight W_v.weight W_o.weight                                      D2L\n"
    "  in_proj_weight, or q_proj_weight k_proj_weight v_proj_weight; out_proj.weight    torch\n"
    "  self.query.weight self.key.weight self.value.weight output.dense.weight          BERT\n"
    "  q_proj.weight k_proj.weight v_proj.weight o_proj.weight                          Llama\n"
    "  q_proj.weight k_proj.weight v_proj.weight out_proj.weight                        CLIP, Whisper\n"
    "  q.weight k.weight v.weight o.weight                                              T5\n"
    "  attention.query.weight attention.key.weight attention.value.weight output.dense.weight  ViT\n"
    "  q_lin.weight k_lin.weight v_lin.weight out_lin.weight                            DistilBERT\n"
    "  c_attn.weight c_proj.weight                                                      GPT-2\n"
    "  qkv.weight proj.weight                                                           timm, DINO\n"
    "  qkv_proj.weight o_proj.weight                                                    Phi-3\n"
    "  Wqkv.weight out_proj.weight                                                      MPT\n"
    "  query_key_value.weight dense.weight                                              Falcon, BLOOM\n"
    "  attn_q.weight attn_k.weight attn_v.weight attn_output.weight, or attn_qkv.weight GGUF, under blk.N\n"
    "Beside them:\n"
    "  q_norm.weight k_norm.weight        RMS norms of the heads of queries, of keys\n"
    "  sinks                              logits in the denominator that have no value\n"
    "  relative_attention_bias.weight     T5's bias; T5's later layers share the first one's: --relative-bias\n"
    "Any other tensor under the prefix may change the layer, and is an error unless --ignore NAME accepts\n"
    "it, by its whole name or by what follows the prefix. Ignore rotary_emb.inv_freq, since --rope-theta\n"
    "gives the frequencies, and BERT's output.LayerNorm, which comes after the layer. What changes every\n"
    "result and is not in attend is an error in any case: bias_k and bias_v of torch's add_bias_kv,\n"
    "logit_scale of attention by cosines, the bias of a norm.\n"
    "A GGUF file says how many heads there are, and how they are rotated, which --rope-theta T or none\n"
    "overrides. It is of the architectures " + io::listed(io::known_architectures(), std::string::npos) + ".\n"
    "F16, BF16 and Q4_0 can be taken as they are, and Q4_1 where all that it adds is whole steps; Q8_0, and\n"
    "Q4_1 else, are read as float32, and rounded where --weight-type asks for less.\n",
    joined({
        {
            {"--weights", "W.safetensors", "the file of the layer, the index of its shards, or a GGUF file", true},
            {"--query", "Q.npy", "queries (B, L, query_size)", true},
            {"--key", "K.npy", "keys (B, S, key_size); default: the queries"},
            {"--value", "V.npy", "values (B, S, value_size); default: the keys"},
            {"--sequence-first", nullptr, "queries, keys, values, the output and --expect are (L, B, width): torch's batch_first=False"},
            {"--valid-lens", "N.npy", "how many keys are valid, (B,) or (B, L); default: all"},
        },
        layer_flags(),
        precision_flags(),
        core_precision_flags(),
        visibility_flags(),
        score_flags(),
        rotary_flags(),
        {
            {"--out", "O.npy", "where the output goes"},
            {"--attn-weights", "A.npy", "where the attention weights go"},
        },
        expectation_flags(),
        {{"--quiet", nullptr, "does not print the line of shapes, time and ISA"}},
    }),
    run,
};

}  // namespace attend::tool
