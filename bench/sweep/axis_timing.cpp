// Calls in turn, the fastest of each.
#include "sweep/axis_timing.h"

#include <algorithm>

#include "base/dispatch.h"
#include "data.h"
#include "timing.h"

namespace attend::bench {
namespace {

constexpr int rounds = 8;
constexpr double round_seconds = 3e-3;  // of a call, at least; machines have interruptions of milliseconds

/// The seconds of a call of each of them.
std::vector<double> seconds_in_turn(const std::vector<std::unique_ptr<Workload>>& workloads) {
  std::vector<double> fastest(workloads.size(), HUGE_VAL);
  for (const std::unique_ptr<Workload>& workload : workloads) workload->run();
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t index = 0; index < workloads.size(); ++index) {
      fastest[index] = std::min(fastest[index], measure([&] { workloads[index]->run(); }, round_seconds).min);
    }
  }
  return fastest;
}

}  // namespace

AxisTimes time_axis(const Axis& axis, const std::vector<Isa>& isas) {
  AxisTimes times = {{}, std::vector<std::vector<double>>(isas.size()), std::vector<std::vector<double>>(isas.size())};
  for (const Point& point : axis.points) {
    std::vector<std::unique_ptr<Workload>> workloads;
    for (Isa isa : isas) workloads.push_back(point.prepare(isa));
    const std::vector<double> seconds = seconds_in_turn(workloads);
    times.work.push_back(point.work);
    for (std::size_t isa = 0; isa < isas.size(); ++isa) {
      const Kernels* kernels = nullptr;
      require(require_kernels(isas[isa], &kernels));
      times.whole_work[isa].push_back(point.whole_work(kernels->lanes));
      times.seconds[isa].push_back(seconds[isa]);
    }
  }
  return times;
}

bool holds(const Axis& axis, const std::vector<Isa>& isas, Mark* mark) {
  const auto prepare = [&](const Sample& sample) { return axis.points[sample.point].prepare(isas[sample.isa]); };
  std::vector<double> ratios;
  while (ratios.size() < 3) {
    const bool slow_first = ratios.size() != 1;  // where data lies moves times by percents
    std::vector<std::unique_ptr<Workload>> workloads;
    workloads.push_back(prepare(slow_first ? mark->slow : mark->fast));
    workloads.push_back(prepare(slow_first ? mark->fast : mark->slow));
    const std::vector<double> seconds = seconds_in_turn(workloads);
    ratios.push_back(seconds[slow_first ? 0 : 1] / (seconds[slow_first ? 1 : 0] * mark->scale));
    if (ratios.back() <= rule_limit(mark->rule)) return false;
  }
  mark->ratio = median(ratios);
  return true;
}

}  // namespace attend::bench
