// The flags of verbs that read sentences by a model: which model, in which precision, which sentences.
#pragma once

#include <string>
#include <vector>

#include "arguments.h"
#include "execution.h"
#include "sentence_encoder.h"

namespace attend::tool {

/// The folder of --model, else of the environment's ATTEND_MODEL, else where make model puts all-MiniLM-L6-v2. Throws Failure.
std::string model_folder(const Arguments& arguments);

/// The model of the flags, in memory. Throws Failure.
SentenceEncoder load_encoder(const Arguments& arguments, Isa isa, const Threads& threads);

/// The texts that stand on the line under that name, and those of --file, a line each; "-" is standard input. Throws Failure.
std::vector<std::string> chosen_texts(const Arguments& arguments, const char* operand);

/// Texts as their vectors, (texts, width), and how many tokens they have; on a terminal with a line that says how far it is.
struct Encoded {
  std::vector<float> vectors;
  std::size_t tokens = 0, shortened = 0;  // texts that were longer than the model takes, `most` tokens
  std::size_t most = 0, not_utf8 = 0;     // texts that are not UTF-8 throughout
};
Encoded encode(SentenceEncoder* encoder, const std::vector<std::string>& texts, const Threads& threads);

/// What lines on standard error say of it, behind all of standard output: "64 sentences, 1523 tokens in 120 ms (avx2, float32)".
void print_summary(const char* verb, const Arguments& arguments, const Encoded& encoded, std::size_t texts, double seconds, Isa isa);

inline std::vector<Flag> sentence_flags() {
  return joined({
      {{"--model", "DIR", "the folder of a BERT model with mean pooling; default: $ATTEND_MODEL, else what make model fetched"}},
      model_precision_flags(),
      {{"--quiet", nullptr, "does not print the line of counts, time and ISA"}},
  });
}

}  // namespace attend::tool
