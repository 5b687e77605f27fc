// attend generate: continues a text, or answers it, with a language model.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "attend/io.hpp"
#include "byte_pair.h"
#include "character_stream.h"
#include "chat_prompt.h"
#include "clock.h"
#include "execution.h"
#include "failure.h"
#include "fetched_model.h"
#include "io/text.h"
#include "language_model.h"
#include "model_precision.h"
#include "precision_options.h"
#include "progress.h"
#include "prompt_look_up.h"
#include "text.h"
#include "token_choice.h"
#include "verbs.h"

namespace attend::tool {
namespace {

/// The file of --model, or the one that its folder holds; else of the model that make model fetches. Throws Failure.
std::string model_file(const Arguments& arguments) {
  const std::string path = arguments.has("--model") ? arguments.text("--model") : fetched_model("SmolLM2-135M-Instruct");
  if (path.empty()) throw Failure("there is no model: make model MODELS=SmolLM2-135M-Instruct fetches one (93 MB), or --model M.gguf says where one is");
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return path;
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".gguf") found.push_back(entry.path().string());
  }
  if (found.size() != 1) throw Failure(format("--model %s: a folder of %zu files in .gguf, expected one", io::quoted(path).c_str(), found.size()));
  return found[0];
}

ChoiceOptions chosen_choice(const Arguments& arguments) {
  ChoiceOptions options;
  options.temperature = arguments.number("--temperature", 0.0, 0.0);
  options.top_k = arguments.integer("--top-k", 0, 1, std::int64_t{1} << 31);
  options.top_p = arguments.number("--top-p", 1.0, 0.0);
  options.seed = static_cast<std::uint64_t>(arguments.integer("--seed", 1, 0, std::int64_t{1} << 62));
  if (options.top_p > 1.0) throw Failure("--top-p " + io::quoted(arguments.text("--top-p")) + " is not a number from 0 to 1");
  for (const char* flag : {"--top-k", "--top-p", "--seed"}) {
    if (options.temperature == 0.0 && arguments.has(flag)) throw Failure(std::string(flag) + ": without --temperature the likeliest token is taken");
  }
  if (options.temperature > 0.0 && arguments.has("--speculate")) throw Failure("--speculate: with --temperature tokens are drawn; it takes the likeliest");
  return options;
}

/// Standard output, where text appears as soon as it is whole, or ids.
class Printer {
 public:
  Printer(const BytePair& tokenizer, bool ids) : tokenizer_(tokenizer), ids_(ids) {}
  void print(std::int32_t token) { write(ids_ ? std::to_string(token) + ' ' : characters_.take(tokenizer_.bytes(token))); }
  /// Ends the last line.
  void finish() { write(characters_.finish() + '\n'); }

 private:
  void write(const std::string& text) {
    const std::string shown = is_terminal_ ? safe(text) : text;
    std::fwrite(shown.data(), 1, shown.size(), stdout);
    if (std::fflush(stdout) != 0) throw Failure("cannot write standard output");
  }
  /// What no terminal takes for a command; line feeds and tabs stay.
  static std::string safe(std::string_view text) {
    std::string shown;
    while (!text.empty()) {
      const std::size_t end = std::min(text.size(), text.find_first_of("\n\t"));
      shown += terminal_text(text.substr(0, end)) + std::string(text.substr(end, 1));
      text.remove_prefix(std::min(text.size(), end + 1));
    }
    return shown;
  }
  const BytePair& tokenizer_;
  bool ids_;
  CharacterStream characters_;
  bool is_terminal_ = isatty(STDOUT_FILENO) == 1;
};

/// What a run took.
struct Account {
  std::size_t prompt = 0, tokens = 0, guessed = 0, right = 0;
  bool ended = false;                          // whether the model ended the text
  double prompt_seconds = 0.0, seconds = 0.0;  // of the prompt up to the first token, and of the tokens after that
};

