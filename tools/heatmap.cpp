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
#include "precision_options.h"
#include "progress.h"
#include "rotary_options.h"
#include "score_options.h"
#include "sentence_options.h"
#include "terminal.h"
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

/// Where a layer and its sequences come from.
std::vector<Flag> layer_source_flags() {
  return {
      {"--weights", "W.safetensors", "the file of the layer, with names as in attend run --help"},
      {"--query", "Q.npy", "the sequences (B, L, width)"},
      {"--entry", "N", "which sequence is drawn, from 0; default: 0"},
      {"--valid-lens", "N.npy", "the sequences' lengths (B,); padding past them is not drawn; default: all"},
      {"--tokens", "T.txt", "the texts of the tokens, one a line; default: their numbers"},
  };
}

/// The first `length` queries and keys of a mask over all positions.
template <class Element>
void cut(std::int64_t length, View<Element>* mask) {
  for (int axis = mask->rank < 2 ? 0 : mask->rank - 2; axis < mask->rank; ++axis) {
    if (mask->sizes[axis] > 1) mask->sizes[axis] = std::min(mask->sizes[axis], length);
  }
}

/// The average of `count` heads of a call's weights, (1, H, L, L), from `first` on; hidden is what all of them hide.
HeatMap map_of(const Floats& weights, const AttentionOptions& options, std::int64_t first, std::int64_t count) {
  const std::int64_t L = weights.shape[2];
  const std::size_t size = static_cast<std::size_t>(L * L);
  HeatMap map;
  map.weights.assign(size, 0.0f);
  map.hidden.resize(size);
  for (std::int64_t head = first; head < first + count; ++head) {
    const float* of_head = weights.values.data() + static_cast<std::size_t>(head) * size;
    for (std::size_t i = 0; i < size; ++i) map.weights[i] += of_head[i] / static_cast<float>(count);
  }
  for (std::size_t i = 0; i < size; ++i) {
    const std::int64_t n = static_cast<std::int64_t>(i);
    map.hidden[i] = map.weights[i] == 0.0f;  // with uniform empty rows, hidden keys may weigh something
    for (std::int64_t head = first; head < first + count && map.hidden[i]; ++head) map.hidden[i] = hidden(options, head, n / L, n % L);
  }
  return map;
}

/// The maps that --head and --all-heads ask for, and the title over them.
void draw(const Arguments& arguments, const Floats& weights, const AttentionOptions& options, HeatPicture* picture) {
  const std::int64_t H = weights.shape[1], head = arguments.integer("--head", -1, 0, H - 1);
  if (H == 1) {
    picture->title = "attention, the only head";
    picture->maps = {map_of(weights, options, 0, 1)};
  } else if (arguments.has("--all-heads")) {
    picture->title = format("attention, heads 0 to %lld", static_cast<long long>(H - 1));
    for (std::int64_t one = 0; one < H; ++one) {
      picture->maps.push_back(map_of(weights, options, one, 1));
      picture->maps.back().title = format("head %lld", static_cast<long long>(one));
    }
  } else if (head >= 0) {
    picture->title = format("attention, head %lld of 0 to %lld", static_cast<long long>(head), static_cast<long long>(H - 1));
    picture->maps = {map_of(weights, options, head, 1)};
  } else {
    picture->title = format("attention, average of %lld heads", static_cast<long long>(H));
    picture->maps = {map_of(weights, options, 0, H)};
  }
}

/// Shows a picture, and writes it where --svg says.
void show(const Arguments& arguments, const HeatPicture& picture) {
  const std::string svg = arguments.text("--svg");
  if (!svg.empty()) write_text(svg, picture.as_svg());
  if (svg.empty() || !is_standard_output(svg)) {
    std::fputs(picture.for_terminal(terminal_columns(), terminal_has_colours()).c_str(), stdout);
  }
}

/// A layer of a whole model on a sentence of its own tokens.
int heatmap_of_sentence(const Arguments& arguments, Isa isa, const Threads& threads) {
  for (const Flag& flag : joined({layer_source_flags(), layer_flags(), precision_flags(), core_precision_flags(), visibility_flags(), score_flags(), rotary_flags()})) {
    if (arguments.has(flag.name)) throw Failure(std::string(flag.name) + ": of no use with --model, whose layers are as its files say");
  }
  Progress progress;
  progress.show("reading");
  SentenceEncoder encoder = load_encoder(arguments, isa, threads);
  const std::int64_t layer = arguments.integer("--layer", encoder.config().layers - 1, 0, encoder.config().layers - 1), H = encoder.config().heads;
  arguments.integer("--head", 0, 0, H - 1);
  const std::vector<std::int32_t> ids = encoder.ids(arguments.text("SENTENCE"));
  const std::int64_t L = static_cast<std::int64_t>(ids.size());
  HeatPicture picture;
  for (const std::int32_t id : ids) picture.tokens.emplace_back(encoder.tokenizer().token(id));
  progress.show("computing");
  Floats weights({1, H, L, L});
  encoder.attention_weights(ids, layer, weights.values.data(), threads);
  draw(arguments, weights, {}, &picture);
  picture.title += format(", layer %lld", static_cast<long long>(layer));
  progress.clear();
  show(arguments, picture);
  return 0;
}

