// attend heatmap: draws what attends to what in a layer on one sequence.
#include <algorithm>
#include <cstdio>
#include <string>

#include "execution.h"
#include "failure.h"
#include "heat_picture.h"
#include "io/text.h"
#include "layer_input.h"
#include "output.h"
#include "progress.h"
#include "rotary_options.h"
#include "score_options.h"
#include "text.h"
#include "tokens.h"
#include "verbs.h"
#include "visibility_options.h"

namespace attend::tool {
namespace {

/// The entry's length by --valid-lens, at most L, or L.
std::int64_t sequence_length(const Arguments& arguments, std::int64_t batch, std::int64_t entry, std::int64_t L) {
  const std::string path = arguments.text("--valid-lens");
  if (path.empty()) return L;
  const io::Int64Tensor lengths = load_lengths(path, batch, L);
  if (lengths.view.rank != 1) throw Failure("--valid-lens " + io::quoted(path) + ": heatmap takes one length a sequence");
  const std::int64_t length = lengths.view.data[entry];
  if (length < 0) throw Failure("--valid-lens " + io::quoted(path) + ": a length is negative");
  return std::min(L, length);
}

/// Of a mask over all positions, the first `length` queries and keys.
template <class Element>
void cut(std::int64_t length, View<Element>* mask) {
  for (int axis = mask->rank < 2 ? 0 : mask->rank - 2; axis < mask->rank; ++axis) {
    if (mask->sizes[axis] > 1) mask->sizes[axis] = std::min(mask->sizes[axis], length);
  }
}

int heatmap(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const std::string svg = arguments.text("--svg"), tokens_path = arguments.text("--tokens");
  if (!svg.empty()) require_writable(svg);
  const VisibilityOptions visibility(arguments);
  Progress progress;
  progress.show("reading");
  const io::LoadedLayer layer = load_layer(arguments, isa);
  const MultiHeadAttention& attention = layer.attention;
  const std::int64_t H = attention.config().num_heads;
  const std::int64_t head = arguments.integer("--head", -1, 0, H - 1);
  const LoadedFloats loaded =
      load_floats("--query", arguments.text("--query"), {-1, -1, attention.config().query_size});
  const std::int64_t B = loaded.view().sizes[0];
  if (B == 0) throw Failure("--query " + io::quoted(arguments.text("--query")) + " holds no sequence");
  const std::int64_t entry = arguments.integer("--entry", 0, 0, B - 1);
  ConstTensorView queries = entries_of(loaded.view(), entry, 1);
  const std::int64_t L = queries.sizes[1] = sequence_length(arguments, B, entry, queries.sizes[1]);

  HeatPicture picture;
  picture.tokens = tokens_path.empty() ? numbered_tokens(static_cast<std::size_t>(L)) : read_tokens(tokens_path);
  if (static_cast<std::int64_t>(picture.tokens.size()) != L) {
    throw Failure(format("--tokens %s has %zu lines for %lld positions%s", io::quoted(tokens_path).c_str(),
                         picture.tokens.size(), static_cast<long long>(L),
                         arguments.has("--valid-lens") ? "" : "; give --valid-lens if some are padding"));
  }

  progress.show("computing");
  Floats output({1, L, attention.config().output_size}), weights({1, H, L, L});
  Workspace workspace;
  AttentionOptions options = layer.options;
  visibility.apply(&options, B, loaded.view().sizes[1], entry, 1);
  const ScoreOptions scores(arguments, H);
  scores.apply(&options);
  cut(L, &options.mask);
  cut(L, &options.additive_mask);
  if (!options.key_padding_mask.absent()) options.key_padding_mask = options.key_padding_mask.slice(1, 0, std::min(L, options.key_padding_mask.sizes[1]));
  options.attention_weights = weights.view();
  options.threads = threads.threads();
  require(attention.forward(queries, queries, queries, {}, output.view(), workspace, options));
  const std::size_t map = static_cast<std::size_t>(L * L);
  picture.weights.assign(map, 0.0f);
  const std::int64_t first = head < 0 ? 0 : head, last = head < 0 ? H - 1 : head;
  for (std::int64_t h = first; h <= last; ++h) {
    const float* of_head = weights.values.data() + static_cast<std::size_t>(h) * map;
    for (std::size_t i = 0; i < map; ++i) picture.weights[i] += of_head[i] / static_cast<float>(last - first + 1);
  }
  picture.hidden.resize(map);
  for (std::size_t i = 0; i < map; ++i) {
    const std::int64_t n = static_cast<std::int64_t>(i);
    picture.hidden[i] = picture.weights[i] == 0.0f;  // with uniform empty rows, hidden keys may weigh something
    for (std::int64_t h = first; h <= last && picture.hidden[i]; ++h) picture.hidden[i] = hidden(options, h, n / L, n % L);
  }
  picture.title = head < 0 ? format("attention, average of %lld heads", static_cast<long long>(H))
                           : format("attention, head %lld of 0 to %lld", static_cast<long long>(head),
                                    static_cast<long long>(H - 1));
  progress.clear();
  print_remark("heatmap", visibility.remark());
  print_remark("heatmap", rotary_remark(arguments, layer.convention));
  if (!svg.empty()) write_text(svg, picture.as_svg());
  if (svg.empty() || !is_standard_output(svg)) {
    std::fputs(picture.for_terminal(terminal_columns(), terminal_has_colours()).c_str(), stdout);
  }
  return 0;
}

}  // namespace

const Verb heatmap_verb = {
    "heatmap",
    "draws what attends to what in a layer",
    "Draws one sequence that attends to itself: a row for each query, a column for each key, on the\n"
    "terminal and, with --svg, as a picture too. Without --head it is the average over the heads. Keys\n"
    "that a query may not see are dots, and grey in the picture.\n"
    "\n" +
        std::string(mask_details) + rope_scaling_details,
    joined({
        {
            {"--weights", "W.safetensors", "the layer, with names as in attend run --help", true},
            {"--query", "Q.npy", "the sequences (B, L, width)", true},
            {"--entry", "N", "which of the sequences, from 0; default: 0"},
            {"--valid-lens", "N.npy", "lengths (B,): what lies past them is padding, and not drawn"},
        },
        layer_flags(),
        visibility_flags(),
        score_flags(),
        rotary_flags(),
        {
            {"--tokens", "T.txt", "the tokens' texts, one a line; default: numbers"},
            {"--head", "N", "which head, from 0; default: the average of all"},
            {"--svg", "F.svg", "also writes an SVG picture"},
        },
    }),
    heatmap,
};

}  // namespace attend::tool