/// Continues tokens, the likeliest or drawn.
class Generation {
 public:
  Generation(const BytePair& tokenizer, Reading& reading, const ChoiceOptions& choice, std::size_t guesses)
      : tokenizer_(tokenizer), reading_(reading), choice_(choice), guesses_(guesses) {}

  /// By at most `most`, until one ends the text. The reading has room for all but the last.
  Account run(std::vector<std::int32_t> tokens, std::size_t most, Printer& printer) {
    Account account;
    account.prompt = tokens.size();
    double begun = seconds_now();
    std::int32_t next = choose(reading_.read(tokens), 0);
    account.prompt_seconds = seconds_now() - begun;
    begun = seconds_now();
    std::vector<std::int32_t> read;  // the next token, and guesses of those behind it
    const auto take = [&](std::int32_t token) {
      if (account.tokens == most) return false;
      account.ended = tokenizer_.is_end(token);
      if (account.ended) return false;
      ++account.tokens;
      tokens.push_back(token);
      printer.print(token);
      return true;
    };
    while (take(next) && account.tokens < most) {
      read = look_up(tokens, std::min(guesses_, most - account.tokens - 1));
      account.guessed += read.size();
      read.insert(read.begin(), next);
      const std::int64_t length = reading_.length(), rows = static_cast<std::int64_t>(read.size());
      const ConstTensorView scores = reading_.read_each(read);
      std::int64_t row = 0;
      next = choose(scores, row);
      while (row + 1 < rows && next == read[static_cast<std::size_t>(row + 1)] && take(next)) next = choose(scores, ++row);
      account.right += static_cast<std::size_t>(row);
      reading_.forget_after(length + row + 1);
    }
    account.seconds = seconds_now() - begun;
    return account;
  }

 private:
  std::int32_t choose(const ConstTensorView& scores, std::int64_t row) { return choice_.choose(scores.data + row * scores.strides[0], scores.sizes[1]); }
  const BytePair& tokenizer_;
  Reading& reading_;
  TokenChoice choice_;
  std::size_t guesses_;  // at a time
};

std::string megabytes(std::size_t bytes) { return format("%.1f MB", static_cast<double>(bytes) * 1e-6); }

/// Two lines on standard error: how many tokens there are, a second too, what ended them, on what they were computed, and the memory.
void print_account(const Account& account, const char* end, const LanguageModel& model, const Reading& reading, const Precision& precision, int threads) {
  const auto tokens = [](std::size_t count, std::size_t timed, double seconds) {
    return format("%zu token%s, %.1f a second", count, count == 1 ? "" : "s", static_cast<double>(timed) / std::max(seconds, 1e-9));
  };
  // The first token is the prompt's result.
  std::string text = "prompt " + tokens(account.prompt, account.prompt, account.prompt_seconds) + "; then " +
                     tokens(account.tokens, std::max<std::size_t>(account.tokens, 1) - 1, account.seconds);
  if (account.guessed > 0) text += format(" (%zu of %zu guesses were right)", account.right, account.guessed);
  text += std::string(", until ") + end;
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  std::fprintf(stderr, "%s; %s%s, %d thread%s\n", text.c_str(), isa_name(model.isa()), remark_of(precision, model.isa()).c_str(), threads, threads == 1 ? "" : "s");
  std::fprintf(stderr, "weights %s, keys and values %s; at most %s resident\n", megabytes(model.weight_bytes()).c_str(), megabytes(reading.cache_bytes()).c_str(),
               megabytes(static_cast<std::size_t>(usage.ru_maxrss) * 1024).c_str());
}

