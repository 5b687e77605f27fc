// The flags of verbs that read sentences by a model: which model, in which precision, which sentences.
#include "sentence_options.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>

#include "failure.h"
#include "fetched_model.h"
#include "io/json.h"
#include "io/text.h"
#include "output.h"
#include "progress.h"
#include "text.h"
#include "tokens.h"

namespace attend::tool {

namespace {

constexpr std::size_t texts_of_a_step = 64;  // between two looks at the progress

std::string sentences(std::size_t count) { return format("%zu sentence%s", count, count == 1 ? "" : "s"); }

}  // namespace

std::string model_folder(const Arguments& arguments) {
  if (arguments.has("--model")) return arguments.text("--model");
  if (const char* folder = std::getenv("ATTEND_MODEL"); folder != nullptr && *folder != '\0') return folder;
  if (const std::string folder = fetched_model("all-MiniLM-L6-v2"); !folder.empty()) return folder;
  throw Failure("there is no model: make model fetches one (83 MB), or --model DIR or $ATTEND_MODEL says where one is");
}

SentenceEncoder load_encoder(const Arguments& arguments, Isa isa, const Threads& threads) {
  return SentenceEncoder(model_folder(arguments), chosen_model_precision(arguments, isa), isa, threads);
}

std::vector<std::string> chosen_texts(const Arguments& arguments, const char* operand) {
  std::vector<std::string> texts = arguments.texts(operand);
  const std::string path = arguments.text("--file");
  if (path.empty()) return texts;
  for (std::string& line : path == "-" ? lines_of(std::string(std::istreambuf_iterator<char>(std::cin), {})) : read_tokens(path)) texts.push_back(std::move(line));
  return texts;
}

Encoded encode(SentenceEncoder* encoder, const std::vector<std::string>& texts, const Threads& threads) {
  const std::size_t width = static_cast<std::size_t>(encoder->config().width), most = static_cast<std::size_t>(encoder->config().most_tokens);
  Encoded encoded;
  encoded.most = most;
  encoded.vectors.resize(texts.size() * width);
  Progress progress;
  for (std::size_t first = 0; first < texts.size(); first += texts_of_a_step) {
    if (texts.size() > texts_of_a_step) progress.show(format("%zu of %zu sentences", first, texts.size()));
    const std::size_t end = std::min(texts.size(), first + texts_of_a_step);
    std::vector<std::vector<std::int32_t>> ids;
    for (std::size_t n = first; n < end; ++n) {
      ids.push_back(encoder->tokenizer().encode(texts[n], most + 1));
      if (ids.back().size() > most) {
        ids.back() = encoder->ids(texts[n]);
        ++encoded.shortened;
      }
      encoded.tokens += ids.back().size();
      encoded.not_utf8 += io::is_utf8(texts[n]) ? 0 : 1;
    }
    encoder->encode(ids, encoded.vectors.data() + first * width, threads);
  }
  return encoded;
}

void print_summary(const char* verb, const Arguments& arguments, const Encoded& encoded, std::size_t texts, double seconds, Isa isa) {
  if (arguments.has("--quiet")) return;
  std::fflush(stdout);
  if (encoded.shortened > 0) print_remark(verb, format("what is longer than the model takes, %zu tokens, was cut: ", encoded.most) + sentences(encoded.shortened));
  if (encoded.not_utf8 > 0) print_remark(verb, "what is not UTF-8 is not understood: " + sentences(encoded.not_utf8));
  std::fprintf(stderr, "%s, %zu tokens in %.3g ms (%s, %s)\n", sentences(texts).c_str(), encoded.tokens, seconds * 1e3,
               isa_name(isa == Isa::best ? best_isa() : isa), chosen_model_precision(arguments, isa).name);
}

}  // namespace attend::tool
