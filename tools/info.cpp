// attend info: what this machine and this build have.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "attend/attend.hpp"
#include "base/isas.h"
#include "execution.h"
#include "io/json.h"
#include "precision_options.h"
#include "text.h"
#include "verbs.h"

namespace attend::tool {
namespace {

#if defined(__x86_64__)
const char* const architecture = "x86_64";
const char* const used_features[] = {"avx2", "fma", "f16c", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"};
const char* const features_line = "flags";
#elif defined(__aarch64__)
const char* const architecture = "aarch64";
const char* const used_features[] = {"asimd", "asimddp", "i8mm", "bf16"};
const char* const features_line = "Features";
#else
const char* const architecture = "other";
const char* const used_features[] = {"none"};
const char* const features_line = "";
#endif

/// What stands after "name   :" in /proc/cpuinfo, of the first CPU; empty if nothing does.
std::string cpu_fact(const std::string& name) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    if (line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1) != name) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

/// The model's name; ARM kernels give numbers only.
std::string cpu_name() {
  std::string name = cpu_fact("model name");
  if (name.empty()) name = cpu_fact("Model");
  if (name.empty() && !cpu_fact("CPU part").empty()) {
    name = "implementer " + cpu_fact("CPU implementer") + " part " + cpu_fact("CPU part");
  }
  return name.empty() ? "unknown" : name;
}

bool has_feature(const std::string& feature) {
  std::istringstream words(cpu_fact(features_line));
  for (std::string word; words >> word;) {
    if (word == feature) return true;
  }
  return false;
}

struct Cache {
  std::string level, type;  // "1", "Data"
  long kibibytes;
};

std::vector<Cache> find_caches() {
  std::vector<Cache> caches;
  for (int index = 0;; ++index) {
    const auto fact = [&](const char* name) {
      std::ifstream file(format("/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name));
      std::string word;
      file >> word;
      return word;
    };
    if (fact("level").empty()) return caches;
    caches.push_back({fact("level"), fact("type"), std::strtol(fact("size").c_str(), nullptr, 10)});  // "48K"
  }
}

// When the system gives huge pages: "always", "madvise" (where a program asks, as a cache's own memory does), "never"; "" where it
// does not say.
std::string huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");  // "always [madvise] never"
  std::string word;
  while (file >> word) {
    if (word.front() == '[' && word.back() == ']') return word.substr(1, word.size() - 2);
  }
  return "";
}

// What an ISA multiplies in low precision, and by which instructions: the arithmetics, then the weights that float32 takes, which
// share theirs. Nothing where the build has none.
std::string products_text(Isa isa) {
  std::string products, weights;
  const char* widened = nullptr;
  for (const Precision& precision : low_precisions) {
    const char* const instructions = instructions_of(precision, isa);
    if (instructions == nullptr) continue;
    if (precision.arithmetic == Arithmetic::float32) {
      weights += (weights.empty() ? "" : ", ") + std::string(name_of(precision.weight_type));
      widened = instructions;
    } else {
      products += std::string(precision.weight_type == WeightType::int4 ? "int8 x int4" : name_of(precision.arithmetic)) + " by " + instructions + ", ";
    }
  }
  const char* const core = core_instructions(Arithmetic::bfloat16, isa);
  return widened == nullptr ? "" : products + "weights of " + weights + " by " + widened + (core == nullptr ? "" : std::string(", attention in bfloat16 by ") + core);
}

void print_text() {
  std::printf("attend    %s\n", version());
  std::printf("CPU       %s (%s), %u threads\n", terminal_text(cpu_name()).c_str(), architecture,
              std::thread::hardware_concurrency());
  std::printf("features ");
  for (const char* feature : used_features) {
    if (has_feature(feature)) std::printf(" %s", feature);
  }
  std::printf("\ncaches   ");
  for (const Cache& cache : find_caches()) {
    std::printf(" L%s %s %ld KiB ", cache.level.c_str(), cache.type.c_str(), cache.kibibytes);
  }
  const std::string huge = huge_pages();
  std::printf("\npages     %s\n", huge == "madvise" || huge == "always" ? "huge ones for long KV caches" : huge == "never" ? "never huge ones" : "not known");
  for (const IsaEntry& entry : isas) {
    const Isa isa = entry.isa;
    std::printf("%-9s %s%s\n", isa_name(isa),
                isa_usable(isa)     ? "usable"
                : isa_compiled(isa) ? "compiled, but this CPU lacks it"
                                    : "not in this build",
                isa == best_isa() ? ", the best here" : "");
    const std::string products = products_text(isa);
    if (!products.empty()) std::printf("%-9s %s\n", "", products.c_str());
  }
}

std::string products_json(Isa isa) {
  std::string products;
  for (const Precision& precision : low_precisions) {
    const char* const instructions = instructions_of(precision, isa);
    if (instructions == nullptr) continue;
    products += (products.empty() ? "" : ", ") + ("{\"weight_type\": " + io::json_string(name_of(precision.weight_type))) +
                ", \"arithmetic\": " + io::json_string(name_of(precision.arithmetic)) + ", \"instructions\": " + io::json_string(instructions) + "}";
  }
  return products;
}

std::string core_json(Isa isa) {
  const char* const instructions = core_instructions(Arithmetic::bfloat16, isa);
  return instructions == nullptr ? "{}" : "{\"bfloat16\": " + io::json_string(instructions) + "}";
}

void print_json() {
  const auto truth = [](bool value) { return value ? "true" : "false"; };
  std::string text = "{\"version\": " + io::json_string(version());
  text += ", \"cpu\": " + io::json_string(terminal_text(cpu_name()));
  text += ", \"architecture\": " + io::json_string(architecture);
  text += format(", \"threads\": %u, \"features\": {", std::thread::hardware_concurrency());
  const char* separator = "";
  for (const char* feature : used_features) {
    text += separator + io::json_string(feature) + ": " + truth(has_feature(feature));
    separator = ", ";
  }
  text += "}, \"caches\": [";
  separator = "";
  for (const Cache& cache : find_caches()) {
    text += separator + ("{\"level\": " + cache.level + ", \"type\": " + io::json_string(cache.type)) +
            format(", \"bytes\": %ld}", cache.kibibytes * 1024);
    separator = ", ";
  }
  text += "], \"huge_pages\": " + io::json_string(huge_pages());
  text += ", \"isas\": [";
  separator = "";
  for (const IsaEntry& entry : isas) {
    const Isa isa = entry.isa;
    text += separator + ("{\"name\": " + io::json_string(isa_name(isa))) +
            ", \"compiled\": " + truth(isa_compiled(isa)) + ", \"usable\": " + truth(isa_usable(isa)) + ", \"products\": [" + products_json(isa) + "], \"attention\": " + core_json(isa) + "}";
    separator = ", ";
  }
  std::printf("%s], \"best\": %s}\n", text.c_str(), io::json_string(isa_name(best_isa())).c_str());
}

int info(const Arguments& arguments) {
  if (arguments.has("--isa")) chosen_isa(arguments);  // nothing is computed, but a wrong flag is told
  ChosenThreads threads(arguments);
  if (arguments.has("--json")) print_json();
  else print_text();
  return 0;
}

}  // namespace

const Verb info_verb = {
    "info",
    "prints the CPU, its caches and features, the ISAs and the version",
    "Below a usable ISA stands what it multiplies in low precision, and by which instructions: rows and\n"
    "weights of bfloat16 and int8 (--arithmetic of attend run), weights that are widened to float32, and\n"
    "attention itself (--core-arithmetic).\n",
    {{"--json", nullptr, "prints one JSON object"}},
    info,
};

}  // namespace attend::tool
