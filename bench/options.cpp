// The command line, parsed.
#include "options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>

#include "base/isas.h"
#include "io/text.h"

namespace attend::bench {

const char* const help_text =
    "attend-bench: times attention, after checking its results against the reference\n"
    "\n"
    "usage: attend-bench [options]\n"
    "\n"
    "  --case NAME[,NAME]  these cases; default: all\n"
    "  --isa NAME          one that attend info lists; default: $ATTEND_ISA, else the best of this CPU\n"
    "  --threads N         default: 1\n"
    "  --seconds X         at least so long for each case; default: 0.5\n"
    "  --rounds N          all cases N times; the share of the peak is the median; default: 1\n"
    "  --cpu-time          by the CPU time of the one thread: for calls of milliseconds, on busy machines\n"
    "  --naive             instead: the scalar ISA beside plain loops, cases of up to a second\n"
    "  --json FILE         writes the results there too\n"
    "  --list              prints the names of the cases\n"
    "  --help              prints this\n"
    "\n"
    "us: of one call, the fastest and the median. GFLOP/s: of visible work, in the fastest. % of peak: of\n"
    "the float32 multiply-adds that the ISA can do, measured right before and after; with r, of the read\n"
    "bandwidth (cached: above it by a tenth). x scalar: how many times as fast as the scalar ISA, in float32,\n"
    "where that takes less than a second.\n"
    "Exit code: 0, 1 for a wrong result, 2 for bad usage or output.\n";

std::string unknown(const char* what, const std::string& word, const std::vector<std::string>& names) {
  const auto distance = [&](const std::string& name) {  // the beginning of a name is near it
    return name.compare(0, word.size(), word) == 0 ? 1 : io::edit_distance(word, name);
  };
  const auto nearest = std::min_element(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return distance(a) < distance(b);
  });
  return std::string("unknown ") + what + " " + io::quoted(word) + "; the nearest is '" + *nearest + "'";
}

namespace {

std::vector<const Case*> chosen_cases(const std::string& list) {
  std::vector<const Case*> chosen;
  std::istringstream words(list);
  for (std::string word; std::getline(words, word, ',');) {
    const std::size_t before = chosen.size();
    std::vector<std::string> names;
    for (const Case& candidate : all_cases()) {
      if (candidate.name == word) chosen.push_back(&candidate);
      names.push_back(candidate.name);
    }
    if (chosen.size() == before) throw Failure(unknown("case", word, names));
  }
  return chosen;
}

Isa chosen_isa(std::string name) {
  const char* environment = std::getenv("ATTEND_ISA");
  if (name.empty() && environment != nullptr) name = environment;
  if (name.empty()) return best_isa();
  Isa isa;
  if (!isa_from_name(name.c_str(), &isa)) {
    std::vector<std::string> names = {"best"};
    for (const IsaEntry& entry : isas) names.push_back(entry.name);
    throw Failure(unknown("ISA", name, names));
  }
  if (isa == Isa::best) return best_isa();
  if (!isa_usable(isa)) {
    throw Failure(std::string(isa_compiled(isa) ? "this CPU" : "this build") + " lacks " + isa_name(isa) +
                  "; the best here is " + isa_name(best_isa()));
  }
  return isa;
}

double number(const std::string& name, const std::string& word, double lowest, double highest, bool whole) {
  char* end;
  const double value = std::strtod(word.c_str(), &end);
  if (word.empty() || *end != '\0' || !(value >= lowest && value <= highest) || (whole && value != std::floor(value))) {
    std::ostringstream message;
    message << name << " " << io::quoted(word) << " is not " << (whole ? "an integer" : "a number") << " from " << lowest
            << " to " << highest;
    throw Failure(message.str());
  }
  return value;
}

}  // namespace

Options parse_options(int count, const char* const* words) {
  const std::vector<std::string> with_value = {"--case", "--isa", "--threads", "--seconds", "--rounds", "--json"};
  const std::vector<std::string> without = {"--cpu-time", "--naive", "--list", "--help"};
  std::map<std::string, std::string> given;
  for (int i = 0; i < count; ++i) {
    const std::string word = words[i];
    const std::size_t equals = word.find('=');
    const std::string name = word == "-h" ? "--help" : word.substr(0, equals);
    const bool takes_value = std::find(with_value.begin(), with_value.end(), name) != with_value.end();
    if (!takes_value && std::find(without.begin(), without.end(), name) == without.end()) {
      std::vector<std::string> names = with_value;
      names.insert(names.end(), without.begin(), without.end());
      throw Failure(unknown("option", word, names));
    }
    if (given.count(name) != 0) throw Failure(name + " was given twice");
    if (!takes_value && equals != std::string::npos) throw Failure(name + " takes no value");
    if (takes_value && equals == std::string::npos && ++i == count) throw Failure(name + " needs a value");
    given[name] = !takes_value ? "" : equals == std::string::npos ? words[i] : word.substr(equals + 1);
    if (takes_value && given[name].empty()) throw Failure(name + " is empty");
  }

  Options options;
  options.help = given.count("--help") != 0;
  options.list = given.count("--list") != 0;
  options.naive = given.count("--naive") != 0;
  options.cpu_time = given.count("--cpu-time") != 0;
  if (options.help || options.list) return options;
  for (const char* other : {"--isa", "--threads", "--rounds", "--json"}) {
    if (options.naive && given.count(other) != 0) throw Failure(std::string("--naive goes without ") + other);
  }
  if (given.count("--case") != 0) {
    options.cases = chosen_cases(given["--case"]);
  } else {
    for (const Case& each : all_cases()) options.cases.push_back(&each);
  }
  options.isa = options.naive ? Isa::scalar : chosen_isa(given["--isa"]);
  if (given.count("--threads") != 0) options.threads = static_cast<int>(number("--threads", given["--threads"], 1, max_threads, true));
  if (given.count("--seconds") != 0) options.seconds = number("--seconds", given["--seconds"], 0, 3600, false);
  if (given.count("--rounds") != 0) options.rounds = static_cast<int>(number("--rounds", given["--rounds"], 1, 1000, true));
  options.json = given["--json"];
  if (options.cpu_time && options.threads > 1) throw Failure("--cpu-time goes with one thread");
  return options;
}

}  // namespace attend::bench
