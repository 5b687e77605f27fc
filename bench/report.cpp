// The table, its legend, the JSON.
#include "report.h"

#include <cstdio>

#include "data.h"
#include "io/json.h"
#include "io/output_file.h"

namespace attend::bench {

namespace {

constexpr double preparation_seconds = 0.5;  // of a case beside its timing, on average: to prepare, check, measure peak and scalar

/// Whether the case read faster than memory can be read, by more than the two measurements may differ: caches held what it read.
bool is_cached(const Result& result) { return result.gb_per_s && result.percent_of_peak > 110.0; }

}  // namespace

void print_table_head(const Machine& machine, Isa isa, int threads, int rounds, std::size_t cases, double seconds) {
  std::printf("%s; %s, %d thread%s: peak %.1f GFLOP/s, memory read %.1f GB/s\n\n", machine.name.c_str(), isa_name(isa),
              threads, threads == 1 ? "" : "s", machine.peak_gflops, machine.read_gb_per_s);
  std::printf("us: of one call, the fastest and the median; GFLOP/s: of visible work, in the fastest; %zu case%s: about %.0f s\n"
              "%% of peak: of the multiply-adds that the ISA can do; with r, of the memory's read bandwidth; cached: read faster by a tenth, from caches\n"
              "x scalar: how many times as fast as the scalar ISA; huge: %% of what is read from memory that lies in huge pages; --help has more\n\n",
              cases, cases == 1 ? "" : "s", static_cast<double>(cases) * rounds * (seconds + preparation_seconds));
  std::printf("%-29s %11s %11s %9s %10s %9s %6s%s\n", "case", "us, min", "median", "GFLOP/s", "% of peak", "x scalar", "huge",
              rounds > 1 ? "   rounds, %" : "");
}

void print_table_row(const Result& result, int rounds) {
  std::printf("%-29s %11.2f %11.2f %9.1f ", result.name.c_str(), result.us_min, result.us_median, result.gflops);
  if (is_cached(result)) std::printf("%9s  ", "cached");
  else std::printf("%9.1f%s ", result.percent_of_peak, result.gb_per_s ? "r" : " ");
  if (result.times_scalar) {
    std::printf("%9.1f", *result.times_scalar);
  } else {
    std::printf("%9s", "-");
  }
  if (result.gb_per_s && !is_cached(result)) std::printf("%7.0f", result.percent_in_huge_pages);
  else std::printf("%7s", "-");
  if (rounds > 1 && !is_cached(result)) std::printf("   %.1f to %.1f", result.percent_lowest, result.percent_highest);
  std::printf("\n");
  std::fflush(stdout);
}

void write_report(const std::string& path, const std::string& report) {
  io::OutputFile file;
  require(file.open(path));
  require(file.write(report.data(), report.size()));
  require(file.commit());
}

std::string json_report(const Machine& machine, const std::vector<Result>& results) {
  char text[512];
  std::snprintf(text, sizeof text, ", \"peak_gflops\": %.6g, \"read_gb_per_s\": %.6g, \"cases\": [", machine.peak_gflops,
                machine.read_gb_per_s);
  std::string report = "{\"machine\": " + io::json_string(machine.name) + text;
  const char* separator = "\n";
  for (const Result& result : results) {
    char gb_per_s[32] = "null";
    if (result.gb_per_s) std::snprintf(gb_per_s, sizeof gb_per_s, "%.6g", *result.gb_per_s);
    std::snprintf(text, sizeof text,
                  "%s{\"case\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"us_min\": %.6g, \"us_median\": %.6g, "
                  "\"gflops\": %.6g, \"percent_of_peak\": %.6g, \"gb_per_s\": %s}",
                  separator, result.name.c_str(), isa_name(result.isa), result.threads, result.us_min, result.us_median,
                  result.gflops, result.percent_of_peak, gb_per_s);
    report += text;
    separator = ",\n";
  }
  return report + "\n]}\n";
}

}  // namespace attend::bench
