// The command line tool: finds the verb, runs it, and turns what went wrong into one line.
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "attend/attend.hpp"
#include "failure.h"
#include "io/text.h"
#include "text.h"
#include "verbs.h"

namespace attend::tool {
namespace {

const Verb* const verbs[] = {&demo_verb, &embed_verb, &similar_verb, &generate_verb, &run_verb, &sdpa_verb, &heatmap_verb, &quantize_verb, &verify_verb, &info_verb};

bool is_help(const char* word) { return std::strcmp(word, "--help") == 0 || std::strcmp(word, "-h") == 0; }

std::string overview() {
  std::string text = "attend: multi-head attention on CPUs\n\nusage: attend VERB [flags]\n\n";
  for (const Verb* verb : verbs) text += format("  %-9s %s\n", verb->name, verb->summary);
  return text +
         "\nattend help VERB (or attend VERB --help) describes its flags; attend --version prints the version.\n"
         "Behind -- all words are texts or files, though they begin with --.\n"
         "The exit code is 0, or 1 for a failed check, or 2 for bad usage, input or output.\n";
}

std::string verb_list() {
  std::string list;
  for (const Verb* verb : verbs) list += (list.empty() ? "the verbs are " : ", ") + std::string(verb->name);
  return list + "; attend help describes them";
}

const Verb& find_verb(const std::string& word) {
  std::vector<std::string> names;
  for (const Verb* verb : verbs) {
    if (word == verb->name) return *verb;
    names.push_back(verb->name);
  }
  throw Failure((word[0] == '-' ? "unknown flag " : "unknown verb ") + io::quoted(word) + suggestion(word, names) + "; " + verb_list());
}

int run(int count, const char* const* words, std::string* name) {
  if (count == 0) throw Failure("no verb was given; " + verb_list());
  if (is_help(words[0]) || std::strcmp(words[0], "help") == 0) {
    const bool of_verb = count > 1 && !is_help(words[1]);
    std::fputs((of_verb ? help_text(find_verb(words[1])) : overview()).c_str(), stdout);
    return 0;
  }
  if (std::strcmp(words[0], "--version") == 0) {
    std::printf("attend %s\n", version());
    return 0;
  }
  const Verb& verb = find_verb(words[0]);
  *name += std::string(" ") + verb.name;
  for (int i = 1; i < count && words[i] != end_of_flags; ++i) {
    if (is_help(words[i])) {
      std::fputs(help_text(verb).c_str(), stdout);
      return 0;
    }
  }
  return verb.run(Arguments(verb, count - 1, words + 1));
}

int guarded_main(int count, const char* const* words) {
  std::string name = "attend", message;
  try {
    const int code = run(count, words, &name);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    message = "cannot write standard output";
  } catch (const std::bad_alloc&) {
    message = "out of memory";
  } catch (const std::exception& exception) {
    message = exception.what();
  }
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", name.c_str(), terminal_text(message).c_str());
  return 2;
}

}  // namespace
}  // namespace attend::tool

int main(int count, char** words) { return attend::tool::guarded_main(count > 0 ? count - 1 : 0, words + 1); }
