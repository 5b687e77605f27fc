// Two builds in one process, their calls in turn: how many times as long one takes as the other, and how sure that is.
//
// usage: alternate BASE.so THIS.so ISA PREPARATIONS [CASE...]
// Each preparation puts both builds' data into memory anew, for where it lies moves times by percents, and gives one
// ratio: the median of the pairs of its slices. The interval holds the median of such ratios in 95 of 100 repetitions.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr double slice = 2e-3;  // seconds, at least one call
constexpr int most_pairs = 9;   // of slices, a preparation
constexpr int least_pairs = 3;  // and no more where calls are long
constexpr double enough = 0.3;  // seconds

struct Side {
  const char* (*case_name)(int);
  void* (*prepare)(const char*, const char*, int);
  void (*run)(void*, int);
  void (*free)(void*);
};

template <typename Function>
void find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function != nullptr) return;
  std::fprintf(stderr, "alternate: %s\n", dlerror());
  std::exit(2);
}

Side open_side(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "alternate: %s\n", dlerror());
    std::exit(2);
  }
  Side side;
  find(library, "side_case", &side.case_name);
  find(library, "side_prepare", &side.prepare);
  find(library, "side_run", &side.run);
  find(library, "side_free", &side.free);
  return side;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

double seconds_of(const Side& side, void* workload, int calls) {
  const auto begin = std::chrono::steady_clock::now();
  side.run(workload, calls);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Ratio {
  double ratio, base, now;  // seconds a call
};

/// False where one of them has no such case, or computes it wrongly.
bool measure(const Side& base, const Side& now, const char* name, const char* isa, bool first, Ratio* result) {
  // Which is put into memory first changes from one preparation to the next.
  static bool turn = false;
  turn = !turn;
  void* workloads[2];
  for (int i = 0; i < 2; ++i) workloads[turn == (i == 0)] = (turn == (i == 0) ? now : base).prepare(name, isa, first);
  const bool both = workloads[0] != nullptr && workloads[1] != nullptr;
  if (both) {
    int calls = 1;
    while (calls < (1 << 20) && seconds_of(base, workloads[0], calls) < slice) calls *= 2;
    seconds_of(now, workloads[1], calls);
    std::vector<double> ratios, of_base, of_now;
    double spent = 0.0;
    for (int pair = 0; pair < most_pairs && (pair < least_pairs || spent < enough); ++pair) {
      double seconds[2];
      for (int i = 0; i < 2; ++i) {
        const int which = (pair + i) % 2;
        seconds[which] = seconds_of(which ? now : base, workloads[which], calls) / calls;
      }
      spent += (seconds[0] + seconds[1]) * calls;
      ratios.push_back(seconds[1] / seconds[0]);
      of_base.push_back(seconds[0]);
      of_now.push_back(seconds[1]);
    }
    *result = {median(ratios), median(of_base), median(of_now)};
  }
  if (workloads[0] != nullptr) base.free(workloads[0]);
  if (workloads[1] != nullptr) now.free(workloads[1]);
  return both;
}

}  // namespace

int main(int count, char** words) {
  if (count < 5) {
    std::fputs("usage: alternate BASE.so THIS.so ISA PREPARATIONS [CASE...]\n", stderr);
    return 2;
  }
  const Side base = open_side(words[1]), now = open_side(words[2]);
  const char* const isa = words[3];
  const int preparations = std::max(6, std::atoi(words[4]));
  std::vector<std::string> names(words + 5, words + count);
  for (int i = 0; count == 5 && now.case_name(i) != nullptr; ++i) names.push_back(now.case_name(i));
  std::printf("%-26s %12s %12s %9s   %s\n", isa, "base, us", "this, us", "times", "95 % of the median");
  for (const std::string& name : names) {
    std::vector<double> ratios, of_base, of_now;
    for (int i = 0; i < preparations; ++i) {
      Ratio each;
      if (!measure(base, now, name.c_str(), isa, i == 0, &each)) break;
      ratios.push_back(each.ratio);
      of_base.push_back(each.base);
      of_now.push_back(each.now);
    }
    if (static_cast<int>(ratios.size()) < preparations) {
      std::printf("%-26s   not in both builds, or wrong\n", name.c_str());
      continue;
    }
    std::sort(ratios.begin(), ratios.end());
    // Ranks of which the binomial distribution of 1/2 leaves 2.5 % outside at each end.
    int rank = 0;
    double term = 1.0, below = 0.0;
    for (int i = 0; i < preparations; ++i) term /= 2.0;
    for (; rank < preparations / 2 && below + term <= 0.025; ++rank) {
      below += term;
      term *= static_cast<double>(preparations - rank) / (rank + 1);
    }
    const std::size_t low = static_cast<std::size_t>(std::max(0, rank - 1)), high = ratios.size() - 1 - low;
    std::printf("%-26s %12.2f %12.2f %9.4f   [%.4f, %.4f]\n", name.c_str(), median(of_base) * 1e6, median(of_now) * 1e6, median(ratios),
                ratios[low], ratios[high]);
    std::fflush(stdout);
  }
  return 0;
}
