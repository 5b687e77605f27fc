// attend verify: checks kernels and whole calls of each ISA against the reference, for some seconds.
#include <cinttypes>
#include <cstdio>

#include "checks/checks.h"
#include "clock.h"
#include "execution.h"
#include "progress.h"
#include "text.h"
#include "verbs.h"

namespace attend::tool {
namespace {

/// Prints what failed, and how to see it again.
int report(const char* what, const checks::Result& result, Isa isa, std::uint64_t seed, int threads) {
  std::printf("%-8s FAILED in %s, seed %" PRIu64 ": %s\n", isa_name(isa), what, seed, result.message);
  std::printf("again:   attend verify --isa %s --seed %" PRIu64 " --seconds 0 --threads %d\n", isa_name(isa), seed,
              threads);
  return 1;
}

int verify(const Arguments& arguments) {
  const double seconds = arguments.number("--seconds", 5.0, 0.0);
  const std::uint64_t first_seed =
      static_cast<std::uint64_t>(arguments.integer("--seed", 1, 0, std::int64_t{1} << 62));
  const ChosenThreads threads(arguments);
  for (const Isa isa : chosen_isas(arguments)) {
    Progress progress;
    std::uint64_t rounds = 0;
    const double begun = seconds_now();
    do {
      const std::uint64_t seed = first_seed + rounds++;
      const checks::Result kernels = checks::check_kernels(isa, seed);
      const checks::Result calls = kernels.ok ? checks::check_calls(isa, seed, threads.count()) : kernels;
      if (!calls.ok) {
        progress.clear();
        return report(kernels.ok ? "a call" : "a kernel", calls, isa, seed, threads.count());
      }
      progress.show(format("%s: %" PRIu64 " rounds, %.0f of %g s", isa_name(isa), rounds, seconds_now() - begun,
                           seconds));
    } while (seconds_now() - begun < seconds);
    progress.clear();
    std::printf("%-8s passed %" PRIu64 " rounds of all kernels, %" PRIu64 " of whole calls (seeds %" PRIu64
                " to %" PRIu64 ", %.1f s)\n",
                isa_name(isa), rounds, rounds, first_seed, first_seed + rounds - 1, seconds_now() - begun);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

const Verb verify_verb = {
    "verify",
    "checks every ISA of this CPU against the scalar reference",
    "Each round draws random shapes and values from a seed, and checks every kernel and whole calls\n"
    "of the library against plain double-precision loops, within the error bounds of each operation;\n"
    "projections in int8 and bfloat16 arithmetic bit for bit.\n"
    "If one fails, its shape and seed are printed, and the exit code is 1.\n",
    {
        {"--seconds", "N", "how long each ISA is checked, at least for one round; default: 5"},
        {"--seed", "N", "the seed of the first round; each later one counts up; default: 1"},
    },
    verify,
};

}  // namespace attend::tool