int run(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const Precision& precision = chosen_model_precision(arguments, isa).linear;
  const CacheType cache_type = chosen_cache_type(arguments);
  const ChoiceOptions choice = chosen_choice(arguments);
  const std::int64_t most = arguments.integer("--tokens", 128, 1, 1 << 20), guesses = arguments.integer("--speculate", 0, 1, 64);
  if (arguments.has("--system") && !arguments.has("--chat")) throw Failure("--system goes with --chat");

  Progress progress;
  progress.show("reading the model");
  io::GgufFile file;
  require(io::GgufFile::open(model_file(arguments), &file));
  const BytePair tokenizer(file);
  const std::string prompt = arguments.text("PROMPT");
  const std::vector<std::int32_t> tokens = tokenizer.encode(arguments.has("--chat") ? chat_prompt(file, arguments.text("--system"), prompt) : prompt);
  if (tokens.empty()) throw Failure("PROMPT: the model has no token for any of its bytes");
  const std::int64_t count = static_cast<std::int64_t>(tokens.size()), context = LanguageModel::context(file);
  const std::int64_t room = context == 0 ? count + most : context;
  if (count > room) {
    throw Failure(format("PROMPT: %lld tokens, but the model reads at most %lld", static_cast<long long>(count), static_cast<long long>(room)));
  }
  const std::int64_t continued = std::min(most, room - count + 1);  // the last token is not read
  const LanguageModel model(file, precision, isa);
  if (static_cast<std::int64_t>(tokenizer.size()) != model.vocabulary()) {
    throw Failure(format("%s: %zu tokens, but rows of %lld in token_embd.weight", io::quoted(file.path()).c_str(), tokenizer.size(), static_cast<long long>(model.vocabulary())));
  }
  Reading reading(model, count + continued - 1, cache_type, threads.threads());
  progress.clear();

  Printer printer(tokenizer, arguments.has("--ids"));
  Generation generation(tokenizer, reading, choice, static_cast<std::size_t>(guesses));
  const Account account = generation.run(tokens, static_cast<std::size_t>(continued), printer);
  printer.finish();
  const char* const end = account.ended ? "the model's end of text" : continued < most ? "the model's context is full" : "--tokens";
  if (!arguments.has("--quiet")) print_account(account, end, model, reading, precision, threads.count());
  return 0;
}

}  // namespace

const Verb generate_verb = {
    "generate",
    "continues a text, or answers it, with a language model",
    "The model is a GGUF file of llama's architecture, as SmolLM2 is, with a tokenizer of GPT-2's kind; its\n"
    "matrices are F32, F16, BF16, Q8_0, Q4_0 or Q4_1. Text appears on standard output as it comes, until the\n"
    "model ends it. Two lines on standard error tell tokens a second, what ended them, and memory.\n"
    "\n"
    "Without --temperature the likeliest token is taken each time. With it, tokens are drawn by their\n"
    "probabilities: the same text from the same seed. --speculate looks up what followed the last tokens\n"
    "before, and reads so many tokens at once; the text is the same. In PROMPT, the names of the model's\n"
    "special tokens, as <|im_end|>, are those tokens. In every precision attention is in float32; with int4, the\n"
    "matrix that gives the scores of tokens is int8.\n",
    joined({
        {
            {"--model", "M.gguf", "the file of the model, or a folder that holds one; default: SmolLM2-135M-Instruct, where make model fetched it"},
            {"--chat", nullptr, "PROMPT is what a user says, in a chat: the model answers"},
            {"--system", "TEXT", "what the system says before, with --chat; default: what the model's template says"},
            {"--tokens", "N", "how many tokens come at most; default: 128"},
            {"--temperature", "T", "draws tokens, with scores divided by T; default: 0, which takes the likeliest"},
            {"--top-k", "K", "draws from the K likeliest tokens; default: all"},
            {"--top-p", "P", "draws from the likeliest tokens whose probabilities sum up to P; default: 1"},
            {"--seed", "N", "of what is drawn; default: 1"},
            {"--speculate", "N", "guesses at most N tokens at a time; default: none"},
        },
        model_precision_flags(),
        cache_flags(),
        {{"--ids", nullptr, "prints the ids of tokens instead of text"}, {"--quiet", nullptr, "does not print tokens a second and memory"}},
    }),
    run,
    {{"PROMPT", nullptr, "the text that is continued"}},
};

}  // namespace attend::tool
