// attend demo: an example small enough to read, then a real layer.
#include <cstdio>
#include <filesystem>

#include "execution.h"
#include "failure.h"
#include "seed_example.h"
#include "sentence_example.h"
#include "verbs.h"

namespace attend::tool {
namespace {

namespace files = std::filesystem;

/// The folder of the sentences: --data, else where the repository or an installation has it. Throws Failure.
std::string data_folder(const Arguments& arguments) {
  if (arguments.has("--data")) return arguments.text("--data");
  const files::path data = "tests/data/minilm";
  std::error_code error;
  const files::path here = files::read_symlink("/proc/self/exe", error).parent_path();
  for (const files::path& folder :
       {here / ".." / data, here / ".." / ".." / data, here / "../share/attend/minilm", data}) {
    if (files::exists(folder / "layer.safetensors", error)) return folder.lexically_normal().string();
  }
  throw Failure("the second example needs the folder " + data.string() + " of the repository; give it as --data");
}

std::string svg_path(const Arguments& arguments) {
  if (arguments.has("--svg")) return arguments.text("--svg");
  std::error_code error;
  return files::is_directory("build", error) ? "build/demo-attention.svg" : "demo-attention.svg";
}

int demo(const Arguments& arguments) {
  const Isa isa = chosen_isa(arguments);
  ChosenThreads threads(arguments);
  const bool seed_agrees = show_seed_example(chosen_isas(arguments), threads.threads());
  const bool sentences_agree =
      show_sentence_example(data_folder(arguments), svg_path(arguments), isa, threads.threads());
  return seed_agrees && sentences_agree ? 0 : 1;
}

}  // namespace

const Verb demo_verb = {
    "demo",
    "shows an example of a book, then a layer of a real model on sentences",
    "It runs the MultiHeadAttention of Dive into Deep Learning on small inputs, and verifies it on every\n"
    "ISA of this CPU; then it runs a layer of MiniLM on four sentences, compares it with PyTorch's answers,\n"
    "and draws it. The exit code is 1 if something disagrees.\n",
    {
        {"--data", "DIR", "the folder of the sentences; default: the repository's, or the one installed"},
        {"--svg", "F.svg", "where the picture goes; default: demo-attention.svg, in build/ if that exists"},
    },
    demo,
};

}  // namespace attend::tool
