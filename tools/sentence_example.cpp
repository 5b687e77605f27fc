// A real layer on real sentences, compared with PyTorch's answers and drawn.
#include "sentence_example.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "failure.h"
#include "heat_picture.h"
#include "io/text.h"
#include "layer_input.h"
#include "output.h"
#include "terminal.h"
#include "text.h"
#include "timing.h"
#include "tokens.h"

namespace attend::tool {
namespace {

constexpr std::int64_t heads = 12, pronoun_head = 1;
constexpr std::int64_t drawn_sentence = 1;
constexpr double tolerance = 4e-6;  // largest error, as a share of the largest output
const char* const prefix = "encoder.layer.3.attention.";
const char* const pronouns[] = {"it", "she", "they", "her"};

/// The largest error of `count` numbers, NaN if there is one; `largest` becomes the largest expected.
double largest_error(const float* actual, const float* expected, std::int64_t count, double* largest) {
  double worst = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (!(error <= worst)) worst = error;
    *largest = std::max(*largest, std::abs(static_cast<double>(expected[i])));
  }
  return worst;
}

std::string joined(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) {
    if (token != "[CLS]" && token != "[SEP]") text += (text.empty() ? "" : " ") + terminal_text(token);
  }
  return text;
}

/// "it" -> "trophy" 61 %, for each pronoun of the sentence.
void print_pronouns(const HeatPicture& picture) {
  const std::size_t n = picture.tokens.size();
  for (std::size_t i = 0; i < n; ++i) {
    if (std::find(std::begin(pronouns), std::end(pronouns), picture.tokens[i]) == std::end(pronouns)) continue;
    const std::size_t key = picture.strongest(picture.maps[0], i);
    std::printf("      \"%s\" attends most to \"%s\": %.0f %%\n", picture.tokens[i].c_str(),
                terminal_text(picture.tokens[key]).c_str(), 100.0 * static_cast<double>(picture.maps[0].weights[i * n + key]));
  }
}

}  // namespace

bool show_sentence_example(const std::string& folder, const std::string& svg, Isa isa, const Threads& threads) {
  io::LoadOptions options;
  options.isa = isa;
  io::LoadedLayer layer;
  require(io::load_layer(folder + "/layer.safetensors", prefix, heads, &layer, options));
  const MultiHeadAttention& attention = layer.attention;
  const std::int64_t E = attention.config().num_hiddens;
  const LoadedFloats hidden = load_floats("the sentences", folder + "/hidden.npy", {-1, -1, E});
  const std::int64_t sentences = hidden.view().sizes[0], T = hidden.view().sizes[1];
  const LoadedFloats answers = load_floats("PyTorch's answers", folder + "/output.npy", {sentences, T, E});
  const io::Int64Tensor lengths = load_lengths(folder + "/lengths.npy", sentences, T);

  std::printf("\n2. A real layer: layer 3 of all-MiniLM-L6-v2, %d hiddens, %d heads (%s, %d thread%s)\n\n",
              static_cast<int>(E), static_cast<int>(heads), isa_name(attention.isa()), threads.count,
              threads.count == 1 ? "" : "s");
  std::printf("  compared with PyTorch in float64: may be off by %.0e of the largest output\n", tolerance);
  bool agree = true;
  std::vector<HeatPicture> pictures;
  Workspace workspace;
  for (std::int64_t sentence = 0; sentence < sentences; ++sentence) {
    HeatPicture picture;
    picture.tokens = read_tokens(folder + "/tokens_" + std::to_string(sentence + 1) + ".txt");
    const std::int64_t n = static_cast<std::int64_t>(picture.tokens.size());
    if (n != lengths.view.data[sentence] || n > T) {
      throw Failure(io::quoted(folder) + ": the tokens of a sentence are not as many as its length");
    }
    ConstTensorView input = hidden.view().slice(0, sentence, 1);
    input.sizes[1] = n;
    Floats output({1, n, E}), weights({1, heads, n, n});
    AttentionOptions options = layer.options;
    options.threads = threads;
    const auto forward = [&] {
      require(attention.forward(input, input, input, {}, output.view(), workspace, options));
    };
    const double microseconds = fastest_microseconds(forward);
    options.attention_weights = weights.view();
    forward();
    double largest = 0.0;
    const double error = largest_error(output.values.data(), answers.view().data + sentence * T * E, n * E, &largest);
    const bool within = error <= tolerance * largest;
    agree = agree && within;
    std::printf("    %lld tokens  %6.1f us  off by %.1e: %s\n", static_cast<long long>(n), microseconds,
                error / largest, within ? "ok" : "FAILED");
    const float* of_head = weights.values.data() + pronoun_head * n * n;
    picture.maps.resize(1);
    picture.maps[0].weights.assign(of_head, of_head + n * n);
    picture.title = joined(picture.tokens);
    pictures.push_back(std::move(picture));
  }

  std::printf("\n  what head %d looks for: the noun that a pronoun stands for\n", static_cast<int>(pronoun_head));
  for (const HeatPicture& picture : pictures) {
    std::printf("    %s\n", picture.title.c_str());
    print_pronouns(picture);
  }
  std::printf("  It finds likely nouns and does not understand: what is too small is the suitcase.\n\n");
  if (sentences > drawn_sentence) {
    HeatPicture& picture = pictures[drawn_sentence];
    picture.title = format("head %d: ", static_cast<int>(pronoun_head)) + picture.title;
    std::fputs(picture.for_terminal(terminal_columns(), terminal_has_colours()).c_str(), stdout);
    write_text(svg, picture.as_svg());
    std::printf("\n  as a picture: %s\n", terminal_text(svg).c_str());
  }
  return agree;
}

}  // namespace attend::tool
