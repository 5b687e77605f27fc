// attend-bench: checks and times the cases.
#include <algorithm>
#include <cstdio>

#include "attend/attend.hpp"
#include "bandwidth.h"
#include "cases.h"
#include "data.h"
#include "machine.h"
#include "options.h"
#include "peak.h"
#include "report.h"
#include "timing.h"

namespace attend::bench {
namespace {

/// Whether the result is right; says so if not.
bool checked(const Case& each, const Workload& workload) {
  const reference::Comparison comparison = workload.check();
  if (!comparison.ok) std::fprintf(stderr, "attend-bench: %s: wrong result: %s\n", each.name.c_str(), comparison.message.c_str());
  return comparison.ok;
}

/// What the scalar ISA is expected to take, from above: it reaches a fifth of its peak, and naive loops half of that.
constexpr double scalar_share = 0.1;

/// The seconds that the scalar ISA takes, or nothing where they are more than one.
std::optional<double> scalar_seconds(const Case& each, const Threads& threads, double (*clock)()) {
  if (!each.float32 || each.flops > scalar_share * 1e9 * measure_peak(Isa::scalar, threads)) return std::nullopt;
  const std::unique_ptr<Workload> workload = each.prepare(Isa::scalar, threads);
  return measure([&] { workload->run(); }, 0.1, clock).min;
}

/// What was measured of a case, round by round.
struct Rounds {
  std::vector<double> us_min, us_median, percent;
  std::optional<double> times_scalar;
  double huge_page_bytes = 0;
};

Result summary(const Case& each, const Rounds& rounds, Isa isa, int threads) {
  const auto smallest = [](const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); };
  Result result;
  result.name = each.name;
  result.isa = isa;
  result.threads = threads;
  result.us_min = smallest(rounds.us_min);
  result.us_median = median(rounds.us_median);
  result.gflops = each.flops / result.us_min * 1e-3;
  if (each.bytes > 0) result.gb_per_s = each.bytes / result.us_min * 1e-3;
  result.percent_of_peak = median(rounds.percent);
  result.percent_lowest = smallest(rounds.percent);
  result.percent_highest = *std::max_element(rounds.percent.begin(), rounds.percent.end());
  result.times_scalar = rounds.times_scalar;
  result.percent_in_huge_pages = each.bytes > 0 ? std::min(100.0, rounds.huge_page_bytes / each.bytes * 100) : 0;
  return result;
}

int run_cases(const Options& options) {
  ThreadPool pool;
  Threads all_threads;
  if (options.threads > 1) {
    require(ThreadPool::make(options.threads, &pool));
    all_threads = pool.threads();
  }
  Machine machine = {machine_name(), measure_peak(options.isa, all_threads), measure_read_bandwidth(all_threads)};
  print_table_head(machine, options.isa, options.threads, options.rounds, options.cases.size(), options.seconds);

  double (*const clock)() = options.cpu_time ? cpu_seconds_now : seconds_now;
  bool all_right = true;
  std::vector<Rounds> measured(options.cases.size());
  std::vector<Result> results;
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t index = 0; index < options.cases.size(); ++index) {
      const Case& each = *options.cases[index];
      Rounds& rounds = measured[index];
      if (round > 0 && rounds.percent.empty()) continue;  // its result is wrong, or there is none
      const Threads threads = each.threaded ? all_threads : Threads();
      const std::unique_ptr<Workload> workload = each.prepare(options.isa, threads);
      if (workload == nullptr) {
        std::printf("%-29s %11s\n", each.name.c_str(), "no kernel");
        continue;
      }
      workload->run();
      if (round == 0 && !checked(each, *workload)) {
        all_right = false;
        continue;
      }
      const bool reads = each.bytes > 0;  // where it has to read, that is the bound
      if (reads) rounds.huge_page_bytes = static_cast<double>(huge_page_bytes());
      const auto bound = [&] { return reads ? measure_read_bandwidth(threads) : measure_peak(options.isa, threads); };
      const double bound_before = bound();
      const Timing timing = measure([&] { workload->run(); }, options.seconds, clock);
      const double peak = std::max(bound_before, bound());
      double& highest = reads ? machine.read_gb_per_s : machine.peak_gflops;
      highest = std::max(highest, peak);
      rounds.us_min.push_back(timing.min * 1e6);
      rounds.us_median.push_back(timing.median * 1e6);
      rounds.percent.push_back((reads ? each.bytes : each.flops) / timing.min * 1e-9 / peak * 100);
      if (round == 0 && options.isa != Isa::scalar) {
        if (const auto scalar = scalar_seconds(each, threads, clock)) rounds.times_scalar = *scalar / timing.min;
      }
      if (round + 1 == options.rounds) {
        results.push_back(summary(each, rounds, options.isa, threads.count));
        print_table_row(results.back(), options.rounds);
      }
    }
  }
  if (!options.json.empty()) write_report(options.json, json_report(machine, results));
  return all_right ? 0 : 1;
}

/// The scalar ISA beside the naive loops; both are checked.
int compare_with_naive(const Options& options) {
  double (*const clock)() = options.cpu_time ? cpu_seconds_now : seconds_now;
  bool all_right = true;
  std::printf("%-29s %11s %11s %15s\n", "case", "scalar, us", "naive, us", "naive / scalar");
  for (const Case* each : options.cases) {
    if (!each->float32 || each->flops > scalar_share * 1e9 * measure_peak(Isa::scalar, Threads())) continue;
    const std::unique_ptr<Workload> workload = each->prepare(Isa::scalar, Threads());
    workload->run();
    all_right &= checked(*each, *workload);
    const double scalar = measure([&] { workload->run(); }, options.seconds, clock).min * 1e6;
    workload->run_naively();
    all_right &= checked(*each, *workload);
    const double naive = measure([&] { workload->run_naively(); }, options.seconds, clock).min * 1e6;
    std::printf("%-29s %11.2f %11.2f %15.2f\n", each->name.c_str(), scalar, naive, naive / scalar);
    std::fflush(stdout);
  }
  return all_right ? 0 : 1;
}

int run(const Options& options) {
  if (options.help) {
    std::fputs(help_text, stdout);
  } else if (options.list) {
    for (const Case& each : all_cases()) std::puts(each.name.c_str());
  } else {
    return options.naive ? compare_with_naive(options) : run_cases(options);
  }
  return 0;
}

}  // namespace
}  // namespace attend::bench

int main(int count, char** words) {
  try {
    const int code = attend::bench::run(attend::bench::parse_options(count - 1, words + 1));
    if (std::fflush(stdout) == 0) return code;
    std::fputs("attend-bench: cannot write standard output\n", stderr);
  } catch (const std::exception& exception) {
    std::fflush(stdout);
    std::fprintf(stderr, "attend-bench: %s\n", exception.what());
  }
  return 2;
}
