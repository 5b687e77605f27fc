// Which ISA and how many threads a verb uses: --isa, $ATTEND_ISA and --threads.
#include "execution.h"

#include <cstdlib>

#include "base/isas.h"
#include "failure.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

Isa chosen_isa(const Arguments& arguments) {
  std::string name = arguments.text("--isa");
  const char* source = "--isa";
  if (name.empty()) {
    const char* environment = std::getenv("ATTEND_ISA");
    if (environment == nullptr || *environment == '\0') return Isa::best;
    name = environment;
    source = "ATTEND_ISA";
  }
  Isa isa;
  if (!isa_from_name(name.c_str(), &isa)) {
    std::vector<std::string> names;
    for (const IsaEntry& entry : isas) names.push_back(entry.name);
    throw Failure(format("%s: no ISA is called %s%s", source, io::quoted(name).c_str(),
                         suggestion(name, names).c_str()));
  }
  if (!isa_usable(isa)) {
    throw Failure(format("%s: %s lacks %s; the best here is %s", source,
                         isa_compiled(isa) ? "this CPU" : "this build", isa_name(isa), isa_name(best_isa())));
  }
  return isa;
}

std::vector<Isa> chosen_isas(const Arguments& arguments) {
  const Isa chosen = chosen_isa(arguments);
  if (chosen != Isa::best) return {chosen};
  std::vector<Isa> usable;
  for (const IsaEntry& entry : isas) {
    if (isa_usable(entry.isa)) usable.push_back(entry.isa);
  }
  return usable;
}

ChosenThreads::ChosenThreads(const Arguments& arguments)
    : count_(static_cast<int>(arguments.integer("--threads", 1, 1, max_threads))) {
  if (count_ > 1) require(ThreadPool::make(count_, &pool_));
  pool_.keep_awake(true);  // a command's calls follow one another
}

}  // namespace attend::tool