int heatmap(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  if (arguments.has("--head") && arguments.has("--all-heads")) throw Failure("--head and --all-heads: only one of them can be given");
  const std::string tokens_path = arguments.text("--tokens");
  if (arguments.has("--svg")) require_writable(arguments.text("--svg"));
  if (arguments.has("SENTENCE")) {
    if (arguments.texts("SENTENCE").size() > 1) throw Failure("more than one sentence was given; heatmap draws one");
    return heatmap_of_sentence(arguments, isa, threads.threads());
  }
  for (const char* flag : {"--model", "--layer", "--precision"}) {
    if (arguments.has(flag)) throw Failure(std::string(flag) + ": given, but no sentence for the model to read");
  }
  for (const char* flag : {"--weights", "--query"}) {
    if (!arguments.has(flag)) throw Failure(std::string(flag) + " is missing; with a sentence instead, a model's layer is drawn");
  }
  const VisibilityOptions visibility(arguments);
  Progress progress;
  progress.show("reading");
  const io::LoadedLayer layer = load_layer(arguments, isa);
  const MultiHeadAttention& attention = layer.attention;
  const std::int64_t H = attention.config().num_heads;
  arguments.integer("--head", 0, 0, H - 1);  // before work is done for nothing
  const LoadedFloats loaded =
      load_floats("--query", arguments.text("--query"), {-1, -1, attention.config().query_size});
  const std::int64_t B = loaded.view().sizes[0];
  if (B == 0) throw Failure("--query " + io::quoted(arguments.text("--query")) + " holds no sequence");
  const std::int64_t entry = arguments.integer("--entry", 0, 0, B - 1);
  ConstTensorView queries = loaded.view().slice(0, entry, 1);
  const std::int64_t L = queries.sizes[1] = sequence_length(arguments, B, entry, queries.sizes[1]);
  if (L == 0) throw Failure(format("sequence %lld has no token to draw", static_cast<long long>(entry)));

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
  visibility.apply(&options, {B, H, loaded.view().sizes[1], loaded.view().sizes[1]}, entry, 1);
  const ScoreOptions scores(arguments, H);
  scores.apply(&options);
  require_use_of_offset(arguments, options, attention.config().rotary);
  apply_core_arithmetic(arguments, &options);
  cut(L, &options.mask);
  cut(L, &options.additive_mask);
  cut(L, &options.key_padding_mask);
  options.attention_weights = weights.view();
  options.threads = threads.threads();
  arguments.require(attention.forward(queries, queries, queries, {}, output.view(), workspace, options));
  draw(arguments, weights, options, &picture);
  progress.clear();
  print_remark("heatmap", visibility.remark());
  for (const std::string& remark : layer.remarks) print_remark("heatmap", remark);
  show(arguments, picture);
  return 0;
}

}  // namespace

const Verb heatmap_verb = {
    "heatmap",
    "draws what attends to what in a layer",
    "Draws one sequence that attends to itself, an entry of --query or a sentence that a model reads (attend embed),\n"
    "on the terminal and, with --svg, as a picture too: a row for each query, a column for each key. Without --head and --all-heads it draws the average of the\n"
    "heads. A key that a query may not see is a dot, and grey in the picture. A scale goes from 0 to the\n"
    "largest weight; all heads of a sheet share it. Colours go to terminals alone, dark or light, and to\n"
    "none where NO_COLOR is set or TERM is dumb.\n"
    "\n" +
        std::string(mask_details) + "\n" + rope_scaling_details + "\n" + precision_details,
    joined({
        layer_source_flags(),
        layer_flags(),
        precision_flags(),
        core_precision_flags(),
        visibility_flags(),
        score_flags(),
        rotary_flags(),
        {
            {"--head", "N", "draws this head, from 0; default: the average of all"},
            {"--all-heads", nullptr, "draws each head, on one sheet"},
            {"--svg", "F.svg", "also writes the picture as SVG"},
            {"--layer", "N", "of a sentence's model, from 0; default: the last"},
        },
        sentence_flags(),
    }),
    heatmap,
    {{"SENTENCE", nullptr, "a sentence, whose tokens a layer of a model attends to, instead of --weights and --query", false, true}},
};

}  // namespace attend::tool
