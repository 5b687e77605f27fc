// attend embed: sentences to vectors.
#include <cstdio>

#include "attend/io.hpp"
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

/// A line for each vector: all of its numbers; on a terminal the first few, and the text.
void print(const std::vector<float>& vectors, std::size_t width, const std::vector<std::string>& texts) {
  const bool shown = is_terminal(1);
  for (std::size_t n = 0; n < texts.size(); ++n) {
    const std::size_t count = shown ? std::min<std::size_t>(width, 4) : width;
    for (std::size_t c = 0; c < count; ++c) std::printf("%s%.9g", c > 0 ? " " : "", static_cast<double>(vectors[n * width + c]));
    if (shown) std::printf(" .. (%zu numbers)  %s", width, shortened(terminal_text(texts[n]), 48).c_str());
    std::putchar('\n');
  }
}

int embed(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const std::string out = arguments.text("--out");
  if (!out.empty()) require_writable(out);
  const std::vector<std::string> texts = chosen_texts(arguments, "SENTENCE");
  if (texts.empty()) throw Failure("no sentence was given; they stand on the line, or in the lines of --file");
  SentenceEncoder encoder = load_encoder(arguments, isa, threads.threads());
  const double begun = seconds_now();
  const Encoded encoded = encode(&encoder, texts, threads.threads());
  const double seconds = seconds_now() - begun;
  const std::size_t width = static_cast<std::size_t>(encoder.config().width);
  if (!out.empty()) {
    const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(texts.size()), encoder.config().width};
    require(io::write_npy(out, io::ElementType::float32, shape, encoded.vectors.data()));
  } else {
    print(encoded.vectors, width, texts);
  }
  print_summary("embed", arguments, encoded, texts.size(), seconds, isa);
  return 0;
}

}  // namespace

const Verb embed_verb = {
    "embed",
    "turns sentences into vectors of length 1, by a model that make model fetches",
    "The vectors are those of sentence-transformers; the scalar product of two says how much their sentences have in\n"
    "common. Without --out they go to standard output, a line each. An empty line has a vector, too: rows match lines.\n"
    "Sentences go through the model side by side, without padding, and none changes another's vector. Longer ones are cut\n"
    "where the model's files say (256 tokens). With bfloat16, int8 and int4 attention computes in bfloat16, where the CPU\n"
    "multiplies that.\n",
    joined({
        {
            {"--file", "LINES.txt", "more sentences, one a line; -: standard input"},
            {"--out", "V.npy", "writes the vectors there, (sentences, width)"},
        },
        sentence_flags(),
    }),
    embed,
    {{"SENTENCE", nullptr, "a sentence; there may be any number of them", false, true}},
};

}  // namespace attend::tool
