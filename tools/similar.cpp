// attend similar: which sentences of a file have most in common with a question.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "clock.h"
#include "failure.h"
#include "io/text.h"
#include "output.h"
#include "sentence_options.h"
#include "terminal.h"
#include "text.h"
#include "verbs.h"

namespace attend::tool {
namespace {

/// From grey over blue to green, of the 256-colour palette: readable on dark and on light grounds.
std::string coloured(float similarity, const std::string& text) {
  const int shades[] = {245, 67, 68, 32, 37, 35, 34};
  const int shade = static_cast<int>(std::clamp(similarity * 9.0f, 0.0f, 6.0f));
  return format("\033[38;5;%dm", shades[shade]) + text + "\033[0m";
}

int similar(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  std::vector<std::string> texts = chosen_texts(arguments, "SENTENCE");
  const auto is_blank = [](const std::string& text) { return text.find_first_not_of(" \t\r") == std::string::npos; };
  texts.erase(std::remove_if(texts.begin(), texts.end(), is_blank), texts.end());
  if (texts.empty()) {
    const std::string file = arguments.text("--file");
    throw Failure(file.empty() ? "there is nothing to compare with; sentences stand behind the question, or in the lines of --file"
                               : "there is nothing to compare with: no line of " + io::quoted(file) + " has text");
  }
  const std::int64_t most = arguments.integer("--top", 10, 1, 1 << 30);
  texts.push_back(arguments.text("QUESTION"));
  SentenceEncoder encoder = load_encoder(arguments, isa, threads.threads());
  const double begun = seconds_now();
  const Encoded encoded = encode(&encoder, texts, threads.threads());
  const double seconds = seconds_now() - begun;

  const std::size_t width = static_cast<std::size_t>(encoder.config().width), count = texts.size() - 1;
  const float* const question = encoded.vectors.data() + count * width;
  std::vector<float> similarities(count);
  for (std::size_t n = 0; n < count; ++n) {
    const float* const vector = encoded.vectors.data() + n * width;
    similarities[n] = std::inner_product(vector, vector + width, question, 0.0f);
  }
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto rank = [&](std::size_t n) { return std::isnan(similarities[n]) ? -2.0f : similarities[n]; };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rank(a) > rank(b) || (rank(a) == rank(b) && a < b); });
  const bool colours = terminal_has_colours();
  const int columns = terminal_columns();
  for (std::size_t n = 0; n < std::min(count, static_cast<std::size_t>(most)); ++n) {
    const float similarity = similarities[order[n]];
    const std::string score = format("%6.3f", static_cast<double>(similarity)), text = terminal_text(texts[order[n]]);
    std::printf("%s  %s\n", colours ? coloured(similarity, score).c_str() : score.c_str(), is_terminal(1) ? shortened(text, columns - 8).c_str() : text.c_str());
  }
  if (count > static_cast<std::size_t>(most) && !arguments.has("--quiet")) {
    print_remark("similar", format("%lld of %zu sentences are printed; --top prints more", static_cast<long long>(most), count));
  }
  print_summary("similar", arguments, encoded, count, seconds, isa);
  return 0;
}

}  // namespace

const Verb similar_verb = {
    "similar",
    "ranks sentences by what they have in common with a question, by a model that make model fetches",
    "Each line is a sentence behind the scalar product of its vector and the question's, as attend embed gives them:\n"
    "1 is the same, 0 has nothing in common. Those that have most in common come first. Blank lines are skipped. A sentence\n"
    "that is longer than the model's files say (256 tokens) is cut there.\n",
    joined({
        {
            {"--file", "LINES.txt", "more sentences, one a line; -: standard input"},
            {"--top", "N", "prints so many; default: 10"},
        },
        sentence_flags(),
    }),
    similar,
    {{"QUESTION", nullptr, "what the sentences are compared with"}, {"SENTENCE", nullptr, "a sentence; there may be any number of them", false, true}},
};

}  // namespace attend::tool
